# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One frame with the results of all compared nodes: a row for each variant, its baseline on the left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.metrics.agreement import (
    Agreement,
    ClassificationAgreement,
    DetectionAgreement,
    SegmentationAgreement,
    agreement,
)
from ad_compressed_perception.report.difference import describe_difference, draw_difference
from ad_compressed_perception.report.overlay import DrawingCamera, Image, draw_tag
from ad_compressed_perception.report.panels import Panel, side_by_side, with_steering

NO_RESULT = "NO RESULT for this frame"
_ALARM_BGR = (0, 94, 213)
_DIMMED = 0.4
_LINE_HEIGHT = 28


@dataclass(frozen=True)
class Side:
    """What one node gave for the frame.

    Attributes:
        title: who it is, such as "compressed: int8".
        result: in the frame's pixels; None where none came.
        latency: its latencies in words.
    """

    title: str
    result: Result | None
    latency: str = ""


@dataclass(frozen=True)
class Row:
    """A variant beside its task's baseline."""

    task: str
    baseline: Side
    variant: Side


def draw_comparison(
    bgr: Image, rows: Sequence[Row], *, headline: str, panel_width: int, camera: DrawingCamera | None = None
) -> Image:
    """Return one image of a frame: for each row baseline, variant and what differs.

    Args:
        bgr: (H, W, 3) uint8 source frame.
        rows: one or more.
        headline: what is known of the frame; stands over each row, behind its task and agreement.
        panel_width: width of each of the three panels of a row, pixels.
        camera: assumed for drawing paths.

    Returns:
        (height, 3 * panel_width + gaps, 3) uint8.
    """
    drawn = []
    for row in rows:
        words, third = _compare(row)
        panels = [
            Panel(_with_curvature(side.result), side.title, f"{_count(side.result)}{side.latency}")
            for side in (row.baseline, row.variant)
        ]
        line = f"{row.task}: {words} | {headline}"
        drawn.append(
            side_by_side(
                bgr,
                [*panels, third],
                headline=line,
                panel_width=panel_width,
                camera=camera,
                difference=draw_difference,
            )
        )
    return np.concatenate(drawn)


def draw_notice(shown: Image, lines: Sequence[str]) -> Image:
    """Return an image that is dimmed, with lines of text on it: what it shows is not the present."""
    image = np.asarray(cv2.convertScaleAbs(shown, alpha=_DIMMED), np.uint8)
    for place, line in enumerate(lines):
        draw_tag(image, line, 8, (place + 1) * _LINE_HEIGHT, _ALARM_BGR)
    return image


def describe_agreement(found: Agreement) -> str:
    """Return the agreement of one frame in words."""
    if isinstance(found, DetectionAgreement):
        overall = found.overall
        return f"F1 {overall.f1:.2f} ({overall.matched} in both, {overall.missed} lost, {overall.extra} new)"
    if isinstance(found, SegmentationAgreement):
        return f"mean IoU {found.miou:.3f}, {found.differing_pixels_share:.1%} of the pixels differ"
    if isinstance(found, ClassificationAgreement):
        return (
            f"{'same label' if found.same else 'OTHER LABEL'}, scores {found.mean_score_distance:.2f} apart"
        )
    return f"path ends {found.fde_m:.2f} m apart, at most {found.max_lateral_offset_m:.2f} m aside"


def _compare(row: Row) -> tuple[str, Panel]:
    """Return a row's agreement in words and its third panel."""
    baseline, variant = row.baseline.result, row.variant.result
    if baseline is None or variant is None:
        missing = [name for name, side in (("baseline", baseline), ("variant", variant)) if side is None]
        words = f"NO PAIR, no result of {' and '.join(missing)}"
        return words, Panel(None, "what differs", NO_RESULT)
    try:
        words = describe_agreement(agreement(baseline, variant))
        return words, Panel(variant, "what differs", describe_difference(baseline, variant), baseline)
    except DataError as error:
        return f"NOT COMPARABLE: {error}", Panel(None, "what differs", "not comparable")


def _with_curvature(result: Result | None) -> Result | None:
    """Return a result; a path that came as a message, without its curvature, with that of its points."""
    return with_steering(result, math.nan, math.nan) if isinstance(result, Trajectory) else result


def _count(result: Result | None) -> str:
    if result is None:
        return f"{NO_RESULT}; "
    if isinstance(result, Detections):
        return f"{len(result.scores)} objects; "
    if isinstance(result, LabelMask):
        return f"{len(np.unique(result.label_ids[::4, ::4]))} labels; "
    return ""
