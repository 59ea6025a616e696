# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drives with injected faults: the standby plans, and a drive without any fault does not pass as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.progress import no_progress
from ad_road_simulation.closed_loop.drive import DriveOptions, run_drive
from ad_road_simulation.closed_loop.drive_markdown import render_drive
from ad_road_simulation.closed_loop.faulted import FaultedVariant, parse_label, variant_of
from ad_road_simulation.closed_loop.latency import EXPERT
from ad_road_simulation.closed_loop.planner_cache import PlannerCache, check_variants
from ad_road_simulation.closed_loop.run import Route, drive_route
from ad_road_simulation.faults.kinds import FaultRequest
from support.drive import plan_vector, write_constant_planner

ROUTE = Route(3, 200.0, traffic=0.0)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Return a planner whose baseline and variant plan a straight path."""
    straight = plan_vector(0.0)
    plans = {"fp32": straight, "int8": straight}
    return load_manifest(write_constant_planner(tmp_path_factory.mktemp("model") / "planner", plans))


@pytest.mark.parametrize("kind", ["nan", "hang"])
def test_every_fault_is_answered_by_the_standby_and_none_is_lost(kind: str, manifest: Manifest) -> None:
    cache = PlannerCache(manifest)
    label = FaultedVariant("int8", FaultRequest(kind, 0.3)).label
    result = drive_route(cache.planner(label, ROUTE.seed, 0.01), label, ROUTE)
    again = drive_route(cache.planner(label, ROUTE.seed, 0.01), label, ROUTE)
    plain = drive_route(cache.planner("fp32"), "fp32", ROUTE)
    cache.close()

    # After a fault the standby plans for some seconds, so that a short drive has few.
    assert result.images["standby"] >= result.images["faults"] > 1
    assert result.images["failed"] == result.images["hold"] == 0 and result.images["planned"] > 50
    assert again.images == result.images, "equal seeds inject equally"
    # Baseline and variant plan alike here: only the delay of the standby may differ.
    assert result.ending == plain.ending
    assert result.figures["lateral_max_m"] == pytest.approx(plain.figures["lateral_max_m"], abs=0.3)


def test_without_the_standby_the_same_faults_would_cost_plans(manifest: Manifest) -> None:
    """What the guard is worth: both models fail, so that plans are held and then missing."""
    cache = PlannerCache(manifest)
    label = FaultedVariant("int8", FaultRequest("nan", 1.0)).label
    planner = cache.planner(label, ROUTE.seed, 0.01)
    planner._model._models.standby.close()  # type: ignore[attr-defined]
    result = drive_route(planner, label, ROUTE)
    assert result.images["failed"] > result.images["standby"] == 0


def test_a_report_without_an_injected_fault_is_an_alarm(manifest: Manifest, tmp_path: Path) -> None:
    rare = FaultedVariant("int8", FaultRequest("nan", 1e-9)).label
    often = FaultedVariant("int8", FaultRequest("nan", 0.5)).label
    options = DriveOptions(
        ("fp32", rare, often), tmp_path, routes=1, length_m=200.0, traffic=0.0, latency="20"
    )
    report = run_drive(manifest, options, no_progress)
    findings = {finding.text: finding.level for finding in render_drive(report.document).findings}
    (none,) = [text for text in findings if "no fault was injected" in text]
    (some,) = [text for text in findings if "faults were injected; the standby made" in text]
    assert none.startswith(rare) and findings[none] == "alarm"
    assert some.startswith(often) and findings[some] == "note"
    assert report.document.variants[often].latency_ms.p50 == 20.0
    assert "faults injected, plans of the standby, held" in report.markdown
    assert (tmp_path / "journal.jsonl").is_file()


def test_labels_of_faults_are_checked_before_anything_is_driven(manifest: Manifest) -> None:
    label = FaultedVariant("int8", FaultRequest("nan", 0.1)).label
    assert label == "int8+nan:0.1" and variant_of(label) == "int8"
    assert parse_label(label) == FaultedVariant("int8", FaultRequest("nan", 0.1))
    assert parse_label(EXPERT) is None
    check_variants(manifest, ["fp32", label, EXPERT])
    for wrong, words in (
        ("int8+fire:1", "unknown fault"),
        ("int8+memory:1", "does not change a simulated drive"),
        ("other+nan:1", "no variant 'other'"),
    ):
        with pytest.raises(AdcpError, match=words):
            check_variants(manifest, [wrong])
    with pytest.raises(AdcpError, match="is the baseline, which is the standby"):
        PlannerCache(manifest).planner("fp32+nan:0.1")
