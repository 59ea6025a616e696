# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Waypoints: points ahead of the vehicle, spaced by time or by distance, of one or several hypotheses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.driving.path import headings_of_points
from ad_compressed_perception.driving.path_tracker import TrackerSettings, dense_path, pursuit_curvature
from ad_compressed_perception.tasks.output_contract import check_finite, check_waypoints
from ad_compressed_perception.tasks.planning import (
    PlanningDecoder,
    PlanningSettings,
    steering_of_curvature,
)


class WaypointsOptions(StrictModel):
    """Options of the waypoints decoder."""

    output: str | None = Field(
        None, description="tensor of the points; when absent the only one, or the only one of a fitting shape"
    )
    scores_output: str | None = Field(
        None, description="tensor with a score for each of several hypotheses; the strongest is taken"
    )
    axes: Literal["forward_left", "forward_right", "left_forward", "right_forward"] = Field(
        "forward_left", description="what a point's first and second number are, and to which side positive"
    )
    coordinates: Literal[2, 3] | None = Field(
        None, description="numbers of a point; read from the shape, and 2 where that is flat, when absent"
    )
    third: Literal["height", "heading"] = Field(
        "height", description="a point's third number: height is not used, heading is in radians"
    )
    scale_m: float | list[float] | None = Field(
        None, description="meters per output unit, of both numbers or of each; 1 when absent"
    )
    offset_m: float | list[float] = Field(0.0, description="added after that, of both numbers or of each")
    values: Literal["positions", "displacements"] = Field(
        "positions", description="displacements: each point is relative to the one before"
    )
    step_s: float | None = Field(
        None,
        gt=0.0,
        le=10.0,
        description="seconds from point to point; when absent they are spaced by distance, and driven at the "
        "nominal speed",
    )
    starts_at_vehicle: bool = Field(
        False, description="the first point is the vehicle's present position, and is left out"
    )


@dataclass(frozen=True)
class _Shape:
    """Hypotheses, points and numbers of a point; whether the numbers come before the points."""

    hypotheses: int
    points: int
    coordinates: int
    is_transposed: bool = False

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return (M, N, 2 or 3)."""
        if self.is_transposed:
            return values.reshape(self.hypotheses, self.coordinates, self.points).transpose(0, 2, 1)
        return values.reshape(self.hypotheses, self.points, self.coordinates)


class WaypointsDecoder(PlanningDecoder):
    """Decodes N x 2, N x 3, their transposes, flat 2N or 3N, with a batch axis or not; M of each by scores.

    A speed is the length of a step by ``step_s``. The curvature is that of pure pursuit along the points,
    whose goal lies as far ahead as the path tracker's.
    """

    options_type = WaypointsOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        options: WaypointsOptions = self.options
        self._output: str | None = options.output
        first, _, second = options.axes.partition("_")
        self._forward = 0 if first == "forward" else 1
        self._side = 1.0 if "left" in (first, second) else -1.0
        if options.third == "heading" and self._forward != 0:
            raise ManifestError(
                f"model {self.model!r}, options of decoder 'waypoints': third: heading needs axes "
                "forward_left or forward_right, from whose first axis it is counted"
            )
        self._scale = self._pair("scale_m", 1.0 if options.scale_m is None else options.scale_m)
        self._offset = self._pair("offset_m", options.offset_m)

    def _pair(self, key: str, given: float | list[float]) -> NDArray[np.float64]:
        numbers = given if isinstance(given, list) else [given]
        if (
            len(numbers) not in (1, 2)
            or not np.isfinite(numbers).all()
            or (key == "scale_m" and 0 in numbers)
        ):
            raise ManifestError(
                f"model {self.model!r}, options of decoder 'waypoints': {key} is one number, or one for each "
                f"axis, not {given}"
            )
        return np.asarray(numbers, np.float64)

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when no output, or more than one, can hold points, or scores do not fit."""
        scores = self.options.scores_output
        hypotheses, is_known = 1, True
        if scores:
            spec = self.find_output(outputs, scores)
            is_known = None not in spec.shape[1:]
            hypotheses = math.prod(size or 1 for size in spec.shape)
        if self._output is None and len(outputs) > 1:
            self._output = self._only_fitting(outputs, hypotheses)
        tensor = self.find_output(outputs, self._output)
        if not tensor.dtype.startswith("float"):
            raise ModelFileError(f"model {self.model!r}: waypoints are real numbers, not {tensor.dtype}")
        self._output = tensor.name
        if is_known and None not in tensor.shape[1:]:
            try:
                self._shape(tuple(size or 1 for size in tensor.shape), hypotheses)
            except ValueError as error:
                raise ModelFileError(
                    f"model {self.model!r}: the file's output {tensor.name!r} {list(tensor.shape)} {error}"
                ) from None

    def _only_fitting(self, outputs: tuple[TensorSpec, ...], hypotheses: int) -> str:
        fitting = []
        for tensor in outputs:
            if tensor.name == self.options.scores_output or None in tensor.shape[1:]:
                continue
            try:
                shape = self._shape(tuple(size or 1 for size in tensor.shape), hypotheses)
            except ValueError:
                continue
            fitting += [tensor.name] if shape.points > 1 and tensor.dtype.startswith("float") else []
        if len(fitting) != 1:
            shown = ", ".join(f"{one.name!r} {list(one.shape)}" for one in outputs)
            raise ModelFileError(
                f"model {self.model!r}: {'several' if fitting else 'none'} of its outputs can be waypoints, "
                f"among {shown}; name the one with decoder option output"
            )
        return fitting[0]

    def _shape(self, shape: tuple[int, ...], hypotheses: int) -> _Shape:
        """Return how an output is arranged; ValueError, in words, where it cannot be points."""
        inner = list(shape)
        while len(inner) > 1 and inner[0] == 1:
            del inner[0]
        asked = self.options.coordinates
        if hypotheses > 1:
            if inner and inner[0] == hypotheses:
                del inner[0]
            elif len(inner) == 1 and inner[0] % hypotheses == 0:
                inner = [inner[0] // hypotheses]
            else:
                raise ValueError(f"does not hold {hypotheses} hypotheses, one for each score")
        if len(inner) == 1:
            flat = asked or 2
            if inner[0] % flat == 0:
                return _Shape(hypotheses, inner[0] // flat, flat)
        if len(inner) == 2 and inner[1] in ((asked,) if asked else (2, 3)):
            return _Shape(hypotheses, inner[0], inner[1])
        if len(inner) == 2 and inner[0] in ((asked,) if asked else (2, 3)):
            return _Shape(hypotheses, inner[1], inner[0], is_transposed=True)
        several = (
            "; if it holds several hypotheses, name their scores with decoder option scores_output"
            if len(inner) == 3
            else ""
        )
        raise ValueError(f"is no list of points of {asked or '2 or 3'} numbers{several}")

    def points(
        self, outputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return (N, 2) points in meters, x forward, y left, and (N,) headings where the output has them.

        Raises:
            OutputError: another shape, not finite, or not within a drive of the vehicle.
        """
        values, where = self.read(outputs, self._output), self.where(self._output)
        check_finite(values, where)
        chosen, count = self._strongest(outputs)
        try:
            rows = self._shape(values.shape, count).arrange(values)[chosen].astype(np.float64)
        except ValueError as error:
            raise OutputError(f"{where}: {list(values.shape)} {error}") from None
        meters = rows[:, :2] * self._scale + self._offset
        if self.options.values == "displacements":
            meters = np.cumsum(meters, axis=0)
        points = np.stack([meters[:, self._forward], self._side * meters[:, 1 - self._forward]], axis=1)
        has_headings = rows.shape[1] == 3 and self.options.third == "heading"
        headings = self._side * rows[:, 2] if has_headings else None
        if self.options.starts_at_vehicle:
            points, headings = points[1:], None if headings is None else headings[1:]
        check_waypoints(points, where)
        return points, headings

    def _strongest(self, outputs: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
        """Return the index of the hypothesis with the largest score, and their number."""
        name = self.options.scores_output
        if not name:
            return 0, 1
        scores = self.read(outputs, name)
        check_finite(scores, self.where(name))
        return int(scores.reshape(-1).argmax()), int(scores.size)

    def trajectory(
        self, outputs: Mapping[str, NDArray[Any]], settings: PlanningSettings, speed_mps: float | None
    ) -> Trajectory:
        """Return the points; with speeds where they are spaced by time, at the nominal speed otherwise."""
        points, headings = self.points(outputs)
        step_s = self.options.step_s
        speeds = None
        if step_s is not None:
            lengths = np.hypot(*np.diff(np.concatenate([np.zeros((1, 2)), points]), axis=0).T)
            speeds = lengths / step_s
        plan = Trajectory(
            points,
            headings_of_points(points) if headings is None else headings,
            math.nan,
            settings.speed_mps if speeds is None else float(speeds[0]),
            speeds_mps=speeds,
            step_s=math.nan if step_s is None else step_s,
        )
        tracker = TrackerSettings(wheelbase_m=settings.wheelbase_m)
        path = dense_path(plan, beyond_m=2.0 * tracker.look_ahead_max_m)
        curvature = pursuit_curvature(path, tracker.look_ahead_m(plan.speed_mps))
        steering = steering_of_curvature(curvature, settings.steering_ratio, settings.wheelbase_m)
        return replace(plan, curvature_per_m=curvature, steering_wheel_angle_rad=steering)
