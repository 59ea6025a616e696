# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""On which frames a baseline's results carry information: elsewhere any variant agrees with them.

| task         | a frame is informative where                                                          |
|--------------|---------------------------------------------------------------------------------------|
| segmentation | at least two labels have area in the baseline's mask: 0.1 % of it, or 64 pixels       |
| detection    | the baseline has an object (or the variant, which is then wrong)                      |
| planning     | the baseline gives a trajectory                                                       |
| classific.   | the baseline publishes a label (one of those that are compared)                       |
| raw          | an output of the baseline holds two different numbers, or only one                    |

Of the frames on which the baseline says the same, no more are informative than there are others: a variant
that always returned that result would agree on all of them. A baseline that never varies is therefore
informative on no frame, and one outlier among its results makes two of them informative, not all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.verification.raw_content import (
    describe_constant,
    outputs_differ,
    outputs_have_content,
)
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, ResultError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.core.results import (
    Classification,
    Detections,
    LabelMask,
    RawOutputs,
    Result,
    Trajectory,
)
from ad_compressed_perception.metrics.agreement import (
    detection_agreement,
    labels_of,
    planning_agreement,
)
from ad_compressed_perception.metrics.class_agreement import strongest
from ad_compressed_perception.metrics.iou import iou_per_class
from ad_compressed_perception.tasks.pipeline import Pipeline, heads_of

MIN_SHARE = 0.001
"""Share of a mask's pixels from which a label has area, and from which two masks differ."""

MIN_PIXELS = 64
"""So many pixels are area in any mask: a small object far away has less than MIN_SHARE of a large image."""

# Results that are the same: boxes and labels overlap that much, trajectories differ by no more than noise of
# the computation: m, m/s, and probability.
_SAME_BOX_IOU, _SAME_LABEL_IOU = 0.95, 0.9
_PATH_TOLERANCE_M, _SPEED_TOLERANCE_MPS, _PROBABILITY_TOLERANCE = 0.1, 0.1, 0.02
_SHOWN = 6
# Different results that are remembered; of more the rarest is forgotten.
_REMEMBERED = 8


@dataclass(eq=False)  # results hold arrays
class _Group:
    """Frames on which the baseline says the same as on the first of them."""

    first: Result
    number: int
    frames: int = 1


class BaselineInformation:
    """Which of the frames added so far are informative, and what the baseline says on those that are not."""

    def __init__(self, labels: Sequence[str] | None = None) -> None:
        """Count objects and pixels of these labels only, where they are given; None for all."""
        self._labels = labels
        self._first: Result | None = None
        self._groups: list[_Group] = []
        self._numbers: list[int] = []
        self._has_content: list[bool] = []
        self._areas: set[str] = set()

    def add(self, baseline: Result) -> None:
        """Add the baseline's result on the next frame.

        Raises:
            DataError: a path without points or with coordinates that are not finite.
        """
        self._has_content.append(self._content(baseline))
        self._first = baseline if self._first is None else self._first
        group = next((one for one in self._groups if not _differ(one.first, baseline)), None)
        if group is None:
            group = _Group(baseline, max(self._numbers, default=-1) + 1, 0)
            if len(self._groups) == _REMEMBERED:
                self._groups.remove(min(self._groups, key=lambda one: one.frames))
            self._groups.append(group)
        group.frames += 1
        self._numbers.append(group.number)
        self._groups.sort(key=lambda one: -one.frames)  # the most frequent are compared first

    def flags(self) -> NDArray[np.bool_]:
        """Return (N,) bool: whether each frame is informative."""
        content = np.array(self._has_content, bool)
        if len(content) == 1 and not isinstance(self._first, Trajectory):
            return content
        numbers = np.array(self._numbers, np.int64)
        for number, frames in zip(*np.unique(numbers, return_counts=True), strict=True):
            others = len(numbers) - int(frames)
            content[np.flatnonzero(numbers == number)[others:]] = False
        return content

    def what_is_constant(self) -> str:
        """Return what the baseline says on every frame, where none is informative."""
        first, count = self._first, len(self._has_content)
        if isinstance(first, RawOutputs):
            return describe_constant(first, count)
        if isinstance(first, Trajectory):
            x_m, y_m = first.points_xy_m[-1]
            return (
                f"the trajectories of all {count} frames are the same within {_PATH_TOLERANCE_M:g} m "
                f"(curvature {first.curvature_per_m:.4g} 1/m, end at x {x_m:.2f} m, y {y_m:.2f} m)"
            )
        if isinstance(first, Classification):
            return f"all {count} frames have the same label ({strongest(first)!r})"
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
            with_area = pixels >= _least_area(result)
            names = {name for name, has in zip(result.labels, with_area.tolist(), strict=False) if has}
            self._areas |= names
            return len(names) > 1 and any(map(self._is_compared, names))
        if isinstance(result, Classification):
            return result.label is not None and self._is_compared(result.label)
        return not isinstance(result, RawOutputs) or outputs_have_content(result)

    def _is_compared(self, name: str) -> bool:
        return self._labels is None or name in self._labels


def _least_area(mask: LabelMask) -> float:
    """Return from how many pixels a label has area."""
    return max(1.0, min(MIN_SHARE * mask.label_ids.size, MIN_PIXELS))


def _differ(first: Result, other: Result) -> bool:
    """Return whether two frames' results differ by more than noise of the computation."""
    if isinstance(first, Trajectory) and isinstance(other, Trajectory):
        return _trajectories_differ(first, other)
    if isinstance(first, LabelMask) and isinstance(other, LabelMask):
        return _masks_differ(first, other)
    if isinstance(first, Classification) and isinstance(other, Classification):
        return first.label != other.label
    if isinstance(first, RawOutputs) and isinstance(other, RawOutputs):
        return outputs_differ(first, other)
    if isinstance(first, Detections) and isinstance(other, Detections):
        counts = detection_agreement(first, other, _SAME_BOX_IOU).overall
        return counts.missed + counts.extra > 0
    return True


def _masks_differ(first: LabelMask, other: LabelMask) -> bool:
    ids = first.label_ids
    if ids.shape != other.label_ids.shape:
        # Nearest pixels: the frames of a folder may differ in size.
        rows, columns = other.label_ids.shape
        ids = ids[
            np.ix_(np.arange(rows) * ids.shape[0] // rows, np.arange(columns) * ids.shape[1] // columns)
        ]
    changed = int(np.count_nonzero(ids != other.label_ids))
    if changed >= max(1.0, MIN_SHARE * ids.size):
        return True
    if changed == 0:
        return False
    # A small object that moves changes few pixels, but most of its own.
    count = max(len(first.labels), len(other.labels), int(ids.max()) + 1, int(other.label_ids.max()) + 1)
    codes = ids.astype(np.intp) * count + other.label_ids
    confusion = np.bincount(codes.ravel(), minlength=count * count).reshape(count, count)
    with_area = np.maximum(confusion.sum(axis=0), confusion.sum(axis=1)) >= _least_area(other)
    return bool((iou_per_class(confusion)[with_area] < _SAME_LABEL_IOU).any())


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
    advance: Advance = no_advance,
) -> None:
    """Run the baseline until a frame is informative.

    One frame alone is not judged: too few informative frames leave the verdict open anyway.

    Args:
        baseline: the model that variants are to be compared with; of several heads each is to be informative.
        manifest: its manifest, for the message.
        frames: the frames of the comparison.
        advance: progress callback (done, total).

    Raises:
        ManifestError: the baseline says the same, or nothing, on every frame.
        ModelFileError: it gives no valid result.
        AdcpError: a frame cannot be read, a runtime failed.
    """
    if manifest.outputs is not None:
        for one in heads_of(baseline).values():
            refuse_uninformative(one, one.task.manifest, frames, advance)
        return
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
