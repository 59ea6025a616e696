# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results as tables, ratios first, and as a document with every sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.host import Host
from benchmark.hot_path.block import WARM_UP
from benchmark.hot_path.measure import REFERENCES, TARGETS, CellResult, Measured, Pace
from benchmark.hot_path.results_document import HotPath, HotPathCell, PathRatio, Sample, Target

Rows = list[tuple[str, ...]]
_COMPARED = ("node", "composed", "tutorial")
_RATIO_HEAD = (
    "cell", "target", "/ (floor + hop) p50", "rounds", "p99", "/ (floor + hop_bytes) p50", "p99",
    "/ floor p50", "p99", "/ floor_loop p50", "cores", "offered", "lost or problem",
)  # fmt: skip
_RATIO_NOTE = (
    "A ratio below 1 is faster than the reference, on the same frames. floor: decode, prepare, infer and "
    "decode in the driver's process at the same rate; floor_loop: the same without pauses; "
    "floor_apart: a process a task, at the same time; hop: a node that "
    "answers the image with a prebuilt result; hop_bytes: the same with serialized messages. Latencies of "
    "several references are summed frame by frame. Lost frames count as infinitely late. rounds: lowest and "
    "highest p50 ratio of a round."
)


def render(results: Sequence[CellResult], pace: Pace, load: str, host: str) -> str:
    """Return the tables as Markdown.

    Args:
        results: one for each cell.
        pace: how it was measured.
        load: what other programs did meanwhile, or "".
        host: processor and date.
    """
    ratios: Rows = []
    values: Rows = []
    for result in results:
        present = [name for name in TARGETS if name in result.targets]
        ratios += [_ratio_row(result, name) for name in present if name in _COMPARED]
        values += [_value_row(result, name) for name in present]
    variants = {f"{task} {name}" for result in results for task, name in result.variants.items()}
    sections = [
        _table(_RATIO_HEAD, ratios),
        _RATIO_NOTE,
        _table(("cell", "target", "p50, ms", "p95", "p99", "cores", "RSS, MB", "PSS, MB", "frames"), values),
        "End to end: publish call to result received (of the last task), by one driver process. "
        f"{pace.rounds} rounds of {pace.block_s:g} s a target, in drawn order; the first {WARM_UP} frames of "
        f"each turn do not count. Variants: {'; '.join(sorted(variants))}.",
        load,
        host,
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _ratio_row(result: CellResult, name: str) -> tuple[str, ...]:
    one = result.targets[name]
    both, plain, floor, loop = (result.ratio(name, reference) for reference in REFERENCES)
    return (
        result.cell.title,
        name,
        _number(both.p50),
        f"{_number(both.p50_low)} to {_number(both.p50_high)}",
        _number(both.p99),
        _number(plain.p50),
        _number(plain.p99),
        _number(floor.p50),
        _number(floor.p99),
        _number(loop.p50),
        _number(one.mean_cores),
        str(one.figures.offered),
        "" if one.status == "ok" else one.status,
    )


def _value_row(result: CellResult, name: str) -> tuple[str, ...]:
    one, shown = result.targets[name], result.targets[name].figures
    return (
        result.cell.title,
        name,
        *(_number(value) for value in (shown.p50, shown.p95, shown.p99)),
        _number(one.mean_cores),
        _number(one.rss_mb, 0),
        _number(one.pss_mb, 0),
        f"{shown.answered} of {shown.offered}" if not one.problem else one.problem,
    )


def _number(value: float, digits: int = 2) -> str:
    if math.isnan(value):
        return "-"
    return "lost" if math.isinf(value) else f"{value:.{digits}f}"


def _table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, ("---",) * len(head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        f"| {' | '.join(text.ljust(width) for text, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def document(results: Sequence[CellResult], pace: Pace, load: str, host: Host, created: str = "") -> HotPath:
    """Return everything measured; what is lost or unknown is null."""
    cells = [
        copied(
            HotPathCell,
            result.cell,
            variants=result.variants,
            ratios={
                name: {reference: _ratio(result, name, reference) for reference in REFERENCES}
                for name in _COMPARED
                if name in result.targets
            },
            targets={name: _target(one) for name, one in result.targets.items()},
        )
        for result in results
    ]
    return copied(HotPath, pace, created=created, host=host, load=load, warm_up_frames=WARM_UP, cells=cells)


def _ratio(result: CellResult, name: str, reference: str) -> PathRatio:
    found = result.ratio(name, reference)
    return PathRatio(**{key: _rounded(getattr(found, key)) for key in PathRatio.model_fields})


def _target(one: Measured) -> Target:
    shown = one.figures
    samples = [
        Sample(
            round=key[0],
            frame=key[1],
            ms=_rounded(value),
            stages_ms={stage: round(ms, 4) for stage, ms in one.stages[key].items()}
            if key in one.stages
            else None,
        )
        for key, value in one.latency_ms.items()
    ]
    return copied(
        Target,
        one,
        shown,
        **{f"{name}_ms": _rounded(getattr(shown, name)) for name in ("p50", "p95", "p99")},
        cores=[_rounded(each) for each in one.cores],
        rss_mb=_rounded(one.rss_mb),
        pss_mb=_rounded(one.pss_mb),
        samples=samples,
    )


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
