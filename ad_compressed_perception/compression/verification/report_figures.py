# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of a verification as a report has them: latency, agreement, accuracy."""

from __future__ import annotations

from ad_compressed_perception.compression.verification.labeled_check import AccuracyComparison, LabeledCheck
from ad_compressed_perception.compression.verification.output_figures import OutputFigures
from ad_compressed_perception.compression.verification.verify import LatencyFigures, Verification
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas import compression as schema


def latency_section(found: LatencyFigures, frames: int) -> schema.Latency:
    """Return the times of both models on so many frames."""
    infer = copied(
        schema.Timing,
        found,
        speedup_p50=Interval(found.speedup_p50, found.speedup_p50_low, found.speedup_p50_high),
        speedup_p99=Interval(found.speedup_p99, found.speedup_p99_low, found.speedup_p99_high),
    )
    end_to_end = schema.Timing(
        baseline_p50_ms=found.baseline_end_to_end_p50_ms,
        variant_p50_ms=found.variant_end_to_end_p50_ms,
        speedup_p50=Interval(
            found.speedup_end_to_end_p50, found.speedup_end_to_end_p50_low, found.speedup_end_to_end_p50_high
        ),
    )
    return schema.Latency(frames=frames, infer=infer, end_to_end=end_to_end)


def agreement_section(found: Verification, difference_unit: str) -> schema.Agreement:
    """Return the agreement over all frames, in slices and in parts."""
    overall = found.agreement
    slices = [
        copied(
            schema.AgreementSlice,
            rule,
            frames=part.frames,
            score=part.score,
            drop=Interval(part.drop, part.drop_low, part.drop_high),
        )
        for rule, part in found.slices.items()
    ]
    parts = {
        key: [
            copied(schema.PartAgreement, one, drop=Interval(one.drop, one.low, one.high))
            for one in getattr(overall, key)
        ]
        for key in ("labels", "sizes", "distances")
    }
    return copied(
        schema.Agreement,
        overall,
        drop=Interval(overall.drop, overall.drop_low, overall.drop_high),
        difference_unit=difference_unit,
        slices=slices,
        worst_slice=_worst({one.name: one.drop for one in slices}),
        outputs=[_output(one) for one in overall.outputs],
        **parts,
    )


def _output(one: OutputFigures) -> schema.OutputAgreement:
    return copied(
        schema.OutputAgreement,
        one,
        worst_part=one.worst,
        drop=Interval(one.drop, one.low, one.high),
        sqnr_of_worst_db=Interval(*one.sqnr_of_worst_db),
    )


def accuracy_section(check: LabeledCheck) -> schema.Accuracy:
    """Return the accuracy of both on labeled data, over all frames and in slices."""
    metric = check.labeled.metric
    slices = [
        copied(schema.AccuracySlice, rule, frames=part.frames, figures=_figures(part))
        for rule, part in check.slices.items()
    ]
    return copied(
        schema.Accuracy,
        check,
        data=check.labeled.data.describe,
        frames=check.overall.frames,
        metric=metric,
        figures=_figures(check.overall),
        slices=slices,
        worst_slice=_worst({one.name: one.figures[metric].drop for one in slices}),
    )


def _figures(part: AccuracyComparison) -> dict[str, schema.LabeledFigure]:
    return {
        name: schema.LabeledFigure(
            baseline=part.baseline[name],
            variant=part.variant[name],
            drop=Interval(drop.value, drop.low, drop.high),
            unit=drop.unit,
        )
        for name, drop in part.drop.items()
    }


def _worst(drops: dict[str, Interval]) -> str | None:
    known = {name: drop.value for name, drop in drops.items() if drop.is_known}
    return max(known, key=lambda name: known[name]) if known else None
