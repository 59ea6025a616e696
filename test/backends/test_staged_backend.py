# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backend ``staged`` on real stages, in threads and in processes: hashes, faults, ends."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import Session
from ad_compressed_perception.backends.stage_file import read_stage_file
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.model_files import file_sha256, further_files
from ad_compressed_perception.onnx_graph.equivalence import relative_difference
from support.scripted_backend import Script, scripted_backend
from support.stages import frame, save_network, write_stages

PATIENCE_S = 60.0
BACKEND = create_backend("staged")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("network") / "whole.onnx")


@pytest.fixture
def stages(source: Path, tmp_path: Path) -> Path:
    return write_stages(source, tmp_path / "stages")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_backend(monkeypatch) as made:
        yield made


def children() -> set[int]:
    """Return the processes that stages run in."""
    return {
        one.pid
        for one in psutil.Process().children(recursive=True)
        if any("stage_process" in part for part in one.cmdline())
    }


_earlier: set[int | None] = set()


@pytest.fixture(autouse=True)
def note_earlier_threads() -> None:
    """Note the threads of sessions that other tests left open, as a failed one does."""
    _earlier.clear()
    _earlier.update(one.ident for one in threading.enumerate())


def left_over() -> list[str]:
    """Return threads and processes of stages, once those that are ending have ended."""
    end = time.monotonic() + PATIENCE_S
    while True:
        gc.collect()
        threads = [one for one in threading.enumerate() if one.ident not in _earlier]
        found = [one.name for one in threads if one.name.startswith("adcp-stage")]
        found += map(str, children())
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.02)


def same(session: Session, source: Path) -> bool:
    """Whether a session computes what the whole network does."""
    whole = create_backend("onnxruntime").load(source, {})
    results = [(whole.infer(frame(seed)), session.infer(frame(seed))) for seed in range(3)]
    whole.close()
    return all(
        list(one) == list(other) and all(relative_difference(one[name], other[name]) <= 1e-5 for name in one)
        for one, other in results
    )


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("run_in", ["threads", "processes"])
def test_stages_compute_what_the_model_does(source: Path, tmp_path: Path, run_in: str, count: int) -> None:
    path = write_stages(source, tmp_path / "stages", count)
    session = BACKEND.load_checked(path, {"run_in": run_in}, file_sha256(path))
    assert same(session, source)
    futures = [session.submit(frame(seed)) for seed in range(9)]
    found = [future.result(PATIENCE_S) for future in futures]
    assert all(np.array_equal(one["t6"], session.infer(frame(seed))["t6"]) for seed, one in enumerate(found))
    info = session.info
    assert (info.backend, info.threads, session.total_threads) == ("staged", 1, count)
    assert session.depth == count
    assert info.precision == "fp32" and [spec.name for spec in info.outputs] == ["t6", "t4"]
    assert sum(layer.is_compute for layer in session.layers()) == 4
    session.close()
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.infer(frame())
    assert not left_over()


def changed(path: Path, **fields: Any) -> Path:
    """Change fields of the second stage in a ``stages.yaml``."""
    document = yaml.safe_load(path.read_text())
    document["stages"][1] |= fields
    path.write_text(yaml.safe_dump(document))
    return path


def test_hash_of_the_list_and_of_each_stage_is_that_of_the_loaded_bytes(stages: Path) -> None:
    right = file_sha256(stages)
    stage = stages.parent / "stage_2.onnx"
    assert further_files(stages) == {"stage_1.onnx", "stage_2.onnx"}
    with pytest.raises(AdcpError, match="sha256 is another now.*stages.yaml"):
        BACKEND.load_checked(stages, {}, "0" * 64)
    stage.write_bytes(stage.read_bytes() + b"\x00")
    for run_in in ("threads", "processes"):
        with pytest.raises(BackendError, match=r"stage 2 of 2 \(stage_2.onnx\): .*sha256 is another now"):
            BACKEND.load_checked(stages, {"run_in": run_in}, right)
    stage.unlink()
    with pytest.raises(BackendError, match=r"stage 2 of 2 \(stage_2.onnx\): no model file"):
        BACKEND.load(stages, {})
    assert not left_over()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"file": "../stage_2.onnx"}, "stages.1.file"),
        ({"file": "stage_1.onnx"}, "stage 2 is the file of another stage"),
        ({"backend": "staged"}, "cannot consist of stages"),
        ({"backend": "nothing"}, r"stage 2 of 2 \(stage_2.onnx\): unknown backend 'nothing'"),
        ({"options": {"nothing": 1}}, r"stage 2 of 2 .*unknown key 'nothing'"),
        ({"backend": "openvino", "options": {"cache_dir": "/outside"}}, "cache_dir of stage 2.*outside"),
        ({"inputs": [{"name": "t1", "dtype": "float32", "shape": [1 << 40]}]}, "more than .* values"),
        (
            {"outputs": [{"name": n, "dtype": "int8", "shape": [9]} for n in ("t4", "t6")]},
            "others than stages",
        ),
        ({"bytes_in": 1}, "bytes are alive before stage 2, not 1"),
        ({"inputs": [{"name": "t9", "dtype": "float32", "shape": [1]}]}, "reads 't9', which no stage before"),
    ],
)
def test_wrong_lists_are_refused_in_one_line(stages: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AdcpError, match=message) as caught:
        BACKEND.load(changed(stages, **fields), {})
    assert "\n" not in str(caught.value)
    assert not left_over()


def test_output_that_is_an_input_of_the_model_is_refused(stages: Path) -> None:
    """Failed before with a KeyError: no stage describes it."""
    listed = yaml.safe_load(stages.read_text())
    listed["outputs"].append(listed["inputs"][0]["name"])
    stages.write_text(yaml.safe_dump(listed, sort_keys=False))
    with pytest.raises(BackendError, match="no stage computes the output"):
        BACKEND.load(stages, {})


def test_stage_outside_of_the_folder_or_with_weights_elsewhere_is_refused(stages: Path, source: Path) -> None:
    import onnx

    stage = stages.parent / "stage_2.onnx"
    moved = stages.parent.parent / "elsewhere.onnx"
    stage.rename(moved)
    stage.symlink_to(moved)
    with pytest.raises(BackendError, match="lies outside of"):
        BACKEND.load(stages, {})
    stage.unlink()
    onnx.save(onnx.load(moved), stage, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(BackendError, match="reads further files, whose hashes nothing checks: weights.bin"):
        BACKEND.load(changed(stages, sha256=file_sha256(stage)), {})


def test_backend_and_options_of_each_stage_can_be_chosen(stages: Path, source: Path) -> None:
    pytest.importorskip("openvino")
    chosen = [{"backend": "openvino"}, {"backend": "onnxruntime", "options": {"threads": 2}}]
    session = BACKEND.load(stages, {"stages": chosen})
    assert same(session, source)
    assert session.info.provider == "openvino CPU + onnxruntime CPUExecutionProvider"
    assert (session.info.threads, session.total_threads) == (2, 3)
    session.close()
    with pytest.raises(BackendError, match="has 2 stages, the option stages 1"):
        BACKEND.load(stages, {"stages": chosen[:1]})
    assert not left_over()


def test_load_that_fails_or_is_interrupted_leaves_nothing(
    source: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_stages(source, tmp_path / "stages", 3)
    descriptors = len(os.listdir("/proc/self/fd"))
    (path.parent / "stage_3.onnx").write_bytes(b"damaged")
    changed(path)
    for run_in in ("threads", "processes"):
        with pytest.raises(BackendError, match="stage 3 of 3"):
            BACKEND.load(path, {"run_in": run_in})
        assert not left_over()
    whole = write_stages(source, tmp_path / "whole", 2, backend="scripted")

    def interrupt(number: int, outputs: Any) -> Any:
        raise KeyboardInterrupt

    script.act = interrupt  # in the warm-up, with both stages loaded
    with pytest.raises(BackendError, match="stage 1 of 2 .*KeyboardInterrupt"):
        BACKEND.load(whole, {})
    assert not left_over()
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


def test_killed_process_of_a_stage_fails_its_frames_by_name(stages: Path) -> None:
    session = BACKEND.load(stages, {"run_in": "processes"})
    before = session.infer(frame())
    victim = sorted(children())[1]  # the second one that was started
    os.kill(victim, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(BackendError, match=r"stage 2 of 2 .*its process ended \(status -9\)"):
            session.infer(frame())
    assert before["t6"].shape == (1, 4, 8, 8)  # results stay valid
    session.close()
    assert not left_over()


def test_layers_are_listed_while_frames_are_in_work(stages: Path) -> None:
    """Both ask the same process: an answer to one question is never taken for that to the other."""
    session = BACKEND.load(stages, {"run_in": "processes"})
    expected = [session.infer(frame(seed)) for seed in range(100)]
    found: list[int] = []
    is_done = threading.Event()

    def look() -> None:
        while not is_done.is_set():
            found.append(sum(layer.is_compute for layer in session.layers()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        results = [session.infer(frame(seed)) for seed in range(100)]
    finally:
        is_done.set()
        thread.join()
    for one, other in zip(expected, results, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert set(found) == {4}
    session.close()


@pytest.mark.parametrize("timeout_s", [1e300, float("inf"), 86_401.0])
def test_a_limit_that_no_clock_holds_is_refused(stages: Path, timeout_s: float) -> None:
    """More than a day is none, and what waits for a process takes no more than 24 days."""
    with pytest.raises(BackendError, match="timeout_s: Input should be less than or equal to 86400"):
        BACKEND.load(stages, {"run_in": "processes", "timeout_s": timeout_s})
    BACKEND.load(stages, {"run_in": "processes", "timeout_s": 86_400.0}).close()


def test_hung_process_is_ended_and_named(stages: Path) -> None:
    """A stopped process does not answer and does not end by itself."""
    session = BACKEND.load(stages, {"run_in": "processes", "timeout_s": 1.0})
    os.kill(sorted(children())[0], signal.SIGSTOP)
    with pytest.raises(BackendError, match=r"stage 1 of 2 \(stage_1.onnx\)"):
        session.infer(frame())
    session.close()
    assert not left_over()


def test_processes_end_with_the_one_that_loaded_them(stages: Path) -> None:
    """Killed as the kernel kills for memory: nothing of Python is run any more."""
    import subprocess
    import sys

    code = (
        "import pathlib, sys, time; from ad_compressed_perception.backends import create_backend;"
        "backend, path = create_backend('staged'), pathlib.Path(sys.argv[1]);"
        "session = backend.load(path, {'run_in': 'processes'});"
        "print('loaded', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(stages)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "loaded\n"
    stage_processes = [psutil.Process(pid) for pid in children()]
    assert len(stage_processes) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs(stage_processes, PATIENCE_S)
    assert not alive


def resident_bytes() -> int:
    """Return this process's memory after what is free was returned."""
    import ctypes

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def test_memory_stays_flat_over_100_reopenings(stages: Path) -> None:
    def reopen(count: int) -> None:
        for number in range(count):
            session = BACKEND.load(stages, {"warmup_runs": 0})
            session.infer(frame())
            if number % 2:  # the other half is left to the garbage collector
                session.close()

    reopen(20)
    before, threads = resident_bytes(), threading.active_count()
    reopen(100)
    assert not left_over()
    assert threading.active_count() <= threads
    assert resident_bytes() - before < 8 << 20  # 100 leaked sessions would be ten times as much


def test_list_knows_what_crosses(stages: Path) -> None:
    described = read_stage_file(stages)
    assert [stage.bytes_in for stage in described.stages] == [1024, 2048]  # the skip connection, too
