# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backend that injects faults: each kind has its effect, every injection is counted and reproducible."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import (
    AdcpError,
    BackendError,
    DataError,
    OutputError,
)
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_road_simulation.faults.backend import FaultInjectionBackend, injected_counts
from ad_road_simulation.faults.kinds import BACKEND, KINDS, SWITCH, FaultRequest, parse_fault
from ad_road_simulation.faults.log import digest_of, read_log
from ad_road_simulation.faults.options import FaultOptions
from ad_road_simulation.faults.schedule import FaultSchedule
from support.models import draw_scene, write_detector

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def _enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("model"))


def opened(model: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Pipeline:
    """Return the detector on the backend, which a plain checkout has not registered."""
    monkeypatch.setattr("ad_compressed_perception.tasks.pipeline.create_backend", _backend)
    return open_pipeline(load_manifest(model), backend=BACKEND, options=options)


def _backend(name: str) -> Any:
    return FaultInjectionBackend() if name == BACKEND else create_backend(name)


def frame(index: int = 0) -> Frame:
    return Frame(draw_scene(index), "BGR", index)


def test_without_the_environment_variable_nothing_is_loaded(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH)
    assert not FaultInjectionBackend.status().available
    with pytest.raises(BackendError, match="for tests, set ADCP_INJECT_FAULTS=1"):
        opened(model, monkeypatch, kind="raise", probability=1.0)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("raise", BackendError, "injected error at inference 0"),
        ("exit", SystemExit, "3"),
        ("nan", OutputError, "not finite"),
        ("inf", OutputError, "not finite"),
        ("missing", OutputError, "no output"),
        ("empty", OutputError, "empty output"),
        ("wrong_shape", OutputError, "instead of"),
    ],
)
def test_loud_faults_leave_the_frame_without_a_result(
    kind: str, error: type[BaseException], words: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, before = opened(model, monkeypatch, kind=kind, frames=[0]), injected_counts()[kind]
    with pytest.raises(error, match=words):
        pipeline.run(frame())
    assert injected_counts()[kind] == before + 1

    healthy, _ = pipeline.run(frame())  # the next inference has no fault
    assert len(healthy.scores) == 3


def test_constant_and_implausible_results_keep_the_output_contract(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = open_pipeline(load_manifest(model))
    constant = opened(model, monkeypatch, kind="constant", from_frame=1, probability=1.0)
    results = [constant.run(frame(index))[0].boxes_xyxy for index in (0, 5, 9)]
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])
    assert not np.array_equal(clean.run(frame(5))[0].boxes_xyxy, results[0])

    crowd = opened(model, monkeypatch, kind="implausible", probability=1.0).run(frame())[0]
    assert len(crowd.scores) > 5 * len(clean.run(frame())[0].scores)


@pytest.mark.parametrize("task", ["planning", "segmentation", "detection"])
def test_implausible_results_of_the_default_models_are_not_those_of_the_frame(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirrored plan of a straight road would be the same plan: nothing would have been injected."""
    folder = Path(__file__).parents[3] / "models" / f"road_{task}"
    clean = open_pipeline(load_manifest(folder)).run(frame())[0]
    changed = opened(folder, monkeypatch, kind="implausible", probability=1.0).run(frame())[0]
    if task == "planning":
        assert abs(changed.curvature_per_m - clean.curvature_per_m) > 0.01
    elif task == "segmentation":
        assert (changed.label_ids != clean.label_ids).mean() > 0.9
    else:
        assert len(changed.scores) > len(clean.scores) + 20


@pytest.mark.parametrize("kind", ["hang", "hang_gil"])
def test_a_hang_keeps_the_interpreter_lock_or_lets_others_run(
    kind: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = opened(model, monkeypatch, kind=kind, frames=[0], duration_ms=400)
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.01)

    thread = threading.Thread(target=tick)
    thread.start()
    pipeline.run(frame())
    done.set()
    thread.join()
    longest_s = max(np.diff(ticks), default=0.0)
    # A held lock lets nobody run for the whole time, whatever else the machine does.
    assert longest_s >= 0.39 if kind == "hang_gil" else len(ticks) > 5


def test_slow_and_memory_return_the_right_result(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = open_pipeline(load_manifest(model)).run(frame())[0]
    slow = opened(model, monkeypatch, kind="slow", frames=[0], slow_factor=1000.0)
    result, stages_ms = slow.run(frame())
    np.testing.assert_array_equal(result.boxes_xyxy, clean.boxes_xyxy)
    assert stages_ms["infer"] > 100.0 * slow.run(frame())[1]["infer"]

    process = psutil.Process()
    hungry = opened(model, monkeypatch, kind="memory", probability=1.0, memory_mb=150)
    gc.collect()
    before = process.memory_info().rss
    for _ in range(3):
        np.testing.assert_array_equal(hungry.run(frame())[0].boxes_xyxy, clean.boxes_xyxy)
    # Of 450 MiB; what earlier tests of this process left may be returned meanwhile, 50 MiB were seen.
    assert process.memory_info().rss - before > 300 * MEBIBYTE
    hungry.close()
    assert process.memory_info().rss - before < 150 * MEBIBYTE


def test_the_log_names_every_injected_frame(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "faults.jsonl"
    pipeline = opened(model, monkeypatch, kind=["nan", "raise"], probability=0.5, seed=3, log=str(log))
    failed = {}
    for index in range(40):
        feeds, _ = pipeline.task.prepare(frame(index))
        try:
            pipeline.run(frame(index))
        except AdcpError:
            failed[index] = digest_of(feeds)
    injections = list(read_log(log))
    assert [each.number for each in injections] == list(failed)  # two different countings
    assert [each.digest for each in injections] == list(failed.values())
    assert {each.kind for each in injections} == {"nan", "raise"}
    assert len(set(failed.values())) == len(failed) > 10

    with log.open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(DataError, match="no injected fault"):
        list(read_log(log))


def test_a_reloaded_model_goes_on_in_the_schedule(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard replaces a session after a fault: the fault of inference 0 must not come back with it."""
    options = {"kind": "raise", "frames": [0], "log": str(tmp_path / "log")}
    with pytest.raises(BackendError):
        opened(model, monkeypatch, **options).run(frame())
    opened(model, monkeypatch, **options).run(frame())
    assert len(list(read_log(tmp_path / "log"))) == 1


def test_the_file_is_hashed_as_by_the_inner_runtime(model: Path) -> None:
    with pytest.raises(BackendError, match="sha256"):
        FaultInjectionBackend().load_checked(next(model.glob("*.onnx")), {}, "0" * 64)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "melt", "probability": 1.0}, "unknown kind 'melt'; known: raise"),
        ({"kind": "nan"}, "nothing would be injected"),
        ({"probability": 0.5}, "nothing would be injected"),
        ({"inner": BACKEND}, "itself"),
        ({"inner": "nonsense"}, "unknown backend 'nonsense'"),
    ],
)
def test_options_that_inject_nothing_are_refused(options: dict[str, Any], words: str, model: Path) -> None:
    with pytest.raises(BackendError, match=words):
        FaultInjectionBackend().load(next(model.glob("*.onnx")), options)


@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(0.05, 0.95), st.integers(0, 300))
def test_schedules_repeat_and_keep_their_probability(
    seed: int, burst: int, probability: float, first: int
) -> None:
    options = FaultOptions(
        kind=["nan", "slow"], probability=probability, seed=seed, burst=burst, from_frame=first
    )
    numbers = range(first + 600 * burst)
    faults = [FaultSchedule(options).fault(number) for number in numbers]
    assert faults == [FaultSchedule(options).fault(number) for number in numbers]
    assert not any(faults[:first])
    drawn = [faults[start : start + burst] for start in range(-(-first // burst) * burst, len(faults), burst)]
    assert all(len(set(block)) == 1 for block in drawn)
    share = float(np.mean([block[0] is not None for block in drawn]))
    # Six standard deviations of 300 draws and more.
    assert abs(share - probability) < 6 * (0.25 / len(drawn)) ** 0.5


def test_faults_are_named_with_their_probability() -> None:
    assert parse_fault("nan") == FaultRequest("nan", 1.0)
    assert parse_fault(" hang:0.05 ") == FaultRequest("hang", 0.05)
    assert set(FaultRequest("nan").backend_options("onnxruntime")) <= set(FaultOptions.model_fields)
    for wrong, words in (("fire", "known: raise"), ("nan:2", "at most 1"), ("nan:x", "such as nan:0.05")):
        with pytest.raises(DataError, match=words):
            parse_fault(wrong)
    assert all(parse_fault(kind).kind == kind for kind in KINDS)
