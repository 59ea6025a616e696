# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Differences between two results of one frame, drawn on the frame."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ad_compressed_perception.core.results import (
    Classification,
    Detections,
    HeadResults,
    LabelMask,
    RawOutputs,
    Result,
    Trajectory,
)
from ad_compressed_perception.metrics.agreement import MATCH_IOU
from ad_compressed_perception.metrics.class_agreement import score_distance, strongest
from ad_compressed_perception.metrics.unmatched import unmatched_objects
from ad_compressed_perception.report.overlay import (
    DrawingCamera,
    Image,
    box_to_pixels,
    dense_path,
    describe_steering,
    draw_tag,
    to_pixels,
)
from ad_compressed_perception.report.panels import Panel, side_by_side
from ad_compressed_perception.report.raw_outputs import describe_errors, describe_outputs

# Vermilion and blue of Okabe and Ito's palette, as BGR: distinguishable with every common color vision.
LOST_BGR = (0, 94, 213)
NEW_BGR = (178, 114, 0)
_DIMMED = 0.55


def draw_difference(
    bgr: Image, baseline: Result, variant: Result, camera: DrawingCamera | None = None
) -> Image:
    """Return a copy of an image with what differs: lost in vermilion, new in blue.

    Objects without a partner on the other side; pixels whose labels differ; both paths; both labels.

    Args:
        bgr: (H, W, 3) uint8.
        baseline: the reference.
        variant: of the same kind, both in the image's pixels.
        camera: assumed for drawing paths.
    """
    if isinstance(baseline, HeadResults) and isinstance(variant, HeadResults):
        shared = [name for name in baseline if name in variant]
        most = max(shared, key=lambda name: _amount(baseline[name], variant[name]), default=None)
        return bgr.copy() if most is None else draw_difference(bgr, baseline[most], variant[most], camera)
    if isinstance(baseline, Detections) and isinstance(variant, Detections):
        return _draw_objects(bgr, baseline, variant)
    if isinstance(baseline, LabelMask) and isinstance(variant, LabelMask):
        image = _dimmed(bgr)
        image[baseline.label_ids != variant.label_ids] = LOST_BGR
        return image
    if isinstance(baseline, Classification) and isinstance(variant, Classification):
        return _draw_labels(bgr, baseline, variant)
    image = bgr.copy()
    if isinstance(baseline, Trajectory) and isinstance(variant, Trajectory):
        # The thin line lies on the thick one where the two agree.
        for path, color, thickness in ((baseline, LOST_BGR, 9), (variant, NEW_BGR, 3)):
            _draw_center_line(image, path, camera or DrawingCamera(), color, thickness)
    return image


def _amount(baseline: Result, variant: Result) -> float:
    """Return by what the head is chosen of which the difference is drawn: objects, or share of pixels."""
    if isinstance(baseline, Detections) and isinstance(variant, Detections):
        return float(sum(map(len, unmatched_objects(baseline, variant, MATCH_IOU))))
    if isinstance(baseline, LabelMask) and isinstance(variant, LabelMask):
        return float((baseline.label_ids != variant.label_ids).mean())
    return 0.0


def _draw_center_line(
    image: Image,
    trajectory: Trajectory,
    camera: DrawingCamera,
    color: tuple[int, int, int],
    thickness: int,
) -> None:
    """Draw the middle of a path on the road into an image, in place."""
    height, width = image.shape[:2]
    line = to_pixels(camera.project(dense_path(trajectory)[0], width, height))
    cv2.polylines(image, [line], False, color, thickness, cv2.LINE_AA)


def describe_difference(baseline: Result, variant: Result) -> str:
    """Return the difference of two results of one frame in one line."""
    if isinstance(baseline, HeadResults) and isinstance(variant, HeadResults):
        parts = (f"{name}: {describe_difference(baseline[name], variant[name])}" for name in variant)
        return "; ".join(parts)
    if isinstance(baseline, Detections) and isinstance(variant, Detections):
        missed, extra = unmatched_objects(baseline, variant, MATCH_IOU)
        return f"lost (orange): {_names(baseline, missed)}; new (blue): {_names(variant, extra)}"
    if isinstance(baseline, LabelMask) and isinstance(variant, LabelMask):
        changed = baseline.label_ids != variant.label_ids
        pairs = baseline.label_ids[changed].astype(np.int64) * 256 + variant.label_ids[changed]
        codes, counts = np.unique(pairs, return_counts=True)
        if not codes.size:
            return "no pixel differs"
        most = int(np.argmax(counts))
        words = f"{baseline.labels[codes[most] // 256]} to {variant.labels[codes[most] % 256]}"
        return f"{changed.mean():.1%} of pixels; most: {words}, {counts[most] / changed.size:.1%}"
    if isinstance(baseline, Classification) and isinstance(variant, Classification):
        words = f"{_label_text(baseline)} to {_label_text(variant)}"
        words = "same label" if baseline.label == variant.label else words
        return f"{words}; scores differ by at most {score_distance(baseline, variant):.2f}"
    if isinstance(baseline, Trajectory) and isinstance(variant, Trajectory):
        apart = math.degrees(variant.steering_wheel_angle_rad - baseline.steering_wheel_angle_rad)
        side = "left" if apart > 0 else "right"
        turn = "" if math.isnan(apart) else f", {abs(apart):.1f} deg more to the {side}"
        return f"baseline orange, variant blue{turn}"
    if isinstance(baseline, RawOutputs) and isinstance(variant, RawOutputs):
        return describe_errors(baseline, variant)
    return ""


def difference_image(
    bgr: Image, baseline: Result, variant: Result | None, *, names: tuple[str, str], headline: str
) -> Image:
    """Return baseline, variant and what differs side by side.

    Args:
        bgr: (H, W, 3) uint8 source frame.
        baseline: in the frame's pixels.
        variant: likewise; None where it gave no result.
        names: of the two, as titles.
        headline: one line over everything.
    """
    panels = [Panel(baseline, names[0], _summary(baseline))]
    if variant is None:
        headline += ": the variant gave no result"
    else:
        panels.append(Panel(variant, names[1], _summary(variant)))
        panels.append(Panel(variant, "what differs", describe_difference(baseline, variant), baseline))
    return side_by_side(bgr, panels, headline=headline, panel_width=560, difference=draw_difference)


def _draw_objects(bgr: Image, baseline: Detections, variant: Detections) -> Image:
    image = _dimmed(bgr)
    missed, extra = unmatched_objects(baseline, variant, MATCH_IOU)
    for side, places, color, word in (
        (baseline, missed, LOST_BGR, "lost"),
        (variant, extra, NEW_BGR, "new"),
    ):
        for place in places:
            left, top, right, bottom = box_to_pixels(side.boxes_xyxy[place])
            cv2.rectangle(image, (left, top), (right, bottom), color, 2)
            name = side.labels[int(side.class_ids[place])]
            draw_tag(image, f"{word} {name} {side.scores[place]:.2f}", left, top, color)
    return image


def _draw_labels(bgr: Image, baseline: Classification, variant: Classification) -> Image:
    """Name the lost and the new label; where both are the same the frame stays as it is."""
    if baseline.label == variant.label:
        return bgr.copy()
    image = _dimmed(bgr)
    draw_tag(image, f"lost {_label_text(baseline)}", 8, 24, LOST_BGR)
    draw_tag(image, f"new {_label_text(variant)}", 8, 48, NEW_BGR)
    return image


def _label_text(found: Classification) -> str:
    return f"{strongest(found)} {found.score:.2f}"


def _dimmed(bgr: Image) -> Image:
    """Return the image in dark gray, on which colors stand out."""
    gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.cvtColor((gray * _DIMMED).astype(np.uint8), cv2.COLOR_GRAY2BGR), np.uint8)


def _names(side: Detections, places: np.ndarray) -> str:
    names = [side.labels[int(side.class_ids[place])] for place in places]
    counted = [f"{names.count(name)} {name}" for name in dict.fromkeys(names)]
    return ", ".join(counted) or "none"


def _summary(result: Result) -> str:
    if isinstance(result, HeadResults):
        return "; ".join(f"{name}: {_summary(one)}" for name, one in result.items())
    if isinstance(result, Detections):
        return f"{len(result.scores)} objects"
    if isinstance(result, LabelMask):
        share = [
            (float((result.label_ids == place).mean()), name) for place, name in enumerate(result.labels)
        ]
        return ", ".join(f"{name} {value:.1%}" for value, name in sorted(share, reverse=True)[:4])
    if isinstance(result, Classification):
        return _label_text(result)
    if isinstance(result, RawOutputs):
        return describe_outputs(result)
    return describe_steering(result)
