# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement with the baseline and with the ground truth, in words and in sections of report.md."""

from __future__ import annotations

from collections.abc import Iterator

from ad_compressed_perception.report.kit.figures import NONE, number
from ad_compressed_perception.report.kit.table import records, table
from ad_compressed_perception.report.kit.text import plain
from ad_compressed_perception.report.schemas.agreement import (
    AgreementFigures,
    ClassAgreement,
    ClassificationFigures,
    DetectionFigures,
    PlanningFigures,
    SegmentationFigures,
)
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.pairs import ComparisonReport


def agreement_text(comparison: ComparisonReport) -> str:
    """Return the agreement of a comparison in one short phrase."""
    return figures_text(comparison.agreement)


def figures_text(found: AgreementFigures | None) -> str:
    """Return figures of an agreement, or of a comparison with the ground truth, in one short phrase."""
    if isinstance(found, DetectionFigures):
        if compares_nothing(found):
            return "no objects on either side: nothing to compare"
        return f"F1 {found.f1:.3f} (precision {found.precision:.3f}, recall {found.recall:.3f})"
    if isinstance(found, SegmentationFigures):
        if compares_nothing(found):
            return f"only one label on either side ({next(iter(found.per_class_iou))}): nothing to compare"
        return f"mIoU {found.miou:.4f}, {found.differing_pixels_share:.2%} of pixels differ"
    if isinstance(found, PlanningFigures):
        return (
            f"ADE {found.ade_m:.3f} m, FDE {found.fde_m:.3f} m, "
            f"lateral offset at most {found.max_lateral_offset_m:.2f} m"
        )
    if isinstance(found, ClassificationFigures):
        if compares_nothing(found):
            return f"only one label on either side ({next(iter(found.per_class))}): nothing to compare"
        return f"same label on {found.top1:.2%} of frames, scores {found.mean_score_distance:.3f} apart"
    return NONE


def compares_nothing(found: AgreementFigures | None) -> bool:
    """Whether two sides agree because there was nothing on either: no object, or one label everywhere."""
    if isinstance(found, DetectionFigures):
        return not found.matched + found.missed + found.extra
    if isinstance(found, SegmentationFigures):
        return len(found.per_class_iou) == 1 and found.differing_pixels_share == 0.0
    if isinstance(found, ClassificationFigures):
        return len(found.per_class) == 1 and found.top1 == 1.0
    return found is None


def agreement_sections(report: Report) -> Iterator[str]:
    """Yield pairs, scores of single frames, and figures by class of each comparison."""
    if not any(one.comparison for one in report.tasks.values()):
        return
    yield "## Agreement"
    rows = [
        {
            "task": plain(task),
            "variant": plain(name),
            "pairs": str(each.pairs),
            "unpaired": str(each.unpaired),
            "late": str(each.late),
            "incomparable": str(each.incomparable),
            "single frames": _frame_scores(each),
        }
        for task, one in report.tasks.items()
        for name, each in one.comparison.items()
    ]
    yield records(rows)
    if "agreement.png" in report.files:
        yield "![Agreement over time](agreement.png)"
    for task, one in report.tasks.items():
        for name, each in one.comparison.items():
            yield from _classes(task, name, each)


def _classes(task: str, name: str, comparison: ComparisonReport) -> Iterator[str]:
    found = comparison.agreement
    if isinstance(found, DetectionFigures) and found.per_class:
        yield f"### {plain(f'{task}/{name}')}: objects by class (IoU {found.iou:g})"
        by_size = sorted(found.per_class.items(), key=lambda item: -_objects(item[1]))
        rows = [
            (
                *(label, str(counts.matched), str(counts.missed), str(counts.extra)),
                *(number(value) for value in (counts.precision, counts.recall, counts.f1)),
            )
            for label, counts in [("**all**", found), *((plain(label), one) for label, one in by_size)]
        ]
        head = ("class", "in both", "only baseline", f"only {plain(name)}", "precision", "recall", "F1")
        yield table(head, rows, right_from=1)
    elif isinstance(found, SegmentationFigures) and found.per_class_iou:
        yield f"### {plain(f'{task}/{name}')}: IoU by class"
        labels = list(found.per_class_iou)
        yield table(
            [plain(label) for label in labels],
            [tuple(f"{found.per_class_iou[label]:.4f}" for label in labels)],
            right_from=0,
        )
    elif isinstance(found, ClassificationFigures) and found.per_class:
        yield f"### {plain(f'{task}/{name}')}: frames by label"
        yield table(
            ("label", "in both", "only baseline", f"only {plain(name)}"),
            [
                (plain(label), str(counts.both), str(counts.only_baseline), str(counts.only_variant))
                for label, counts in found.per_class.items()
            ],
            right_from=1,
        )


def accuracy_section(report: Report) -> Iterator[str]:
    """Yield each variant against the ground truth, where that came."""
    rows = [
        (plain(task), plain(name), str(each.pairs), plain(figures_text(each.figures)), str(each.incomparable))
        for task, one in report.tasks.items()
        for name, each in one.accuracy.items()
    ]
    if rows:
        yield "## Against the ground truth"
        yield table(("task", "variant", "frames", "figures", "incomparable"), rows)


def _frame_scores(comparison: ComparisonReport) -> str:
    score = comparison.frame_score
    if score is None or score.p50 is None:
        return NONE
    return f"median {score.p50:.3f}, 5 % of frames below {number(score.p05)}, lowest {number(score.min)}"


def _objects(counts: ClassAgreement) -> int:
    return counts.matched + counts.missed + counts.extra
