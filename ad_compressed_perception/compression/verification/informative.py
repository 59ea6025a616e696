# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""On which frames a baseline's results carry information: elsewhere any variant agrees with them.

| task         | a frame is informative where                                                          |
|--------------|---------------------------------------------------------------------------------------|
| segmentation | at least two labels have 0.1 % of the baseline's mask each                            |
| detection    | the baseline has an object (or the variant, which is then wrong)                      |
| planning     | the baseline's trajectories differ (path, speed, probability) on two of the frames    |

Masks and objects that are the same on all of several frames carry none either: a variant that always
returned the first of them would agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, ResultError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.metrics.agreement import labels_of, planning_agreement
from ad_compressed_perception.pass_api.passes import Advance
from ad_compressed_perception.tasks.pipeline import Pipeline

MIN_SHARE = 0.001
"""Share of a mask's pixels from which a label has area, and from which two masks differ."""

_BOX_TOLERANCE_PX = 0.1
# Smaller differences of trajectories are noise of the computation: m, m/s, and probability.
_PATH_TOLERANCE_M, _SPEED_TOLERANCE_MPS, _PROBABILITY_TOLERANCE = 0.1, 0.1, 0.02
_SHOWN = 6


class BaselineInformation:
    """Which of the frames added so far are informative, and what the baseline says on those that are not."""

    def __init__(self, labels: Sequence[str] | None = None) -> None:
        """Count objects and pixels of these labels only, where they are given; None for all."""
        self._labels = labels
        self._first: Result | None = None
        self._varies = False
        self._has_content: list[bool] = []
        self._areas: set[str] = set()

    def add(self, baseline: Result) -> None:
        """Add the baseline's result on the next frame.

        Raises:
            DataError: a path without points or with coordinates that are not finite.
        """
        self._has_content.append(self._content(baseline))
        if self._first is None:
            self._first = baseline
        elif not self._varies:
            self._varies = _differ(self._first, baseline)

    def flags(self) -> NDArray[np.bool_]:
        """Return (N,) bool: whether each frame is informative."""
        content = np.array(self._has_content, bool)
        if self._varies or (len(content) == 1 and not isinstance(self._first, Trajectory)):
            return content
        return np.zeros_like(content)

    def what_is_constant(self) -> str:
        """Return what the baseline says on every frame, where none is informative."""
        first, count = self._first, len(self._has_content)
        if isinstance(first, Trajectory):
            x_m, y_m = first.points_xy_m[-1]
            return (
                f"the trajectories of all {count} frames are the same within {_PATH_TOLERANCE_M:g} m "
                f"(curvature {first.curvature_per_m:.4g} 1/m, end at x {x_m:.2f} m, y {y_m:.2f} m)"
            )
        if isinstance(first, LabelMask) and not any(self._has_content):
            labels = ", ".join(repr(name) for name in sorted(self._areas)[:_SHOWN])
            return f"each of the {count} frames has one label on more than 99.9 % of its pixels ({labels})"
        if isinstance(first, LabelMask):
            return f"all {count} frames have the same mask"
        if isinstance(first, Detections) and any(self._has_content):
            names = labels_of(first)
            return f"all {count} frames have the same {len(names)} objects ({', '.join(names[:_SHOWN])})"
        return f"none of {count} frames has an object"

    def _content(self, result: Result) -> bool:
        if isinstance(result, Detections):
            return any(self._is_compared(name) for name in labels_of(result))
        if isinstance(result, LabelMask):
            pixels = np.bincount(result.label_ids.ravel(), minlength=len(result.labels))
            with_area = pixels >= max(1.0, MIN_SHARE * result.label_ids.size)
            names = {name for name, has in zip(result.labels, with_area.tolist(), strict=False) if has}
            self._areas |= names
            return len(names) > 1 and any(map(self._is_compared, names))
        return True

    def _is_compared(self, name: str) -> bool:
        return self._labels is None or name in self._labels


def _differ(first: Result, other: Result) -> bool:
    """Return whether two frames' results differ by more than noise of the computation."""
    if isinstance(first, Trajectory) and isinstance(other, Trajectory):
        return _trajectories_differ(first, other)
    if isinstance(first, LabelMask) and isinstance(other, LabelMask):
        rows, columns = other.label_ids.shape
        # Nearest pixels: the frames of a folder may differ in size.
        down = np.arange(rows) * first.label_ids.shape[0] // rows
        across = np.arange(columns) * first.label_ids.shape[1] // columns
        changed = np.count_nonzero(first.label_ids[np.ix_(down, across)] != other.label_ids)
        return bool(changed >= max(1.0, MIN_SHARE * other.label_ids.size))
    if isinstance(first, Detections) and isinstance(other, Detections):
        return not (
            np.array_equal(first.class_ids, other.class_ids)
            and np.allclose(first.boxes_xyxy, other.boxes_xyxy, rtol=0.0, atol=_BOX_TOLERANCE_PX)
        )
    return True


def _trajectories_differ(first: Trajectory, other: Trajectory) -> bool:
    if planning_agreement(first, other).max_lateral_offset_m > _PATH_TOLERANCE_M:
        return True
    if math.dist(first.points_xy_m[-1], other.points_xy_m[-1]) > _PATH_TOLERANCE_M:
        return True
    speeds = [[one.speed_mps, *(() if one.speeds_mps is None else one.speeds_mps)] for one in (first, other)]
    probabilities = [
        [one.collision_probability, one.stop_probability, one.proceed_after_stop_probability]
        for one in (first, other)
    ]
    return not (
        np.allclose(speeds[0], speeds[1], rtol=0.0, atol=_SPEED_TOLERANCE_MPS, equal_nan=True)
        and np.allclose(
            probabilities[0], probabilities[1], rtol=0.0, atol=_PROBABILITY_TOLERANCE, equal_nan=True
        )
    )


def refuse_uninformative(
    baseline: Pipeline,
    manifest: Manifest,
    frames: FrameSample,
    advance: Advance = lambda done, total: None,
) -> None:
    """Run the baseline until a frame is informative.

    One frame alone is not judged: too few informative frames leave the verdict open anyway.

    Args:
        baseline: the model that variants are to be compared with.
        manifest: its manifest, for the message.
        frames: the frames of the comparison.
        advance: progress callback (done, total).

    Raises:
        ManifestError: the baseline says the same, or nothing, on every frame.
        ModelFileError: it gives no valid result.
        AdcpError: a frame cannot be read, a runtime failed.
    """
    found, total = BaselineInformation(), len(frames)
    for index, frame in enumerate(frames):
        try:
            found.add(baseline.run(frame)[0])
        except ResultError as error:
            raise ModelFileError(
                f"the baseline gives no result on frame {index + 1} of {frames.source.describe}: {error}"
            ) from error
        if index and found.flags().any():
            advance(total, total)
            return
        advance(index + 1, total)
    if total > 1:
        spec = manifest.input
        raise ManifestError(
            f"the baseline of {manifest.name!r} is not informative on {frames.source.describe}: "
            f"{found.what_is_constant()}, where agreement means nothing; does the manifest's input fit the "
            f"model (scale {spec.scale:.4g}, color order {spec.color}, mean {spec.mean}, std {spec.std}, "
            f"size {spec.width}x{spec.height}), and do the frames show what it was made for?"
        )
