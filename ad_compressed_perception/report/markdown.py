# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.md: the same figures as report.json for people, ratios first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from ad_compressed_perception.core.timing import STAGES
from ad_compressed_perception.report.live_markdown import limits, windows
from ad_compressed_perception.report.markdown_text import code, image, plain, table
from ad_compressed_perception.report.schema import (
    AgreementFigures,
    ClassAgreement,
    ClassificationFigures,
    ComparisonReport,
    DetectionFigures,
    PlanningFigures,
    Report,
    SegmentationFigures,
    Source,
    TaskReport,
    VariantReport,
)

_NONE = "–"


def render_markdown(report: Report) -> str:
    """Return the report as GitHub-flavored Markdown; images are linked by ``report.files``."""
    sections = (
        _head(report),
        _problems(report),
        windows(report),
        _ratios(report),
        _latency(report),
        _stages(report),
        _agreement(report),
        _accuracy(report),
        _frame_counters(report),
        limits(report),
        _images(report),
        _recording(report),
        _bullets("Missing", report.missing),
        _bullets("Notes", report.notes),
        _host(report),
    )
    blocks = [block for section in sections for block in section]
    return "\n\n".join(blocks) + "\n"


def speedup_text(value: float | None) -> str:
    """Return a speed-up as ``1.23x``; a dash where it was not measured."""
    return _NONE if value is None else f"{value:.2f}x"


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
    return _NONE


def compares_nothing(found: AgreementFigures | None) -> bool:
    """Whether two sides agree because there was nothing on either: no object, or one label everywhere."""
    if isinstance(found, DetectionFigures):
        return not found.matched + found.missed + found.extra
    if isinstance(found, SegmentationFigures):
        return len(found.per_class_iou) == 1 and found.differing_pixels_share == 0.0
    if isinstance(found, ClassificationFigures):
        return len(found.per_class) == 1 and found.top1 == 1.0
    return found is None


def uncounted_frames(variant: VariantReport) -> int:
    """Return how many received frames no counter accounts for; 0 when all are accounted for."""
    counted = variant.processed + variant.dropped_stale + variant.dropped_busy + variant.failed
    return variant.received - counted - variant.pending - variant.lost_at_restart


def frame_counts_text(variant: VariantReport) -> str:
    """Return a variant's frame counters as a sum, and whether they account for every frame."""
    parts = {
        "processed": variant.processed,
        "stale": variant.dropped_stale,
        "busy": variant.dropped_busy,
        "failed": variant.failed,
        "pending": variant.pending,
        "lost at restart": variant.lost_at_restart,
    }
    always = ("processed", "stale", "busy", "failed")
    terms = " + ".join(f"{count} {name}" for name, count in parts.items() if count or name in always)
    end = (
        "all accounted for"
        if uncounted_frames(variant) == 0
        else f"**{uncounted_frames(variant)} unexplained**"
    )
    return f"{variant.received} received = {terms}: {end}"


def _head(report: Report) -> Iterator[str]:
    source = report.source
    name = PurePath(source.bag).name if source.bag else "live"
    yield f"# Baseline and compressed on {plain(name)}"
    length = "" if source.duration_s is None else f" over {source.duration_s:.1f} s"
    topic = f" of {code(source.topic)}" if source.topic else ""
    yield f"{source.frames} frames{topic}{length}. {plain(report.measurement)}".strip()
    if report.age_reference:
        yield f"Transport age is measured from {plain(report.age_reference)}."
    if source.not_offered:
        yield (
            f"{source.not_offered} frames of the bag came due while others were processed and were "
            "not offered to any variant."
        )


def _problems(report: Report) -> Iterator[str]:
    if report.problems:
        yield "## Problems"
        yield "**The figures below cannot be relied on.**"
        yield "\n".join(f"- {plain(line)}" for line in [*report.problems, *reason_lines(report)])


def reason_lines(report: Report) -> list[str]:
    """Return each reason why frames were not read or not processed once, with its count and where."""
    places: dict[str, dict[str, int]] = {}
    for reason, count in report.source.unreadable.items():
        places.setdefault(reason, {})["recording"] = count
    for task, name, variant in _variants(report):
        for reason, count in variant.reasons.items():
            places.setdefault(reason, {})[f"{task}/{name}"] = count
    lines = []
    for reason, counts in places.items():
        where = ", ".join(f"{name} {count}" for name, count in counts.items())
        lines.append(f"{sum(counts.values())} x {reason} ({where})")
    return lines


def source_counts_text(source: Source) -> str:
    """Return the frames of a replay from the recording's index to the nodes as a sentence."""
    claimed = "" if source.claimed in (None, source.index) else f" ({source.claimed} by metadata.yaml)"
    unreadable = sum(source.unreadable.values())
    left_out = f", {source.left_out} left out" if source.left_out else ""
    return (
        f"{source.index} messages in the index{claimed}: {source.read} read{left_out}; of these "
        f"{source.frames} sent, {source.not_offered} not offered, {unreadable} unreadable"
    )


def _ratios(report: Report) -> Iterator[str]:
    rows = []
    for task, one in report.tasks.items():
        for name, comparison in one.comparison.items():
            rows.append(
                (
                    plain(task),
                    plain(name),
                    speedup_text(comparison.speedup_infer_p50),
                    speedup_text(comparison.speedup_infer_paired_p50),
                    speedup_text(comparison.speedup_end_to_end_p50),
                    plain(agreement_text(comparison)),
                    _verdict_text(one.variants.get(name)),
                )
            )
    yield "## Compressed against baseline"
    if rows:
        yield table(
            (
                "task",
                "variant",
                "inference speed-up (p50 / p50)",
                "same-frame speed-up (median)",
                "end-to-end speed-up (p50 / p50)",
                "agreement with the baseline",
                "verdict of its gate",
            ),
            rows,
        )
        yield (
            "A speed-up is baseline / compressed: above 1 the compressed variant is faster. Agreement "
            "takes the baseline as the reference; it does not say which of the two is right."
        )
    else:
        yield "No compressed variant took part: there is nothing to compare."
    for task, one in report.tasks.items():
        for name, variant in one.variants.items():
            if variant.verdict is not None and variant.verdict.status == "rejected":
                why = plain("; ".join(variant.verdict.reasons)) or "no reason recorded"
                yield (
                    f"> **{plain(f'{task}/{name}')} was rejected by its accept gate** ({why}). It ran here "
                    "only because that was allowed explicitly; do not drive with it."
                )


def _latency(report: Report) -> Iterator[str]:
    rows = []
    for task, name, variant in _variants(report):
        infer, total = variant.stages_ms.get("infer"), variant.end_to_end_ms
        rows.append(
            (
                plain(task),
                plain(name),
                plain(f"{variant.model or _NONE}/{variant.variant or _NONE}"),
                plain(f"{variant.backend or _NONE} {_provider(variant)}"),
                plain(variant.precision or _NONE),
                _ms(infer.p50 if infer else None),
                _ms(infer.p99 if infer else None),
                _ms(total.p50),
                _ms(total.p95),
                _ms(total.p99),
                _ms(total.max),
                _share(variant.not_inference_share),
                _misses(variant),
            )
        )
    yield "## Latency, milliseconds"
    yield table(
        (
            "task",
            "variant",
            "model",
            "runtime",
            "precision",
            "infer p50",
            "infer p99",
            "end to end p50",
            "p95",
            "p99",
            "max",
            "not inference",
            "deadline misses",
        ),
        rows,
        right_from=5,
    )
    if "latency.png" in report.files:
        yield "![Latency distributions](latency.png)"


def _stages(report: Report) -> Iterator[str]:
    rows = [
        (plain(task), plain(name), *(_ms(_p50(variant, stage)) for stage in STAGES))
        for task, name, variant in _variants(report)
    ]
    yield "## Stages, median milliseconds"
    yield table(("task", "variant", *STAGES), rows, right_from=2)
    if "stages.png" in report.files:
        yield "![Time per stage](stages.png)"


def _agreement(report: Report) -> Iterator[str]:
    if not any(one.comparison for one in report.tasks.values()):
        return
    yield "## Agreement"
    rows = [
        (
            plain(task),
            plain(name),
            str(each.pairs),
            str(each.unpaired),
            str(each.late),
            str(each.incomparable),
            _frame_scores(each),
        )
        for task, one in report.tasks.items()
        for name, each in one.comparison.items()
    ]
    yield table(("task", "variant", "pairs", "unpaired", "late", "incomparable", "single frames"), rows)
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
        yield table(
            ("class", "in both", "only baseline", f"only {plain(name)}", "precision", "recall", "F1"),
            [
                (
                    label,
                    str(counts.matched),
                    str(counts.missed),
                    str(counts.extra),
                    f"{counts.precision:.3f}",
                    f"{counts.recall:.3f}",
                    f"{counts.f1:.3f}",
                )
                for label, counts in [("**all**", found), *((plain(label), one) for label, one in by_size)]
            ],
            right_from=1,
        )
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


def _accuracy(report: Report) -> Iterator[str]:
    rows = [
        (plain(task), plain(name), str(each.pairs), plain(figures_text(each.figures)), str(each.incomparable))
        for task, one in report.tasks.items()
        for name, each in one.accuracy.items()
    ]
    if rows:
        yield "## Against the ground truth"
        yield table(("task", "variant", "frames", "figures", "incomparable"), rows)


def _frame_counters(report: Report) -> Iterator[str]:
    is_replay = report.source.index is not None
    rows = [
        (
            plain(task),
            plain(name),
            str(variant.sent) if is_replay else _NONE,
            frame_counts_text(variant),
            str(variant.frame_timeouts),
            str(variant.reports_lost),
            str(variant.foreign) if is_replay else _NONE,
        )
        for task, name, variant in _variants(report)
    ]
    yield "## Frame counters"
    if is_replay:
        yield f"{source_counts_text(report.source)}."
    yield table(
        ("task", "variant", "sent", "frames", "frame timeouts", "timings lost", "of other publishers"), rows
    )
    if not report.problems:
        reasons = reason_lines(report)
        if reasons:
            yield "\n".join(f"- {plain(line)}" for line in reasons)


def _images(report: Report) -> Iterator[str]:
    overlays = [name for name in report.files if name.startswith("overlay_")]
    if not overlays:
        return
    yield "## Frames side by side"
    for name in overlays:
        yield image(PurePath(name).stem.replace("_", " "), name)


def _recording(report: Report) -> Iterator[str]:
    for name in report.files:
        if name.endswith(".mcap"):
            yield "## Recording of the results"
            yield (
                f"{code(name)} has the images, and of each task and variant every result, what can be drawn "
                "of it over the image, timings and agreement. Foxglove and rerun open it; "
                f"`ros2 bag play {plain(PurePath(name).parent.name)}` plays it."
            )


def _bullets(title: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield f"## {title}"
        yield "\n".join(f"- {plain(sentence)}" for sentence in sentences)


def _host(report: Report) -> Iterator[str]:
    host = report.host
    yield "## Measured on"
    versions = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    features = f" ({', '.join(host.cpu_features)})" if host.cpu_features else ""
    yield "\n".join(
        f"- {plain(line)}"
        for line in (
            f"{host.cpu}{features}, {host.logical_cores} logical cores",
            f"{host.system}, Python {host.python}, {versions}",
            f"written {report.created}, format {report.schema_}",
        )
    )


def _variants(report: Report) -> Iterator[tuple[str, str, VariantReport]]:
    for task, one in report.tasks.items():
        for name in _baseline_first(one):
            yield task, name, one.variants[name]


def _baseline_first(one: TaskReport) -> list[str]:
    return sorted(one.variants, key=lambda name: name != one.baseline)


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}"


def _p50(variant: VariantReport, stage: str) -> float | None:
    found = variant.stages_ms.get(stage)
    return found.p50 if found else None


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"


def _provider(variant: VariantReport) -> str:
    actual, requested = variant.provider or "", variant.requested_provider or ""
    return f"{actual} (asked for {requested})" if requested and requested != actual else actual


def _misses(variant: VariantReport) -> str:
    if variant.deadline_ms is None:
        return "no deadline set"
    rate = "" if variant.deadline_miss_rate is None else f" ({variant.deadline_miss_rate:.1%})"
    return (
        f"{variant.deadline_misses}{rate} of {variant.deadline_ms:g} ms, "
        f"longest run {variant.longest_miss_run}"
    )


def _verdict_text(variant: VariantReport | None) -> str:
    if variant is None or variant.verdict is None:
        return "none"
    status = variant.verdict.status
    return f"**{status}**" if status != "accepted" else status


def _frame_scores(comparison: ComparisonReport) -> str:
    score = comparison.frame_score
    if score is None or score.p50 is None:
        return _NONE
    low = _NONE if score.p05 is None else f"{score.p05:.3f}"
    least = _NONE if score.min is None else f"{score.min:.3f}"
    return f"median {score.p50:.3f}, 5 % of frames below {low}, lowest {least}"


def _objects(counts: ClassAgreement) -> int:
    return counts.matched + counts.missed + counts.extra
