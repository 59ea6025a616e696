# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a cell of ``adcp parity`` agrees with the reference on the same frames, and whether that is enough.

The measure follows the task: F1 of matched boxes, share of equal pixels, largest difference of the
steering-wheel angle, share of frames with the same strongest label. Where the reference finds nothing that
could agree, as on noise, the raw outputs decide, and only for the baseline's own file: of a lossy variant
nothing is known then. What the measure does not see, ``parity_values.py`` compares. Heads of a model that has
several are judged one by one; the worst one decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.parity_values import LEAST_MATCHED_IOU, other_values
from ad_compressed_perception.core.results import (
    Classification,
    Detections,
    HeadResults,
    LabelMask,
    RawOutputs,
    Result,
    Trajectory,
)
from ad_compressed_perception.metrics.agreement import (
    DetectionAgreement,
    SegmentationAgreement,
    detection_agreement,
    segmentation_agreement,
)
from ad_compressed_perception.metrics.share_interval import clopper_pearson
from ad_compressed_perception.report.schemas.parity import CellAgreement, CellStatus

Outputs = Mapping[str, NDArray[Any]]

F1: Final = "f1"
LEAST: Final = {F1: 0.99, "equal pixels": 0.995, "equal labels": 0.995}
"""What the baseline's file must reach in any float precision."""
STEERING: Final = "steering, rad"
MOST_STEERING_RAD: Final = 1e-3
LOSSY_STEERING_RAD_PER_DROP: Final = 1.0
"""A lossy variant may steer otherwise by so many radians at a loss of agreement of 1."""
OUTPUTS: Final = "outputs"
MOST_OUTPUT_ERROR: Final = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}
"""Largest difference as a share of the output's range: 24, 11 and 8 bits of mantissa, summed over layers."""
_FEWEST_OBJECTS = 5
"""Of which a detector's agreement is decided."""
_FEWEST_LOST = 5
"""Frames or objects of a label that the reference has and the cell never: fewer may lie at the threshold."""
_LEAST_PIXELS_SHARE = 1e-3
_WORST_LAST: Final[tuple[CellStatus, ...]] = ("ok", "undecided", "wrong")


class AgreementOfCell:
    """Collects the frames of one cell."""

    def __init__(self) -> None:
        """Begin with no frame."""
        self._heads: dict[str, AgreementOfCell] = {}
        self._detections = DetectionAgreement()
        self._masks: SegmentationAgreement | None = None
        self._label_frames: dict[str, int] = {}
        self._kept_labels: set[str] = set()
        self._steering: list[tuple[float, float]] = []
        self._classes: list[tuple[str | None, str | None]] = []
        self._output_error: float | None = 0.0
        self._other_values: dict[bool, list[str]] = {False: [], True: []}
        self._is_raw = False
        self._frames = self._failed = 0
        self._failure = ""

    def add(self, reference: Result, found: Result, expected: Outputs, outputs: Outputs) -> None:
        """Compare one frame: decoded results, and the raw outputs where names and shapes are the same."""
        self._frames += 1
        self._add_outputs(expected, outputs)
        for is_lossy, differing in self._other_values.items():
            if what := other_values(reference, found, is_lossy=is_lossy):
                differing.append(what)
        self._is_raw = self._is_raw or isinstance(reference, RawOutputs)
        if isinstance(reference, HeadResults) and isinstance(found, HeadResults):
            for name, result in reference.items():
                self._heads.setdefault(name, AgreementOfCell()).add(result, found[name], expected, outputs)
        elif isinstance(reference, Detections) and isinstance(found, Detections):
            self._detections += detection_agreement(reference, found)
        elif isinstance(reference, LabelMask) and isinstance(found, LabelMask):
            self._add_masks(reference, found)
        elif isinstance(reference, Trajectory) and isinstance(found, Trajectory):
            self._steering.append((reference.steering_wheel_angle_rad, found.steering_wheel_angle_rad))
        elif isinstance(reference, Classification) and isinstance(found, Classification):
            self._classes.append((reference.label, found.label))

    def fail(self, why: str) -> None:
        """Count a frame on which the cell gave no valid result."""
        self._failed += 1
        self._failure = self._failure or why

    def judge(
        self, precision: str, is_lossy: bool, max_drop: float
    ) -> tuple[CellAgreement, CellStatus, list[str]]:
        """Return the figures, the status and the reasons of a status other than ok.

        Args:
            precision: the cell's.
            is_lossy: whether the file is another one than the baseline's, or its weights are integers.
            max_drop: largest loss of agreement of a lossy cell.
        """
        if self._heads:
            return self._judge_heads(precision, is_lossy, max_drop)
        measure, value, evidence = self._measured()
        limit = self._limit(measure, precision, is_lossy, max_drop)
        is_enough = evidence >= (_FEWEST_OBJECTS if measure == F1 else 1)
        if (
            not is_enough
            and not is_lossy
            and self._output_error is not None
            and precision in MOST_OUTPUT_ERROR
        ):
            measure, value, limit = OUTPUTS, self._output_error, MOST_OUTPUT_ERROR[precision]
            evidence, is_enough = self._frames, True
        figures = CellAgreement(
            measure=measure,
            value=value,
            limit=limit,
            evidence=evidence,
            failed_frames=self._failed,
            output_error=self._output_error,
        )
        reasons = self._without_result()
        if evidence and not _holds(measure, value, limit):
            comparison = "above" if measure in (STEERING, OUTPUTS) else "below"
            reasons.append(f"{measure} {value:.4g} is {comparison} {limit:.4g}")
        reasons += [f"label {name!r} is lost" for name in self._lost()]
        reasons += self._beside_the_measure(is_lossy, max_drop)
        if reasons:
            return figures, "wrong", reasons
        if not is_enough:
            why = f"only {evidence} objects" if evidence else "nothing"
            return figures, "undecided", [f"the reference finds {why} on these frames that could agree"]
        return figures, "ok", []

    def _judge_heads(
        self, precision: str, is_lossy: bool, max_drop: float
    ) -> tuple[CellAgreement, CellStatus, list[str]]:
        """Return the worst head's figures and status, and the reasons of all heads."""
        judged = {name: head.judge(precision, is_lossy, max_drop) for name, head in self._heads.items()}
        worst = max(judged, key=lambda name: _WORST_LAST.index(judged[name][1]))
        figures, status, _ = judged[worst]
        measure = f"{figures.measure} of {worst}"
        figures = figures.model_copy(update={"measure": measure, "failed_frames": self._failed})
        reasons = self._without_result()
        status = "wrong" if reasons else status
        reasons += [f"head {name!r}: {why}" for name, (_, _, found) in judged.items() for why in found]
        return figures, status, reasons

    def _beside_the_measure(self, is_lossy: bool, max_drop: float) -> list[str]:
        """Return why a cell is wrong whose measure is good."""
        reasons, differing = list[str](), self._other_values[is_lossy]
        # One of few frames may be chance for a lossy file: the lower end of the one-sided 95 % interval.
        share = clopper_pearson(len(differing), self._frames, 0.9)[0] if is_lossy and differing else 0.0
        if share > max_drop or (differing and not is_lossy):
            reasons.append(f"{len(differing)} of {self._frames} frames differ, the first in {differing[0]}")
        overlap = self._detections.mean_matched_iou
        if not is_lossy and not overlap >= LEAST_MATCHED_IOU:
            reasons.append(f"mean overlap of matched boxes {overlap:.4g} is below {LEAST_MATCHED_IOU:g}")
        if self._is_raw and self._output_error is None:
            reasons.append("its outputs have other names or shapes")
        return reasons

    def _without_result(self) -> list[str]:
        return [f"{self._failed} frames without a result: {self._failure}"] if self._failed else []

    def _add_outputs(self, expected: Outputs, outputs: Outputs) -> None:
        same = (
            bool(expected)
            and expected.keys() == outputs.keys()
            and all(expected[name].shape == outputs[name].shape for name in expected)
        )
        if not same or self._output_error is None:
            self._output_error = None
            return
        for name, values in expected.items():
            expected_values = values.astype(np.float64)
            error = float(np.abs(outputs[name].astype(np.float64) - expected_values).max(initial=0.0))
            extent = float(np.ptp(expected_values)) if expected_values.size else 0.0
            share = error / extent if extent else (math.inf if error else 0.0)
            # NaN compares as false with everything: it must not pass for no error.
            self._output_error = max(self._output_error, math.inf if math.isnan(share) else share)

    def _add_masks(self, reference: LabelMask, found: LabelMask) -> None:
        one = segmentation_agreement(reference, found)
        self._masks = one if self._masks is None else self._masks + one
        counts = one.confusion.sum(axis=1)
        for place in np.flatnonzero(counts >= max(1.0, _LEAST_PIXELS_SHARE * counts.sum())).tolist():
            name = one.labels[place]
            self._label_frames[name] = self._label_frames.get(name, 0) + 1
            if one.confusion[place, place]:
                self._kept_labels.add(name)

    def _measured(self) -> tuple[str, float, int]:
        """Return measure, value and what the reference found to agree on."""
        if self._detections.frames:
            counts = self._detections.overall
            return F1, counts.f1, counts.matched + counts.missed
        if self._masks is not None:
            # A mask of one label on every frame could be a constant.
            evidence = len(self._label_frames) if len(self._label_frames) > 1 else 0
            return "equal pixels", 1.0 - self._masks.differing_pixels_share, evidence
        if self._steering:
            apart = [abs(one - other) for one, other in self._steering]
            value = math.inf if any(map(math.isnan, apart)) else max(apart)
            different = {round(one, 4) for one, _ in self._steering if math.isfinite(one)}
            return STEERING, value, len(different) if len(different) > 1 else 0
        if self._classes:
            different_labels = {one for one, _ in self._classes if one is not None}
            evidence = len(different_labels) if len(different_labels) > 1 else 0
            return (
                "equal labels",
                sum(one == other for one, other in self._classes) / len(self._classes),
                evidence,
            )
        return OUTPUTS, math.nan if self._output_error is None else self._output_error, 0

    def _lost(self) -> list[str]:
        """Return labels that the reference has often and the cell never: a share hides a rare label."""
        objects = {
            name: counts.matched + counts.missed
            for name, counts in self._detections.per_class.items()
            if not counts.matched
        }
        masks = {name: count for name, count in self._label_frames.items() if name not in self._kept_labels}
        return sorted(name for name, count in {**objects, **masks}.items() if count >= _FEWEST_LOST)

    def _limit(self, measure: str, precision: str, is_lossy: bool, max_drop: float) -> float:
        if measure == OUTPUTS:
            return MOST_OUTPUT_ERROR.get(precision, 0.0)
        if measure == STEERING:
            return LOSSY_STEERING_RAD_PER_DROP * max_drop if is_lossy else MOST_STEERING_RAD
        return 1.0 - max_drop if is_lossy else LEAST[measure]


def _holds(measure: str, value: float, limit: float) -> bool:
    return value <= limit if measure in (STEERING, OUTPUTS) else value >= limit
