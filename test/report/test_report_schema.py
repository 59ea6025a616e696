# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.json: what it must carry, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.report.host import describe_host
from ad_compressed_perception.report.schemas.agreement import PlanningFigures
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.pairs import ComparisonReport
from ad_compressed_perception.report.schemas.variant import VariantReport


def small_report() -> Report:
    figures = PlanningFigures(
        ade_m=0.1, fde_m=0.2, max_fde_m=0.3, mean_lateral_offset_m=0.1, max_lateral_offset_m=0.2
    )
    return Report(
        tasks={
            "planning": TaskReport(
                baseline="fp32",
                variants={"fp32": VariantReport(stages_ms={"infer": Percentiles(p50=1.0, count=1)})},
                comparison={"int8": ComparisonReport(pairs=1, agreement=figures)},
            )
        }
    )


def test_the_documented_keys_are_there() -> None:
    data = json.loads(small_report().to_json())
    assert data["schema"] == "adcp-report/1"
    assert {"bag", "topic", "frames", "duration_s"} <= data["source"].keys()
    assert data["host"].keys()
    variant = data["tasks"]["planning"]["variants"]["fp32"]
    assert {
        "backend", "provider", "precision", "received", "processed", "dropped_stale",
        "dropped_busy", "failed", "deadline_misses", "stages_ms", "end_to_end_ms",
    } <= variant.keys()  # fmt: skip
    series = {"p50", "p95", "p99", "max", "count"}
    assert variant["stages_ms"]["infer"].keys() == variant["end_to_end_ms"].keys() == series
    comparison = data["tasks"]["planning"]["comparison"]["int8"]
    assert {"pairs", "unpaired", "late", "speedup_infer_p50", "agreement"} <= comparison.keys()


def test_not_measured_is_null() -> None:
    # NaN and infinities are not JSON: strict readers would refuse the whole report.
    found = Percentiles(p50=math.nan, p95=math.inf, count=0)
    assert (found.p50, found.p95) == (None, None)


def test_a_written_report_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "report.json"
    small_report().write(path)
    assert Report.read(path) == small_report()
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]  # nothing half-written


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ('{"schema": "adcp-report/2"}', "schema"),
        ('{"schema": "adcp-report/1", "color": 1}', "unknown key 'color'"),
        ('{"tasks": {"a": {"variants": {"b": {"received": -1}}}}}', "tasks.a.variants.b.received"),
    ],
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as raised:
        Report.read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write report"):
        small_report().write(tmp_path / "file" / "report.json")


def test_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read report"):
        Report.read(tmp_path / "none.json")


def test_the_host_is_described_without_its_name() -> None:
    host = describe_host()
    assert host.logical_cores >= 1
    assert host.packages["ad_compressed_perception"]
    assert host.memory_gib is not None
