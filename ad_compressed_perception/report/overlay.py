# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results drawn on their camera frame, baseline and compressed side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import (
    Classification,
    Detections,
    HeadResults,
    LabelMask,
    RawOutputs,
    Result,
    Trajectory,
)

Image = NDArray[np.uint8]

# Okabe and Ito's palette as BGR, strongest first: distinguishable with every common color vision.
PALETTE_BGR = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (167, 121, 204),
    (0, 94, 213),
    (178, 114, 0),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)
_LINE_HEIGHT, _MOST_LINES = 24, 5
_UNTINTED = {"background", "unlabeled", "void", "ignore"}


@dataclass(frozen=True)
class DrawingCamera:
    """The camera assumed for drawing a path on the road; no result depends on it.

    A pinhole with square pixels and its optical center in the image's middle, above a flat road.

    Attributes:
        height_m: height above the road.
        horizontal_fov_deg: field of view across the image.
        pitch_deg: how far the camera looks down, positive down.
        forward_m: how far the camera sits in front of base_link's origin.
    """

    height_m: float = 1.4
    horizontal_fov_deg: float = 60.0
    pitch_deg: float = 3.5
    forward_m: float = 1.5

    def project(self, points_xy_m: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Return the (M, 2) pixels of the road points (N, 2; x forward, y left) in front of the camera.

        With the point ``d = x - forward_m`` ahead, pitch ``p``, height ``h`` and
        ``f = width / 2 / tan(fov / 2)``: depth ``z = d cos p + h sin p``, and the pixel is
        ``(width / 2 - f y / z, height / 2 + f (h cos p - d sin p) / z)``. Points less than half a
        meter deep are left out, so M <= N.
        """
        focal = width / 2.0 / math.tan(math.radians(self.horizontal_fov_deg) / 2.0)
        sine, cosine = math.sin(math.radians(self.pitch_deg)), math.cos(math.radians(self.pitch_deg))
        ahead = points_xy_m[:, 0] - self.forward_m
        depth = ahead * cosine + self.height_m * sine
        seen = depth > 0.5
        left, ahead, depth = points_xy_m[seen, 1], ahead[seen], depth[seen]
        u = width / 2.0 - focal * left / depth
        v = height / 2.0 + focal * (self.height_m * cosine - ahead * sine) / depth
        return np.stack([u, v], axis=1)


def draw_result(bgr: Image, result: Result, camera: DrawingCamera | None = None) -> Image:
    """Return a copy of a (H, W, 3) BGR image with a result in the same pixels drawn on it."""
    if isinstance(result, HeadResults):  # masks first: they would tint what lies below them
        image = bgr.copy()
        for one in sorted(result.values(), key=lambda each: not isinstance(each, LabelMask)):
            image = draw_result(image, one, camera)
        return image
    if isinstance(result, Detections):
        return draw_detections(bgr, result)
    if isinstance(result, LabelMask):
        return draw_mask(bgr, result)
    if isinstance(result, Classification):
        return draw_labels(bgr, result)
    if isinstance(result, RawOutputs):  # what its numbers mean is not known
        return bgr.copy()
    return draw_trajectory(bgr, result, camera or DrawingCamera())


def draw_detections(bgr: Image, detections: Detections) -> Image:
    """Draw every box with its label and score; a label has the same color in every image."""
    image = bgr.copy()
    thickness = max(2, round(bgr.shape[1] / 400))
    # Lowest score first, so that the most confident box is drawn on top.
    for index in range(len(detections.scores) - 1, -1, -1):
        left, top, right, bottom = box_to_pixels(detections.boxes_xyxy[index])
        class_id = int(detections.class_ids[index])
        color = PALETTE_BGR[class_id % len(PALETTE_BGR)]
        cv2.rectangle(image, (left, top), (right, bottom), color, thickness)
        text = f"{detections.labels[class_id]} {detections.scores[index]:.2f}"
        draw_tag(image, text, left, top, color)
    return image


def draw_labels(bgr: Image, found: Classification) -> Image:
    """Write the published labels with their scores, strongest first, one below the other."""
    image = bgr.copy()
    if not len(found.ranked):
        draw_tag(image, "no label", 8, _LINE_HEIGHT, _WHITE)
    for line, class_id in enumerate(found.ranked[:_MOST_LINES].tolist(), start=1):
        text = f"{found.labels[class_id]} {found.scores[class_id]:.2f}"
        draw_tag(image, text, 8, line * _LINE_HEIGHT, PALETTE_BGR[class_id % len(PALETTE_BGR)])
    return image


def draw_mask(bgr: Image, mask: LabelMask, opacity: float = 0.45) -> Image:
    """Tint every label's pixels; a background label stays untinted."""
    if mask.label_ids.shape != bgr.shape[:2]:
        raise DataError(
            f"the mask is {mask.label_ids.shape[1]}x{mask.label_ids.shape[0]}, "
            f"its image {bgr.shape[1]}x{bgr.shape[0]}"
        )
    colors = np.array([label_color(mask.labels, index) or (0, 0, 0) for index in range(256)], np.uint8)
    tinted = np.array([label_color(mask.labels, index) is not None for index in range(256)])
    where = tinted[mask.label_ids]
    blend = cv2.addWeighted(bgr, 1.0 - opacity, colors[mask.label_ids], opacity, 0.0)
    image = bgr.copy()
    image[where] = blend[where]
    return image


def label_color(labels: Sequence[str], index: int) -> tuple[int, int, int] | None:
    """BGR tint of a mask label; None for labels that are left untinted or do not exist."""
    if index >= len(labels) or labels[index].lower() in _UNTINTED:
        return None
    return PALETTE_BGR[index % len(PALETTE_BGR)]


def draw_trajectory(
    bgr: Image, trajectory: Trajectory, camera: DrawingCamera, half_width_m: float = 0.9
) -> Image:
    """Draw the strip of road the vehicle would cover and write the steering-wheel angle."""
    image = bgr.copy()
    draw_path(image, trajectory, camera, PALETTE_BGR[2], half_width_m)
    draw_tag(image, describe_steering(trajectory), 8, 26, PALETTE_BGR[2])
    return image


def draw_path(
    image: Image,
    trajectory: Trajectory,
    camera: DrawingCamera,
    color: tuple[int, int, int],
    half_width_m: float = 0.9,
) -> None:
    """Draw the strip of road of a path into an image, in place."""
    height, width = image.shape[:2]
    center, heading = dense_path(trajectory)
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1) * half_width_m
    edges = [camera.project(center + side * normal, width, height) for side in (1.0, -1.0)]
    if min(len(edge) for edge in edges) >= 2:
        outline = to_pixels(np.concatenate([edges[0], edges[1][::-1]]))
        strip = image.copy()
        cv2.fillPoly(strip, [outline], color)
        image[:] = cv2.addWeighted(image, 0.6, strip, 0.4, 0.0)
        for edge in edges:
            cv2.polylines(image, [to_pixels(edge)], False, color, 2, cv2.LINE_AA)
        middle = to_pixels(camera.project(center, width, height))
        cv2.polylines(image, [middle], False, _WHITE, 2, cv2.LINE_AA)


def describe_steering(trajectory: Trajectory) -> str:
    """Steering-wheel angle in degrees with its side; the path's curvature where there is no angle."""
    angle_deg = math.degrees(trajectory.steering_wheel_angle_rad)
    if math.isnan(angle_deg):
        return f"curvature {trajectory.curvature_per_m:+.4f} 1/m"
    side = "left" if angle_deg > 0 else "right"
    return f"steering wheel {abs(angle_deg):.1f} deg {side}"


def dense_path(trajectory: Trajectory) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Resample a path from the origin to its end finely enough that its image looks smooth."""
    points = np.concatenate([np.zeros((1, 2)), trajectory.points_xy_m])
    headings = np.unwrap(np.concatenate([np.zeros(1), trajectory.headings_rad]))
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    samples = np.linspace(0.0, along[-1], 200)
    x, y, heading = (np.interp(samples, along, values) for values in (*points.T, headings))
    return np.stack([x, y], axis=1), heading


def to_pixels(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return (N, 1, 2) pixels to draw; a point beside the camera is far outside, and cv2 needs 16 bits."""
    return np.clip(np.rint(points), -16000, 16000).astype(np.int32).reshape(-1, 1, 2)


def box_to_pixels(box_xyxy: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a box to draw, whatever a node published."""
    left, top, right, bottom = (
        to_pixels(np.nan_to_num(box_xyxy.astype(np.float64), nan=-1.0)).ravel().tolist()
    )
    return left, top, right, bottom


def draw_tag(image: Image, text: str, left: int, bottom: int, color: tuple[int, int, int]) -> None:
    """Write text on a filled tag whose lower left corner is given, kept inside the image."""
    (width, height), below = cv2.getTextSize(text, _FONT, 0.5, 1)
    left = int(np.clip(left, 0, max(0, image.shape[1] - width - 4)))
    bottom = int(np.clip(bottom, height + below + 2, image.shape[0] - 1))
    corner = (left + width + 4, bottom - height - below - 2)
    cv2.rectangle(image, (left, bottom), corner, color, cv2.FILLED)
    cv2.putText(image, text, (left + 2, bottom - below), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
