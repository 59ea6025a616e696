# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Annotated results side by side, with titles and a legend, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import (
    Detections,
    HeadResult,
    HeadResults,
    LabelMask,
    Result,
    Trajectory,
)
from ad_compressed_perception.report.overlay import _FONT, DrawingCamera, Image, draw_result, label_color

_INK = (40, 40, 40)


_PAPER = (245, 245, 245)


_MOST_HEIGHT = 16_000
_GAP = 6


_HEADLINE_HEIGHT = 30


_CAPTION_HEIGHT = 46


_LEGEND_HEIGHT = 26


@dataclass(frozen=True)
class Panel:
    """One variant's result with the two lines written above it.

    Attributes:
        result: in the source frame's pixels; None darkens the frame: there is no result.
        title: first line.
        details: second line.
        reference: where given, what differs between it and ``result`` is drawn instead of ``result``.
    """

    result: Result | None
    title: str
    details: str
    reference: Result | None = None


DrawDifference = Callable[[Image, Result, Result, "DrawingCamera | None"], Image]
"""Draws what differs between two results: image, reference, result, camera."""


def with_steering(trajectory: Trajectory, steering_ratio: float, wheelbase_m: float) -> Trajectory:
    """Return a path that came without its steering with curvature and steering-wheel angle filled in.

    A path message carries points and headings only. Over its length ``s`` the mean curvature is
    ``k = heading at the end / s``, and the kinematic bicycle gives the steering-wheel angle
    ``ratio * atan(k * wheelbase)``, the inverse of tasks.planning.curvature_of_steering.
    """
    points = np.concatenate([np.zeros((1, 2)), trajectory.points_xy_m])
    length_m = float(np.hypot(*np.diff(points, axis=0).T).sum())
    if math.isfinite(trajectory.steering_wheel_angle_rad) or length_m <= 0.0:
        return trajectory
    curvature_per_m = float(np.unwrap(trajectory.headings_rad)[-1]) / length_m
    return replace(
        trajectory,
        curvature_per_m=curvature_per_m,
        steering_wheel_angle_rad=steering_ratio * math.atan(curvature_per_m * wheelbase_m),
    )


def side_by_side(
    bgr: Image,
    panels: Sequence[Panel],
    *,
    headline: str,
    panel_width: int = 640,
    camera: DrawingCamera | None = None,
    difference: DrawDifference | None = None,
) -> Image:
    """Return one image: headline, then the frame once a panel with its captions and result.

    Args:
        bgr: (H, W, 3) uint8 source frame.
        panels: at least one result in the source frame's pixels, the baseline first.
        headline: one line over everything.
        panel_width: width each copy of the frame is scaled to; keeps the aspect ratio.
        camera: assumed for drawing paths.
        difference: draws the panels that have a reference.

    Returns:
        (headline + captions + scaled height + legend, panels * panel_width + gaps, 3) uint8.

    Raises:
        DataError: the frame would be higher than an image can be.
    """
    scale = panel_width / bgr.shape[1]
    size = (panel_width, max(1, round(bgr.shape[0] * scale)))
    if size[1] > _MOST_HEIGHT:
        raise DataError(f"an image of {bgr.shape[1]}x{bgr.shape[0]} pixels is too narrow to be shown")
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    frame = np.asarray(cv2.resize(bgr, size, interpolation=method), np.uint8)
    legend = any(isinstance(panel.result, LabelMask) for panel in panels)
    height = _HEADLINE_HEIGHT + _CAPTION_HEIGHT + size[1] + (_LEGEND_HEIGHT if legend else 0)
    image = np.full((height, len(panels) * (panel_width + _GAP) - _GAP, 3), _PAPER, np.uint8)
    _write(image, headline, (8, 21), 0.6, 2)
    for index, panel in enumerate(panels):
        left = index * (panel_width + _GAP)
        top = _HEADLINE_HEIGHT + _CAPTION_HEIGHT
        column = image[:, left : left + panel_width]  # text ends with its panel
        _write(column, panel.title, (8, _HEADLINE_HEIGHT + 17), 0.55, 2)
        _write(column, panel.details, (8, _HEADLINE_HEIGHT + 37), 0.48, 1)
        result = None if panel.result is None else _scaled(panel.result, scale, size)
        if result is None:
            drawn = np.asarray(cv2.convertScaleAbs(frame, alpha=0.4), np.uint8)
        elif panel.reference is not None and difference is not None:
            drawn = difference(frame, _scaled(panel.reference, scale, size), result, camera)
        else:
            drawn = draw_result(frame, result, camera)
        image[top : top + size[1], left : left + panel_width] = drawn
        if isinstance(panel.result, LabelMask) and panel.reference is None:
            _draw_legend(image, panel.result.labels, left + 8, top + size[1] + 5)
    return image


def write_png(path: Path, bgr: Image) -> Path:
    """Write an image as PNG and return its path; raise DataError where it cannot be written."""
    done, data = cv2.imencode(".png", bgr)
    if not done:
        raise DataError(f"cannot encode a {bgr.shape} image for {path}")
    path.write_bytes(data.tobytes())
    return path


def _scaled(result: Result, scale: float, size: tuple[int, int]) -> Result:
    """Scale a result from source pixels to a panel's pixels; a trajectory is in meters and stays."""
    if isinstance(result, Detections):
        boxes = (result.boxes_xyxy * scale).astype(np.float32)
        return Detections(boxes, result.scores, result.class_ids, result.labels)
    if isinstance(result, LabelMask):
        ids = np.asarray(cv2.resize(result.label_ids, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        return LabelMask(ids, result.labels)
    if isinstance(result, HeadResults):
        return HeadResults({name: _scaled_head(one, scale, size) for name, one in result.items()})
    return result


def _scaled_head(result: HeadResult, scale: float, size: tuple[int, int]) -> HeadResult:
    scaled = _scaled(result, scale, size)
    assert not isinstance(scaled, HeadResults)
    return scaled


def _write(image: Image, text: str, at: tuple[int, int], size: float, thickness: int) -> None:
    cv2.putText(image, text, at, _FONT, size, _INK, thickness, cv2.LINE_AA)


def _draw_legend(image: Image, labels: Sequence[str], left: int, top: int) -> None:
    for index, label in enumerate(labels):
        color = label_color(labels, index)
        if color is None:
            continue
        cv2.rectangle(image, (left, top), (left + 16, top + 16), color, cv2.FILLED)
        _write(image, label, (left + 22, top + 13), 0.48, 1)
        left += 22 + cv2.getTextSize(label, _FONT, 0.48, 1)[0][0] + 16
