# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every frame's output and result must hold; a frame that breaks it fails and is not published.

Decoders check the values that they read, tasks the result, whichever decoder made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import OutputError
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.driving.limits import MAX_CURVATURE_PER_M, MAX_SPEED_MPS

SCORE_TOLERANCE = 0.05
"""How far a score may be beyond 0..1: rounding of an output that is quantized together with boxes."""
_MAX_WAYPOINT_M = 500.0
"""The way of 10 s at 50 m/s."""
_AHEAD_FROM_M = 1.0
"""Waypoints closer than this are noise of a standing vehicle: their direction means nothing."""
_BOX_SIZES = 16.0
"""Coordinates beyond this many model inputs are no object, but decoded or broken values."""


def check_finite(values: NDArray[np.generic], where: str) -> None:
    """Raise OutputError where a number is NaN or infinite; costs two fast passes.

    numpy's min and max return NaN where there is one, unlike argmax, comparisons and casts.

    Args:
        values: of any shape, with at least one number.
        where: the model and output, for the message.
    """
    if np.isfinite(values.min()) and np.isfinite(values.max()):
        return
    wrong = np.argwhere(~np.isfinite(values))
    first = tuple(wrong[0].tolist())
    raise OutputError(
        f"{where}: {len(wrong)} of {values.size} numbers are not finite ({values[first]} at {list(first)}); "
        "an overflow (float16?) or a broken file: use another variant"
    )


def check_shapes(outputs: Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec], model: str) -> None:
    """Raise OutputError where an output is missing or has another shape than its file says."""
    for spec in specs:
        array = outputs.get(spec.name)
        if array is None:
            raise OutputError(f"model {model!r}: no output {spec.name!r}")
        fits = len(array.shape) == len(spec.shape) and all(
            expected in (None, size) for size, expected in zip(array.shape, spec.shape, strict=True)
        )
        if not fits:
            shape, file_shape = list(array.shape), list(spec.shape)
            raise OutputError(f"model {model!r}: output {spec.name!r} is {shape}, not {file_shape}")


def check_probability(values: NDArray[np.generic], where: str, cause: str) -> None:
    """Raise OutputError where finite scores are not in 0..1, within SCORE_TOLERANCE."""
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    if low < -SCORE_TOLERANCE or high > 1.0 + SCORE_TOLERANCE:
        raise OutputError(f"{where}: scores from {low:.4g} to {high:.4g} instead of 0 to 1; {cause}")


def check_boxes(
    boxes_xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    labels: int,
    model: str,
    size: int,
) -> None:
    """Check candidate boxes before suppression.

    Args:
        boxes_xyxy: (N, 4) model pixels.
        scores: (N,).
        class_ids: (N,).
        labels: number of labels.
        model: its name.
        size: the longer side of the model's input.

    Raises:
        OutputError: numbers of different length, not finite, or out of range.
    """
    count = len(scores)
    where = f"model {model!r}"
    if boxes_xyxy.shape != (count, 4) or scores.shape != (count,) or class_ids.shape != (count,):
        raise OutputError(
            f"{where}: decoded boxes {list(boxes_xyxy.shape)}, scores {list(scores.shape)} and class ids "
            f"{list(class_ids.shape)} do not belong together"
        )
    if not count:
        return
    check_finite(boxes_xyxy, f"{where}, boxes")
    check_finite(scores, f"{where}, scores")
    check_probability(scores, f"{where}, boxes", "does the file lack a sigmoid?")
    if class_ids.min() < 0 or class_ids.max() >= labels:
        raise OutputError(
            f"{where}: class ids {class_ids.min()} to {class_ids.max()}, its manifest has {labels} labels"
        )
    farthest = float(np.abs(boxes_xyxy).max())
    if farthest > _BOX_SIZES * size:
        raise OutputError(
            f"{where}: a box reaches {farthest:.4g} pixels, its input has {size}; are the file's boxes "
            "decoded to pixels already, where its decoder expects raw ones?"
        )


def check_label_ids(label_ids: NDArray[np.uint8], labels: int, model: str) -> None:
    """Raise OutputError unless label ids are (h, w) uint8 below the number of labels."""
    if label_ids.ndim != 2 or label_ids.dtype != np.uint8 or not label_ids.size:
        raise OutputError(
            f"model {model!r}: a mask is (h, w) uint8, not {label_ids.dtype} {list(label_ids.shape)}"
        )
    highest = int(label_ids.max())
    if highest >= labels:
        raise OutputError(
            f"model {model!r}: the mask holds label id {highest}, its manifest has {labels} labels (0 to "
            f"{labels - 1}); name the missing ones, or map the id to one of them in the file"
        )


def check_waypoints(points_xy_m: NDArray[np.float64], where: str) -> None:
    """Raise OutputError unless (N, 2) finite points lie within a drive of the vehicle, and begin ahead of it.

    The node's command drives forward: to a path that leads backward it would steer the wrong way.
    """
    if not len(points_xy_m):
        raise OutputError(f"{where}: no waypoint besides the vehicle's own position")
    distances = np.hypot(*points_xy_m.T)
    if distances.max() > _MAX_WAYPOINT_M:
        raise OutputError(
            f"{where}: a waypoint {distances.max():.4g} m away; are they pixels, or in another unit (decoder "
            "option scale_m)?"
        )
    far = np.flatnonzero(distances > _AHEAD_FROM_M)
    if far.size and points_xy_m[far[0], 0] < -abs(points_xy_m[far[0], 1]):
        x, y = points_xy_m[far[0]]
        raise OutputError(
            f"{where}: the path leads backward, to {x:.4g} m forward and {y:.4g} m left; are the axes others "
            "(decoder option axes)?"
        )


def check_class_scores(scores: NDArray[np.float32], labels: int, model: str) -> None:
    """Raise OutputError unless there is one finite score within 0..1 for each label."""
    where = f"model {model!r}"
    if scores.shape != (labels,):
        raise OutputError(f"{where}: {list(scores.shape)} class scores, its manifest has {labels} labels")
    check_finite(scores, f"{where}, class scores")
    check_probability(scores, f"{where}, classes", "does the file lack a softmax or sigmoid?")


def check_trajectory(trajectory: Trajectory, model: str) -> None:
    """Raise OutputError unless a trajectory is finite and can be driven by a vehicle."""
    points, headings = trajectory.points_xy_m, trajectory.headings_rad
    where = f"model {model!r}, trajectory"
    speeds = np.array([trajectory.speed_mps]) if trajectory.speeds_mps is None else trajectory.speeds_mps
    lengths = {len(points), len(headings), len(points) if trajectory.speeds_mps is None else len(speeds)}
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or len(lengths) != 1:
        raise OutputError(f"{where}: points {list(points.shape)}, headings {list(headings.shape)}")
    numbers = np.concatenate(
        [points.ravel(), headings, speeds, [trajectory.curvature_per_m, trajectory.speed_mps]]
    )
    check_finite(numbers, where)
    fastest = float(max(np.abs(speeds).max(), abs(trajectory.speed_mps)))
    if fastest > MAX_SPEED_MPS:
        raise OutputError(f"{where}: a speed of {fastest:.4g} m/s; is it in another unit?")
    if abs(trajectory.curvature_per_m) > MAX_CURVATURE_PER_M:
        raise OutputError(
            f"{where}: a curvature of {trajectory.curvature_per_m:.4g} 1/m; is it in another unit?"
        )
