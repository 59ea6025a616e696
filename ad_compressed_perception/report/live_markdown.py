# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rolling windows of a live comparison and the limits in force, for report.md."""

from __future__ import annotations

from collections.abc import Iterator

from ad_compressed_perception.report.markdown_text import code, plain, table
from ad_compressed_perception.report.schema import Percentiles, Report, TaskReport

_NONE = "–"


def windows(report: Report) -> Iterator[str]:
    """Yield what each node did in the last seconds, beside its agreement with the baseline then."""
    rows = [row for task, one in report.tasks.items() for row in _rows(task, one)]
    if not rows:
        return
    yield "## The last seconds"
    yield table(
        (
            *("task", "variant", "window", "pairs", "agreement (95 % interval)", "least agreement"),
            *("results, Hz", "infer p99, ms", "end to end p99, ms", "deadline misses", "without result"),
        ),
        rows,
        right_from=3,
    )
    yield "Least agreement: the frame with the lowest score, and its source stamp in seconds."


def _rows(task: str, one: TaskReport) -> Iterator[tuple[str, ...]]:
    for name, variant in one.variants.items():
        compared = one.comparison[name].windows if name in one.comparison else {}
        for key, window in variant.windows.items():
            pairs = compared.get(key)
            score = _NONE if pairs is None else _number(pairs.score)
            if pairs is not None and pairs.score is not None:
                score += f" ({_number(pairs.score_low)} to {_number(pairs.score_high)})"
            worst = _NONE
            if pairs is not None and pairs.worst_score is not None:
                at = "" if pairs.worst_stamp_ns is None else f" at {pairs.worst_stamp_ns / 1e9:.3f}"
                worst = f"{_number(pairs.worst_score)}{at}"
            yield (
                *(plain(task), plain(name), plain(key), _NONE if pairs is None else str(pairs.pairs)),
                *(
                    score,
                    worst,
                    _number(window.rate_hz, 1),
                    _p99(window.infer_ms),
                    _p99(window.end_to_end_ms),
                ),
                *(_share(window.deadline_miss_share), _share(window.drop_share)),
            )


def limits(report: Report) -> Iterator[str]:
    """Yield the limits that raise alarms, each with where it comes from."""
    rows = []
    for task, one in report.tasks.items():
        for name, found in one.limits.items():
            for key, value in found:
                if isinstance(value, float):
                    source = found.sources.get(key, _NONE)
                    rows.append((plain(task), plain(name), code(key), f"{value:g}", plain(source)))
    if rows:
        yield "## Limits"
        yield table(("task", "variant", "limit", "value", "from"), rows)


def _p99(series: Percentiles) -> str:
    return _number(series.p99, 2)


def _number(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"
