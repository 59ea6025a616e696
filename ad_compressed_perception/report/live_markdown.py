# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rolling windows of a live comparison and the limits in force, for report.md."""

from __future__ import annotations

from collections.abc import Iterator

from ad_compressed_perception.report.kit.figures import NONE, milliseconds, number, share
from ad_compressed_perception.report.kit.table import records, table
from ad_compressed_perception.report.kit.text import code, plain
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport


def windows(report: Report) -> Iterator[str]:
    """Yield what each node did in the last seconds, beside its agreement with the baseline then."""
    rows = [row for task, one in report.tasks.items() for row in _rows(task, one)]
    if not rows:
        return
    yield "## The last seconds"
    yield records(rows, right_from=3)
    yield "Least agreement: the frame with the lowest score, and its source stamp in seconds."


def _rows(task: str, one: TaskReport) -> Iterator[dict[str, str]]:
    for name, variant in one.variants.items():
        compared = one.comparison[name].windows if name in one.comparison else {}
        for key, window in variant.windows.items():
            pairs = compared.get(key)
            score = worst = NONE
            if pairs is not None and pairs.score is not None:
                score = f"{number(pairs.score)} ({number(pairs.score_low)} to {number(pairs.score_high)})"
            if pairs is not None and pairs.worst_score is not None:
                at = "" if pairs.worst_stamp_ns is None else f" at {pairs.worst_stamp_ns / 1e9:.3f}"
                worst = f"{number(pairs.worst_score)}{at}"
            yield {
                "task": plain(task),
                "variant": plain(name),
                "window": plain(key),
                "pairs": NONE if pairs is None else str(pairs.pairs),
                "agreement (95 % interval)": score,
                "least agreement": worst,
                "results, Hz": number(window.rate_hz, 1),
                "infer p99, ms": milliseconds(window.infer_ms.p99),
                "end to end p99, ms": milliseconds(window.end_to_end_ms.p99),
                "deadline misses": share(window.deadline_miss_share),
                "without result": share(window.drop_share),
            }


def limits(report: Report) -> Iterator[str]:
    """Yield the limits that raise alarms, each with where it comes from."""
    rows = []
    for task, one in report.tasks.items():
        for name, found in one.limits.items():
            for key, value in found:
                if isinstance(value, float):
                    source = found.sources.get(key, NONE)
                    rows.append((plain(task), plain(name), code(key), f"{value:g}", plain(source)))
    if rows:
        yield "## Limits"
        yield table(("task", "variant", "limit", "value", "from"), rows)
