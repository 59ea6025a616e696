# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frame-by-frame values of one comparison run, the data of the plots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ad_compressed_perception.core.timing import FrameTiming


@dataclass(frozen=True)
class AgreementAxis:
    """How one task's per-frame agreement is drawn.

    Attributes:
        key: attribute of the task's agreement (metrics.agreement) that is drawn.
        title: what the value means.
        unit: unit shown on the axis.
        best: the value of perfect agreement.
    """

    key: str
    title: str
    unit: str
    best: float

    def value(self, agreement: Any) -> float:
        """Return the drawn value of one frame's agreement; NaN where it has none."""
        value = getattr(agreement, self.key)
        return math.nan if value is None else float(value)


AGREEMENT_AXES: dict[str, AgreementAxis] = {
    "detection": AgreementAxis("score", "same objects found (F1 at IoU 0.5)", "F1, 0 to 1", 1.0),
    "segmentation": AgreementAxis("miou", "same pixels labeled (mean IoU)", "mIoU, 0 to 1", 1.0),
    "planning": AgreementAxis("ade_m", "path differs by (average displacement)", "ADE, meters", 0.0),
    "classification": AgreementAxis("score", "same label (top-1)", "top-1, 0 or 1", 1.0),
}
"""The one agreement value of each task that is drawn over time."""


@dataclass
class TaskSeries:
    """Timings and agreement of one task's variants, frame by frame.

    Attributes:
        timings: variant name to its completed frames, the baseline first.
        agreement: compared variant's name to (stamp_ns, value of the task's AgreementAxis); NaN where
            a frame has nothing to compare.
        axis: which value of an agreement that is.
    """

    timings: dict[str, list[FrameTiming]]
    agreement: dict[str, list[tuple[int, float]]]
    axis: AgreementAxis

    def stage_ms(self, variant: str, stage: str) -> list[float]:
        """Milliseconds of one stage, or of ``end_to_end``, over a variant's processed frames."""
        values = [
            timing.end_to_end_ms if stage == "end_to_end" else timing.stages_ms.get(stage, math.nan)
            for timing in self.timings.get(variant, [])
            if timing.outcome == "processed"
        ]
        return [value for value in values if math.isfinite(value)]

    @property
    def first_stamp_ns(self) -> int:
        """The earliest source stamp seen, 0 without frames."""
        stamps = [timing.stamp_ns for timings in self.timings.values() for timing in timings]
        return min(stamps, default=0)
