# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planners in closed loop: effects of latency and errors, verdicts, and resuming a run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.core.errors import DataError, ResultError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.progress import no_progress
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.path_tracker import Pose
from ad_compressed_perception.image.decode import Frame
from ad_road_simulation.closed_loop.drive import DriveOptions, _read_latencies, run_drive
from ad_road_simulation.closed_loop.drive_schema import MeasuredLatencies
from ad_road_simulation.closed_loop.journal import JOURNAL, RouteJournal
from ad_road_simulation.closed_loop.latency import draw_latency, measure_latency, parse_latency
from ad_road_simulation.closed_loop.paired import compare
from ad_road_simulation.closed_loop.planner_queue import CameraSample, PlannerQueue
from ad_road_simulation.closed_loop.planners import ExpertPlanner
from ad_road_simulation.closed_loop.route_metrics import Recorder, RouteResult
from ad_road_simulation.closed_loop.run import Route, drive_route
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from dev.check_html import faults
from support.drive import plan_vector, write_constant_planner

STANDING = Trajectory(np.zeros((2, 2)), np.zeros(2), 0.0, 0.0)
SHORT_M = 200.0


@pytest.fixture(scope="module")
def expert() -> ExpertPlanner:
    return ExpertPlanner(Renderer(Camera()))


def test_the_expert_drives_a_route_without_an_event(expert: ExpertPlanner) -> None:
    """The reference driver keeps its lane within centimeters."""
    driven = drive_route(expert, "expert", Route(100_001, SHORT_M))
    assert driven.ending == "finished"
    assert driven.events == []
    assert driven.figures["completion"] == 1.0
    assert driven.figures["lateral_rmse_m"] < 0.05
    assert driven.images["dropped"] == 0


def test_latency_increases_the_offset_and_drives_are_reproducible(expert: ExpertPlanner) -> None:
    """Plans are 1.5 s old and used for 1.5 s: up to 24 m of road without a new plan."""
    route = Route(100_000, 300.0, traffic=0.0)
    prompt = drive_route(expert, "expert", route)
    late = drive_route(expert, "expert", route, (1500.0,))
    assert late.figures["lateral_rmse_m"] > 1.5 * prompt.figures["lateral_rmse_m"]
    assert late.images["dropped"] > late.images["planned"]
    assert late.latency_ms == 1500.0
    assert drive_route(expert, "expert", route, (1500.0,)) == late


def run_queue(queue: PlannerQueue, until_s: float) -> list[tuple[float, float]]:
    """Return (time it became ready, time of its image) of every plan."""
    ready = []
    for step in range(round(until_s / 0.05) + 1):
        now = step * 0.05

        def take(now: float = now) -> CameraSample:
            return CameraSample(now, Pose(0.0, 0.0, 0.0), 0.0, None)

        planned = queue.step(now, take)
        if planned is not None:
            ready.append((round(now, 3), round(planned.sample.time_s, 3)))
    return ready


def test_a_slow_planner_processes_the_newest_image_next() -> None:
    """At 250 ms: the plan of image 0 is ready at 0.25 s; next is the image of 0.2 s, 0.1 is dropped, etc."""
    queue = PlannerQueue(lambda sample: STANDING, lambda: 0.25)
    assert run_queue(queue, 1.0) == [(0.25, 0.0), (0.5, 0.2), (0.75, 0.4), (1.0, 0.7)]
    counters = queue.counters
    # Of the eleven images of a second, that of 0.9 s is in progress and that of 1.0 s is waiting.
    assert (counters.taken, counters.planned, counters.dropped) == (11, 5, 5)


def test_a_fast_planner_drops_no_image_and_a_failed_plan_takes_its_time() -> None:
    answers = iter([True, False] * 10)

    def plan(sample: CameraSample) -> Trajectory:
        if not next(answers):
            raise ResultError("the model gave NaN")
        return STANDING

    queue = PlannerQueue(plan, lambda: 0.04)
    assert run_queue(queue, 0.5) == [(0.05, 0.0), (0.25, 0.2), (0.45, 0.4)]
    assert (queue.counters.dropped, queue.counters.failed) == (0, 3)


def test_latency_is_parsed_drawn_and_measured(tmp_path: Path) -> None:
    names = ["expert", "a", "b"]
    assert parse_latency("measured", names) is None
    assert parse_latency("none", names) == {"expert": (), "a": (), "b": ()}
    assert parse_latency("80", names) == {"expert": (), "a": (80.0,), "b": (80.0,)}
    assert parse_latency("a=5,b=7.5", names) == {"expert": (), "a": (5.0,), "b": (7.5,)}
    for wrong, named in (("a=5", "'b'"), ("a=5,b=6,c=7", "'c'"), ("soon", "soon"), ("-3", "-3")):
        with pytest.raises(DataError, match=named):
            parse_latency(wrong, names)
    # The same seed draws the same quantiles: twice the latency for every plan of a variant twice as slow.
    one, other = draw_latency((10.0, 30.0, 20.0), 7), draw_latency((20.0, 40.0, 60.0), 7)
    drawn = [(one(), other()) for _ in range(20)]
    assert all(second == pytest.approx(2.0 * first) for first, second in drawn)
    assert len({first for first, _ in drawn}) > 10
    manifest = load_manifest(write_constant_planner(tmp_path, {"fp32": plan_vector(0.0)}))
    image = Frame(np.zeros((36, 64, 3), np.uint8), "BGR")
    measured = measure_latency(manifest, ["expert", "fp32"], [image], rounds=4)
    assert measured["expert"] == ()
    assert len(measured["fp32"]) == 4
    assert min(measured["fp32"]) > 0.0


def test_metrics_of_an_analytic_drive() -> None:
    """10 m/s, a sine offset of 0.3 m, and a minute of standing that has no weight in the RMSE."""
    recorder = Recorder(50.0, 150.0)
    for step in range(201):
        time_s = step * 0.05
        along = 10.0 * time_s
        accel = math.sin(2.0 * time_s)
        recorder.step(time_s, 50.0 + along, 0.3 * math.sin(2 * math.pi * along / 10.0), 10.0, accel)
    for step in range(1200):
        recorder.step(10.05 + step * 0.05, 150.0, 0.0, 0.0, math.sin(20.0))
    recorder.gap(4.0)
    recorder.gap(9.0)
    recorder.event("departure", 3.0, 80.0, "0.31 m over the left border")
    result = recorder.result("fp32", 7, "stuck", {"taken": 1}, 12.0)
    figures = result.figures
    assert figures["lateral_rmse_m"] == pytest.approx(0.3 / math.sqrt(2), rel=0.02)
    assert figures["lateral_max_m"] == pytest.approx(0.3, rel=0.02)
    assert figures["least_gap_m"] == 4.0
    assert figures["completion"] == 1.0
    assert (figures["events"], figures["departures"], figures["collisions"], figures["stuck"]) == (1, 1, 0, 1)
    # The jerk of sin(2 t) is 2 cos(2 t), rms sqrt(2), over 10 of 70 seconds.
    assert figures["jerk_rms_mps3"] == pytest.approx(math.sqrt(2.0 * 10.0 / 70.0), rel=0.05)
    assert result.events[0]["s_m"] == 30.0
    assert RouteResult.from_dict(json.loads(json.dumps(result.as_dict()))) == result


def result_with(seed: int, departures: int, variant: str = "a", rmse: float = 0.1) -> RouteResult:
    recorder = Recorder(0.0, 10.0)
    recorder.step(0.0, 0.0, rmse, 5.0, 0.0)
    recorder.step(1.0, 10.0, rmse, 5.0, 0.0)
    for _ in range(departures):
        recorder.event("departure", 0.5, 5.0, "")
    return recorder.result(variant, seed, "finished", {}, 0.0)


def test_the_verdict_follows_from_the_interval() -> None:
    no_departures = {seed: result_with(seed, 0) for seed in range(20)}
    # Departures on every route: every resample contains some.
    many_departures = {seed: result_with(seed, 1 + seed % 2, "b") for seed in range(20)}
    assert compare("b", "a", many_departures, no_departures).verdict == "worse"
    assert compare("a", "b", no_departures, many_departures).verdict == "not worse"
    # The same departures on the same routes: no difference.
    assert compare("b", "a", many_departures, many_departures).verdict == "not worse"
    # Two more departures on twenty routes: some resamples contain none of them, so it is undecided.
    few_departures = {seed: result_with(seed, int(seed in (3, 11)), "b") for seed in range(20)}
    assert compare("b", "a", few_departures, no_departures).verdict == "undecided"
    larger_offset = {seed: result_with(seed, 0, "b", rmse=0.3) for seed in range(20)}
    comparison = compare("b", "a", larger_offset, no_departures)
    assert comparison.verdict == "not worse"
    assert "lateral RMSE worse by +0.2" in comparison.line


def test_only_routes_that_both_drove_are_compared() -> None:
    one = {seed: result_with(seed, 0) for seed in range(4)}
    other = {seed: result_with(seed, 3) for seed in range(3, 6)}
    comparison = compare("b", "a", other, one)
    assert comparison.routes == 1
    assert comparison.differences["departures"].value == 3.0
    # One route cannot say how much another one differs, for better or worse.
    assert math.isnan(comparison.differences["departures"].low)
    assert comparison.verdict == "undecided" and "one route has no interval" in comparison.line
    assert "nan" not in comparison.line
    assert compare("b", "a", {}, one).verdict == "undecided"


def test_a_bad_planner_leaves_its_lane_and_gets_the_verdict_worse(tmp_path: Path) -> None:
    """A planner that always steers to the left, compared with the reference driver."""
    manifest = load_manifest(write_constant_planner(tmp_path / "model", {"fp32": plan_vector(1 / 60)}))
    options = DriveOptions(
        variants=("expert", "fp32"), out=tmp_path / "out", routes=2, length_m=SHORT_M, latency="none"
    )
    report = run_drive(manifest, options, no_progress)
    comparison = report.comparisons[0]
    assert comparison.verdict == "worse"
    assert "departures and collisions" in comparison.line
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["variants"]["fp32"]["figures"]["departures"]["mean"] == 1.0
    assert document["variants"]["expert"]["endings"] == {"finished": 2}
    markdown = (tmp_path / "out" / "report.md").read_text()
    for name in ("offsets.png", "differences.png", "at_20.png"):
        assert name in markdown
        assert (tmp_path / "out" / name).stat().st_size > 1000
    assert comparison.line in markdown
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert faults(page) == []
    assert f'<li class="alarm"><strong>alarm</strong> <span>{comparison.line}.</span></li>' in page
    assert page.count("<img") == markdown.count("![")


def expert_options(out: Path, routes: int, jobs: int = 1) -> DriveOptions:
    return DriveOptions(
        ("expert",), out, routes=routes, length_m=SHORT_M, traffic=0.0, latency="none", jobs=jobs
    )


def test_a_second_run_resumes_the_first(tmp_path: Path) -> None:
    """Finished routes are read from the journal; truncated ones are driven again, also in parallel."""
    manifest = load_manifest(write_constant_planner(tmp_path / "model", {"fp32": plan_vector(0.0)}))
    out = tmp_path / "out"
    run_drive(manifest, expert_options(out, 1), no_progress)
    journal = out / JOURNAL
    first = json.loads(journal.read_text())
    # A value that no drive produces, and a truncated line as after a kill.
    first["result"]["figures"]["lateral_rmse_m"] = 9.0
    line = json.dumps(first)
    journal.write_text(f"{line}\n{line[: len(line) // 2]}")
    report = run_drive(manifest, expert_options(out, 3, jobs=2), no_progress)
    errors = [route.figures["lateral_rmse_m"] for route in report.document.routes]
    assert errors[0] == 9.0
    assert max(errors[1:]) < 0.2
    # Results of other conditions are not reused: with traffic the first route has to be driven.
    busy = replace(expert_options(out, 1), traffic=0.5)
    assert run_drive(manifest, busy, no_progress).summary["expert"]["lateral_rmse_m"].value < 0.2


def test_measured_latencies_of_another_form_are_measured_again(tmp_path: Path) -> None:
    """Failed before: the file had no schema, and whatever it held was taken for milliseconds."""
    path = tmp_path / "latency.json"
    for text in ("", "{}", '{"int8:0abc": [3.5]}', '{"schema": "adcp-latency/1", "latency_ms": {"a": [-1]}}'):
        path.write_text(text)
        assert _read_latencies(path) == {}
    MeasuredLatencies(latency_ms={"int8:0abc": [3.5, 4.0]}).write(path)
    assert _read_latencies(path) == {"int8:0abc": [3.5, 4.0]}


def test_truncated_journal_lines_are_ignored(tmp_path: Path) -> None:
    journal = RouteJournal(tmp_path)
    journal.add({"length_m": 200.0}, result_with(1, 0))
    journal.path.write_bytes(journal.path.read_bytes() + b'{"conditions": {"len')
    journal.add({"length_m": 200.0}, result_with(2, 1))
    found = journal.finished({"length_m": 200.0})
    assert sorted(found) == [1, 2]
    assert found[2].figures["departures"] == 1.0
    assert journal.finished({"length_m": 300.0}) == {}
