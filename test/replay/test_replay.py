# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Replays over real topics into real nodes: all frames are accounted for, and processes end cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.replay.interleaving import INTERLEAVING
from ad_compressed_perception.replay.session import ReplayOptions, run_replay
from ad_compressed_perception.report.frame_counters import uncounted_frames
from ad_compressed_perception.report.schemas.agreement import (
    DetectionFigures,
    PlanningFigures,
    SegmentationFigures,
)
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.workspace.save_manifest import save_manifest
from dev.check_html import faults
from support.bags import compressed_message, stamps_of, write_bag, write_messages
from support.models import draw_scene, write_planner
from support.recordings import check_recording, read_all
from support.replay import add_variant, write_drive, write_models

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
FRAMES = 6


def check_frame_counts(report: Report, frames: int) -> None:
    """Every variant got every frame, and its counters account for every frame."""
    assert report.source.frames == frames
    for one in report.tasks.values():
        for name, variant in one.variants.items():
            assert variant.received == frames, name
            assert uncounted_frames(variant) == 0
            assert (variant.pending, variant.reports_lost, variant.frame_timeouts) == (0, 0, 0)
            assert variant.stages_ms["infer"].count == variant.processed
        for comparison in one.comparison.values():
            assert (comparison.unpaired, comparison.late, comparison.incomparable) == (0, 0, 0)


@pytest.mark.parametrize("compressed", [True, False], ids=["jpeg", "raw"])
def test_three_tasks_from_a_recording_to_a_report(tmp_path: Path, compressed: bool) -> None:
    models = write_models(tmp_path / "models")
    drive = write_drive(tmp_path / "drive", FRAMES, compressed=compressed)
    out = tmp_path / "out"
    report = run_replay(
        ReplayOptions(
            bag=drive,
            out=out,
            models=tuple(models.values()),
            work=tmp_path / "work",
            deadlines=("1000000",),
            mcap=True,
        )
    )
    check_frame_counts(report, FRAMES)
    assert INTERLEAVING in report.measurement
    assert report.source.duration_s == pytest.approx((FRAMES - 1) * 0.05)
    assert set(report.tasks) == set(models)
    for task, one in report.tasks.items():
        assert one.baseline == "baseline"
        assert list(one.variants) == ["baseline", "int8"]
        assert one.variants["baseline"].variant == "fp32"
        assert one.variants["int8"].verdict is not None
        # A quarter of an hour for a tiny model: no machine misses it.
        assert one.variants["int8"].deadline_misses == 0, task
        assert one.comparison["int8"].pairs == FRAMES
    # The variant is a copy of the baseline: the results received over ROS agree exactly.
    found = {task: one.comparison["int8"].agreement for task, one in report.tasks.items()}
    assert isinstance(found["detection"], DetectionFigures)
    assert found["detection"].f1 == 1.0
    assert found["detection"].matched > 0
    assert isinstance(found["segmentation"], SegmentationFigures)
    assert found["segmentation"].differing_pixels_share == 0.0
    assert isinstance(found["planning"], PlanningFigures)
    assert found["planning"].max_lateral_offset_m == 0.0
    # The written report equals the returned one, and every file that it names exists.
    assert Report.read(out / "report.json") == report
    assert {"report.md", "latency.png", "stages.png", "agreement.png"} <= set(report.files)
    for name in report.files:
        assert (out / name).stat().st_size > 0
    page = (out / "report.html").read_text("utf-8")
    assert faults(page) == []
    assert page.count("<img") == len([name for name in report.files if name.endswith(".png")])
    assert "ros2 bag play results" in page
    assert page.index("detection/int8") < page.index("<table")
    assert not [note for note in report.notes if "results" in note]
    check_recording(out / "results", report, stamps_of(FRAMES))
    overlay = cv2.imread(str(out / "overlay_detection_1.png"))
    assert overlay.shape[1] == 2 * 640 + 6


def test_disagreement_is_measured_and_the_worst_frame_is_drawn(tmp_path: Path) -> None:
    model = add_variant(write_planner(tmp_path / "model"))
    manifest = load_manifest(model)
    # The same weights with another pixel scale: the candidate steers less than the baseline.
    other = write_planner(tmp_path / "other")
    patched = (
        (other / "fp32.onnx")
        .read_bytes()
        .replace(np.float32(2 / 512).tobytes(), np.float32(1 / 512).tobytes())
    )
    (model / "int8.onnx").write_bytes(patched)
    manifest.variants["int8"].sha256 = file_sha256(model / "int8.onnx")
    save_manifest(manifest, model)
    # The left half is white: the baseline steers left, the candidate half as much or less.
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :64] = 255
    drive = write_bag(tmp_path / "drive", [image] * 3)
    report = run_replay(
        ReplayOptions(bag=drive, out=tmp_path / "out", models=(model,), work=tmp_path / "work")
    )
    figures = report.tasks["planning"].comparison["int8"].agreement
    assert isinstance(figures, PlanningFigures)
    assert figures.ade_m > 0.1
    assert "overlay_planning_least_agreement.png" in report.files


def test_a_broken_frame_fails_in_every_variant_and_the_rest_goes_on(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    stamps = stamps_of(4)
    messages = [compressed_message(draw_scene(index), stamp) for index, stamp in enumerate(stamps)]
    messages[2].data = messages[2].data[:40]
    topics = {
        "/camera/compressed": ("sensor_msgs/msg/CompressedImage", list(zip(stamps, messages, strict=True)))
    }
    drive = write_messages(tmp_path / "drive", topics)
    report = run_replay(
        ReplayOptions(bag=drive, out=tmp_path / "out", models=(models["detection"],), work=tmp_path / "work")
    )
    check_frame_counts(report, 4)
    for variant in report.tasks["detection"].variants.values():
        assert (variant.processed, variant.failed) == (3, 1)
    assert report.tasks["detection"].comparison["int8"].pairs == 3


def test_a_baseline_alone_is_measured_too(tmp_path: Path) -> None:
    model = write_planner(tmp_path / "model")
    drive = write_drive(tmp_path / "drive", 3)
    options = ReplayOptions(
        bag=drive, out=tmp_path / "out", models=(model,), work=tmp_path / "work", rate=50.0
    )
    report = run_replay(options)
    assert report.source.frames + report.source.not_offered == 3
    assert list(report.tasks["planning"].variants) == ["baseline"]
    assert any("no compressed variant" in note for note in report.notes)


def test_a_second_report_leaves_no_image_of_the_first(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    drive = write_drive(tmp_path / "drive", 2)
    out, work = tmp_path / "out", tmp_path / "work"
    run_replay(ReplayOptions(bag=drive, out=out, models=(models["planning"],), work=work, mcap=True))
    assert (out / "results" / "results.mcap").is_file()
    (out / "mine.txt").write_text("not the report's")
    run_replay(ReplayOptions(bag=drive, out=out, models=(models["detection"],), work=work))
    names = {path.name for path in out.iterdir()}
    assert "mine.txt" in names
    assert any("detection" in name for name in names)
    assert not any("planning" in name for name in names)
    assert "results" not in names


def test_a_node_that_refuses_its_model_ends_the_replay_with_its_error(tmp_path: Path) -> None:
    model = write_planner(tmp_path / "model")
    (model / "fp32.onnx").write_bytes(b"no model at all")
    manifest = load_manifest(model)
    manifest.variants["fp32"].sha256 = file_sha256(model / "fp32.onnx")
    save_manifest(manifest, model)
    out = tmp_path / "out"
    options = ReplayOptions(
        bag=write_drive(tmp_path / "drive"), out=out, models=(model,), work=tmp_path / "work"
    )
    with pytest.raises(AdcpError, match=r"node /baseline/planning: configure refused: .*fp32\.onnx"):
        run_replay(options)
    assert not out.exists()


# The command ---------------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ad_compressed_perception.cli.main", "replay", *map(str, arguments)]


def test_wrong_input_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 2)
    empty = write_messages(tmp_path / "empty", {"/camera": ("sensor_msgs/msg/Image", [])})
    model, out = write_planner(tmp_path / "model"), tmp_path / "out"
    common = ["--models", model, "--out", out, "--work", tmp_path / "work"]
    cases = [
        ([tmp_path / "absent"], 1, "no such bag"),
        ([empty], 1, "is empty"),
        ([drive, "--topic", "/nothing"], 1, "has no topic /nothing"),
        ([drive, "--tasks", "steering"], 1, "unknown task 'steering'"),
        ([drive, "--variants", "int9"], 1, "no model has a variant 'int9'"),
        ([drive, "--rate", "2", "--every-frame"], 2, "exclude each other"),
        ([drive, "--limit", "0"], 2, "--limit"),
    ]
    for arguments, code, message in cases:
        done = subprocess.run(
            command(*arguments, *common), capture_output=True, text=True, check=False, timeout=120
        )
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
        if code == 1:
            assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_a_report_that_cannot_be_written_is_refused_before_the_replay_or_named_after_it(
    tmp_path: Path,
) -> None:
    """Failed before: the whole replay ran, then "File exists" or "No space left on device"."""
    drive, model = write_drive(tmp_path / "drive", 2), write_planner(tmp_path / "model")
    (tmp_path / "file").touch()
    (tmp_path / "out" / "report.md").mkdir(parents=True)
    steps: list[str] = []

    def watch(step: str, done: int, total: int) -> None:
        steps.append(step)

    for out, reason, begins in [
        (tmp_path / "file" / "out", "cannot write a report into .*Not a directory", False),
        (tmp_path / "file", "cannot write a report into .*Not a directory", False),
        (tmp_path / "out", "cannot write .*report.md: Is a directory", True),
    ]:
        with pytest.raises(DataError, match=reason):
            run_replay(ReplayOptions(bag=drive, out=out, models=(model,), work=tmp_path / "work"), watch)
        assert bool(steps) == begins


@contextmanager
def running_replay(tmp_path: Path, models: Path) -> Iterator[subprocess.Popen[str]]:
    """A replay at the recorded pace that has begun to offer frames, of a drive that lasts a minute."""
    # 1200 frames of 0.05 s are a minute.
    drive = write_bag(tmp_path / "drive", [draw_scene(0, 32, 24)] * 1200)
    arguments = command(
        drive,
        "--models",
        models,
        "--out",
        tmp_path / "out",
        "--work",
        tmp_path / "work",
        "--rate",
        "1",
        "--mcap",
    )
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("replaying"):
                break
        yield process
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()


def check_partial(out: Path) -> None:
    """Nothing was measured and nothing is written, or there is a complete set of files marked as partial."""
    if not out.exists():
        return
    report = Report.read(out / "report.json")
    assert any("partial" in note for note in report.notes)
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {*report.files, "report.json"} == written
    for name, variant in report.tasks["planning"].variants.items():
        found = len(read_all(out / "results").get(f"/{name}/planning/trajectory", []))
        assert variant.processed - 1 <= found <= variant.processed, "the last frame may be incomplete"


def test_a_killed_node_process_ends_the_replay_with_a_partial_report(tmp_path: Path) -> None:
    model = add_variant(write_planner(tmp_path / "model"))
    with running_replay(tmp_path, model) as process:
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: the process that runs the nodes was killed by signal 9" in errors
    assert "Traceback" not in errors
    check_partial(tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_keeps_what_it_measured_and_leaves_no_process(
    tmp_path: Path, number: signal.Signals
) -> None:
    model = add_variant(write_planner(tmp_path / "model"))
    with running_replay(tmp_path, model) as process:
        (child,) = psutil.Process(process.pid).children()
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=120)
        assert not child.is_running()
    assert process.returncode == 1
    assert "error: interrupted" in errors
    assert "Traceback" not in errors
    check_partial(tmp_path / "out")


# The real drive ------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_drive_through_the_reference_models(tmp_path: Path, shared_dir: Path) -> None:
    drive = shared_dir / "bags" / "udacity_ch2_20s"
    done = subprocess.run(
        command(drive, "--limit", 20, "--out", tmp_path / "out", "--work", tmp_path / "work", "--json"),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    report = Report.model_validate(json.loads(done.stdout))
    check_frame_counts(report, 20)
    assert set(report.tasks) == {"detection", "segmentation", "planning"}
    for one in report.tasks.values():
        assert one.variants["baseline"].processed == 20
        assert one.variants["baseline"].precision == "fp32"
    assert report.source.topic == "/camera/image_raw/compressed"
