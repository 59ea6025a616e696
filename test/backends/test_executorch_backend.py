# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ExecuTorch programs compute as ONNX Runtime; precision and coverage are read from the program."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.backends import backend_names, create_backend
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.model_files import file_sha256
from support.exported import noise_frames, reference, two_convolutions

INSTALLED = importlib.util.find_spec("executorch") is not None
NEEDS = pytest.mark.skipif(not INSTALLED, reason="the extra [executorch] is not installed")


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_convolutions(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def programs(onnx_file: Path) -> dict[str, Path]:
    """Return the network in both precisions."""
    from ad_compressed_perception.compression.passes.export.executorch import write_executorch

    paths = {precision: onnx_file.with_name(f"{precision}.pte") for precision in ("fp32", "int8")}
    for precision, path in paths.items():
        write_executorch(onnx_file, path, precision, noise_frames(8))  # type: ignore[arg-type]
    return paths


def load(path: Path, **options: Any) -> Any:
    return create_backend("executorch").load(path, options)


def test_the_backend_says_what_it_needs() -> None:
    assert "executorch" in backend_names()
    status = create_backend("executorch").status()
    assert status.available == INSTALLED
    assert "XnnpackBackend" in status.providers if INSTALLED else "pip install executorch" in status.detail


def test_a_file_that_is_no_program_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.pte").write_bytes(b"no program" * 9)
    for name in ("text.pte", "none.pte"):
        with pytest.raises(BackendError, match=name if INSTALLED else "pip install executorch"):
            load(tmp_path / name)


@NEEDS
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("int8", 0.05)])
def test_a_program_computes_as_onnxruntime_under_the_same_names(
    onnx_file: Path, programs: dict[str, Path], precision: str, tolerance: float
) -> None:
    """int8 keeps about 1/255 of each tensor's range: after two layers a few percent of the largest value."""
    feeds = noise_frames(1)[0]
    expected = reference(onnx_file, feeds)

    session = load(programs[precision])
    found = session.infer(feeds)

    assert list(found) == list(expected)
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= tolerance * np.abs(value).max()
    info = session.info
    assert (info.provider, info.precision, info.threads) == ("XNNPACK", precision, 1)
    assert info.integer_coverage == (1.0 if precision == "int8" else 0.0)
    compute = [layer for layer in session.layers() if layer.is_compute]
    assert [layer.operator for layer in compute] == ["conv2d", "conv2d"]
    assert {layer.kernel for layer in compute} == {"XNNPACK"}
    session.close()


@NEEDS
def test_the_pool_of_threads_cannot_change_under_a_loaded_program(programs: dict[str, Path]) -> None:
    first = load(programs["fp32"], threads=2)
    assert first.info.threads == 2
    with pytest.raises(BackendError, match="threads: 1"):
        load(programs["fp32"], threads=1)
    load(programs["int8"], threads=2).close()
    first.close()
    assert load(programs["fp32"], threads=1).info.threads == 1


@NEEDS
def test_results_outlive_the_next_call_and_a_session(programs: dict[str, Path]) -> None:
    one, two = noise_frames(2)
    session = load(programs["fp32"])
    (first,) = session.infer(one).values()
    kept = first.copy()
    (second,) = session.infer(two).values()
    assert not np.array_equal(first, second)
    session.close()
    np.testing.assert_array_equal(first, kept)


@NEEDS
def test_sessions_in_several_threads_do_not_mix_their_frames(programs: dict[str, Path]) -> None:
    frames = noise_frames(2)
    expected = [next(iter(load(programs["fp32"]).infer(feeds).values())) for feeds in frames]
    wrong: list[int] = []

    def run(which: int) -> None:
        session = load(programs["fp32"])
        for _ in range(50):
            found = next(iter(session.infer(frames[which]).values()))
            if not np.array_equal(found, expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=run, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


@NEEDS
def test_wrong_feeds_files_and_hashes_raise_one_line(programs: dict[str, Path], tmp_path: Path) -> None:
    path, backend = programs["fp32"], create_backend("executorch")
    session = load(path)
    with pytest.raises(BackendError, match=r"needs float32\[1, 3, 16, 16\]"):
        session.infer({"x": np.zeros((1, 3, 8, 16), np.float32)})
    with pytest.raises(BackendError, match="sha256"):
        backend.load_checked(path, {}, "0" * 64)
    backend.load_checked(path, {}, file_sha256(path)).close()
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[60:200] = b"\xff" * 140
    for name, content in (("cut", whole[:-100]), ("head", whole[:50]), ("damaged", bytes(damaged))):
        wrong = tmp_path / f"{name}.pte"
        wrong.write_bytes(content)
        with pytest.raises(AdcpError) as found:
            load(wrong)
        assert str(wrong) in str(found.value)
        assert "\n" not in str(found.value)
    with pytest.raises(BackendError, match="known:"):
        load(path, thread=1)
