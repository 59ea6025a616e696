# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoder of planners that give 1 / r, the inverse turning radius (Bojarski et al., 2016: PilotNet)."""

from __future__ import annotations

from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.tasks.output_contract import check_finite
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
from ad_compressed_perception.tasks.planning import PlanningDecoder, arc_points, steering_of_curvature

SMALLEST_RADIUS_M = 2.0


class InverseRadiusOptions(StrictModel):
    """What model.yaml may say under output: options."""

    output: str | None = Field(None, description="output tensor; the only output when absent")
    is_right_positive: bool = Field(True, description="whether 1 / r is positive in right bends")


class InverseRadiusDecoder(PlanningDecoder):
    """Decodes one number, 1 / r in 1/m, to the arc of that radius."""

    options_type = InverseRadiusOptions

    def check(self, outputs):
        """Take the output once the file is loaded; refuse a file that this decoder cannot decode."""
        tensor = self.find_output(outputs, self.options.output)
        if any(size not in (None, 1) for size in tensor.shape) or not tensor.dtype.startswith("float"):
            raise ModelFileError(f"model {self.model!r}: inverse_radius needs one real number, the file's "
                                 f"{tensor.name!r} is {tensor.dtype} {list(tensor.shape)}")  # fmt: skip
        self._output = tensor.name

    def output_kinds(self):
        """Say what passes train: a number, whose errors count squared up to a radius of 100 m."""
        return {self._output: OutputKinds((Columns("value", unit=0.01),))}

    def trajectory(self, outputs, settings, speed_mps):
        """Decode a frame; fail it, rather than publish it, where the number cannot be meant."""
        values, where = self.read(outputs, self._output), self.where(self._output)
        check_finite(values, where)
        curvature = float(values.reshape(-1)[0]) * (-1.0 if self.options.is_right_positive else 1.0)
        if abs(curvature) > 1.0 / SMALLEST_RADIUS_M:
            raise OutputError(f"{where}: 1 / r of {curvature:.4g} 1/m is a bend that no car drives")
        points_xy_m, headings_rad = arc_points(curvature, settings.horizon_m, settings.points)
        angle = steering_of_curvature(curvature, settings.steering_ratio, settings.wheelbase_m)
        return Trajectory(points_xy_m, headings_rad, curvature, settings.speed_mps, angle)
