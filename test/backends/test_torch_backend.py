# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Programs of torch.export and TorchScript compute what ONNX Runtime computes, and run no code of a file."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import AdcpError, BackendError, ModelFileError
from ad_compressed_perception.core.model_files import file_sha256
from support.exported import noise_frames, reference, two_convolutions, write_through

torch = pytest.importorskip("torch", reason="the extra [train] is not installed")


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_convolutions(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def programs(onnx_file: Path) -> dict[str, Path]:
    """Return the network as .pt2 and as .pt."""
    from ad_compressed_perception.compression.passes.export.torch_program import write_torch

    paths = {suffix: onnx_file.with_suffix(suffix) for suffix in (".pt2", ".pt")}
    for path in paths.values():
        write_torch(onnx_file, path)
    return paths


def load(path: Path, **options: Any) -> Any:
    return create_backend("torch").load(path, options)


@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_a_program_computes_as_onnxruntime_under_the_same_names(
    onnx_file: Path, programs: dict[str, Path], suffix: str
) -> None:
    (feeds,) = noise_frames(1)
    expected = reference(onnx_file, feeds)

    session = load(programs[suffix], threads=2)
    found = session.infer(feeds)

    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)
    info = session.info
    assert (info.provider, info.precision, info.threads, info.integer_coverage) == ("CPU", "fp32", 2, 0.0)
    assert [layer.is_compute for layer in session.layers()].count(True) == 2
    assert info.inputs[0].shape == (1, 3, 16, 16)
    assert info.outputs[0].shape == next(iter(expected.values())).shape
    session.close()


@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_autocast_lowers_the_precision_that_is_reported(programs: dict[str, Path], suffix: str) -> None:
    """bfloat16 has 8 bits of mantissa: results differ, by about 2^-8 of the largest value."""
    (feeds,) = noise_frames(1)
    exact = next(iter(load(programs[suffix]).infer(feeds).values()))

    session = load(programs[suffix], precision="bf16")
    rounded = next(iter(session.infer(feeds).values()))

    assert session.info.precision == "bf16"
    assert rounded.dtype == np.float32
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 2e-2


def test_threads_of_other_code_in_the_process_stay_as_they_were(programs: dict[str, Path]) -> None:
    before = torch.get_num_threads()
    session = load(programs[".pt2"], threads=before + 1)
    session.infer(noise_frames(1)[0])
    assert torch.get_num_threads() == before


def test_an_output_is_not_the_memory_of_an_input(tmp_path: Path) -> None:
    from ad_compressed_perception.compression.passes.export.torch_program import write_torch

    write_torch(write_through(tmp_path / "through.onnx"), tmp_path / "through.pt2")
    session = load(tmp_path / "through.pt2")
    feeds = {"x": np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)}
    found = session.infer(feeds)
    feeds["x"][:] = 9.0
    assert found["same"].tolist() == [[1.0, -2.0, 3.0, -4.0]]
    assert found["positive"].tolist() == [[1.0, 0.0, 3.0, 0.0]]


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_program_that_changes_its_input_in_place_does_not_change_the_frame(
    tmp_path: Path, suffix: str
) -> None:
    """Standby and shadow read the same array. Failed before: it was scaled anew by each run."""
    import torch

    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.div_(2.0)
            return x + 1.0

    path, example = tmp_path / f"scaled{suffix}", torch.ones(1, 4)
    if suffix == ".pt":
        torch.jit.save(torch.jit.trace(Scaled(), example.clone()), str(path))
    else:
        torch.export.save(torch.export.export(Scaled(), (example.clone(),)), str(path))
    options = {"input_shape": [1, 4]} if suffix == ".pt" else {}
    session = create_backend("torch").load(path, options)
    (name,) = (spec.name for spec in session.info.inputs)
    frame = np.full((1, 4), 8.0, np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(session.infer({name: frame})["output_0"], np.full((1, 4), 5.0))
    assert (frame == 8.0).all()


def test_a_device_that_is_not_there_is_refused_with_the_reason(programs: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        session = load(programs[".pt2"], device="cuda")
        assert session.info.provider == "CUDA:0"
        return
    with pytest.raises(BackendError, match="use device: cpu"):
        load(programs[".pt2"], device="cuda")
    with pytest.raises(BackendError, match="device"):
        load(programs[".pt2"], device="tpu")


@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_wrong_feeds_files_and_hashes_raise_one_line(
    programs: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    path, backend = programs[suffix], create_backend("torch")
    session = load(path)
    with pytest.raises(BackendError, match=r"needs float32\[1, 3, 16, 16\]"):
        session.infer({"x": np.zeros((1, 3, 8, 16), np.float32)})
    with pytest.raises(BackendError, match="sha256"):
        backend.load_checked(path, {}, "0" * 64)
    backend.load_checked(path, {}, file_sha256(path)).close()
    whole = path.read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("none", b""), ("text", b"no program" * 99)):
        wrong = tmp_path / f"{name}{suffix}"
        wrong.write_bytes(content)
        with pytest.raises(AdcpError) as found:
            load(wrong)
        assert str(wrong) in str(found.value)
        assert "\n" not in str(found.value)
    with pytest.raises(BackendError, match="known:"):
        load(path, thread=1)


class _Payload:
    """What a pickle runs when it is read without restriction."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_file_of_python_objects_is_not_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save(_Payload(mark), tmp_path / "objects.pt")
    with pytest.raises(BackendError, match="not unpickled|no TorchScript"):
        load(tmp_path / "objects.pt")
    assert not mark.exists()


def _rewritten(source: Path, target: Path, change: Any, *, twice: str = "") -> Path:
    """Copy an archive; ``change`` takes a member's name below the folder and its bytes, and returns bytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if twice and name.endswith(twice):
                new.writestr(name.upper(), content)
            new.writestr(name, content)
    return target


def test_a_program_that_holds_code_is_not_loaded(programs: dict[str, Path], tmp_path: Path) -> None:
    """Four ways by which torch.export.load runs what a file says."""
    mark = tmp_path / "ran"
    pickled = io.BytesIO()
    torch.save(_Payload(mark), pickled)

    def example(name: str, content: bytes) -> bytes:
        return pickled.getvalue() if "sample_inputs" in name else content

    def operator(name: str, content: bytes) -> bytes:
        if not name.startswith("models/"):
            return content
        return content.replace(b"torch.ops.aten.relu.default", b"torch.os.mkdir")

    def weight(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        config = json.loads(content)
        for entry in config["config"].values():
            entry["use_pickle"] = True
        return json.dumps(config).encode()

    def same(name: str, content: bytes) -> bytes:
        return content

    source = programs[".pt2"]
    cases = {
        "more than tensors": _rewritten(source, tmp_path / "example.pt2", example),
        "unknown operator 'torch.os.mkdir'": _rewritten(source, tmp_path / "operator.pt2", operator),
        "pickled weight": _rewritten(source, tmp_path / "weight.pt2", weight),
        "several members": _rewritten(source, tmp_path / "twice.pt2", same, twice="model.json"),
    }
    for reason, path in cases.items():
        with pytest.raises(ModelFileError, match=reason):
            load(path)
    assert not mark.exists()
    load(_rewritten(source, tmp_path / "same.pt2", same)).close()  # rewriting alone refuses nothing


def test_a_program_of_another_origin_has_numbered_names(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU())
    x = torch.randn(1, 3, 8, 8)
    torch.export.save(torch.export.export(module, (x,)), str(tmp_path / "own.pt2"))
    torch.jit.save(torch.jit.script(module), str(tmp_path / "own.pt"))

    session = load(tmp_path / "own.pt2")
    (name,) = (spec.name for spec in session.info.inputs)
    expected = module(x).detach().numpy()
    np.testing.assert_allclose(session.infer({name: x.numpy()})["output_0"], expected, atol=1e-6)

    with pytest.raises(BackendError, match="input_shape"):
        load(tmp_path / "own.pt")
    script = load(tmp_path / "own.pt", input_shape=[1, 3, 8, 8])
    np.testing.assert_allclose(script.infer({"input_0": x.numpy()})["output_0"], expected, atol=1e-6)
