# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backends report what is executed, agree with each other, and raise errors of one line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ad_compressed_perception.backends import backend_names, create_backend
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.one_line import MAX_CHARACTERS, one_line
from ad_compressed_perception.onnx_graph.denormals import denormal_tensors, flush_denormals
from ad_compressed_perception.onnx_graph.layers import read_onnx
from support.onnx_files import feed, save_model, write_int8, write_two_convolutions

NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra [openvino] is not installed"
)
BOTH = pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=NEEDS_OPENVINO)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    fp32 = write_two_convolutions(folder / "fp32.onnx")
    return {"fp32": fp32, "int8": write_int8(fp32, folder / "int8.onnx")}


def run(backend: str, path: Path, **options: Any) -> np.ndarray:
    return create_backend(backend).load(path, options).infer({"x": feed()})["y"]


@BOTH
@pytest.mark.parametrize(("name", "precision", "coverage"), [("fp32", "fp32", 0.0), ("int8", "int8", 1.0)])
def test_precision_and_coverage_are_those_of_the_executed_graph(
    files: dict[str, Path], backend: str, name: str, precision: str, coverage: float
) -> None:
    session = create_backend(backend).load(files[name], {})

    # Two convolutions: both float in the float file, both integer kernels in the U8S8 one.
    assert (session.info.precision, session.info.integer_coverage) == (precision, coverage)
    assert sum(layer.is_compute for layer in session.layers()) == 2
    assert session.info.threads == 1


@BOTH
def test_outputs_agree_with_the_float_reference(files: dict[str, Path], backend: str) -> None:
    reference = run("onnxruntime", files["fp32"])

    # Same arithmetic in another order of additions; then 8 bits over the tensor's range.
    np.testing.assert_allclose(run(backend, files["fp32"]), reference, atol=1e-4)
    assert np.abs(run(backend, files["int8"]) - reference).max() < 0.05 * np.ptp(reference)


@BOTH
def test_outputs_stay_valid_after_the_next_run(files: dict[str, Path], backend: str) -> None:
    session = create_backend(backend).load(files["fp32"], {})
    first = session.infer({"x": feed(0)})["y"]
    kept = first.copy()

    session.infer({"x": feed(1)})

    np.testing.assert_array_equal(first, kept)


@BOTH
@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"z": feed()},
        {"x": feed(), "z": feed()},
        {"x": feed().astype(np.float64)},
        {"x": feed()[:, :2]},
        {"x": feed()[0]},
    ],
    ids=["none", "other name", "one too many", "float64", "channels", "rank"],
)
def test_wrong_feeds_are_refused(files: dict[str, Path], backend: str, feeds: dict[str, Any]) -> None:
    session = create_backend(backend).load(files["fp32"], {})

    # OpenVINO by itself would cast float64 and reuse the last input where one is missing.
    with pytest.raises(BackendError, match="given"):
        session.infer(feeds)


@BOTH
def test_dynamic_batch_is_reported_and_runs(tmp_path: Path, backend: str) -> None:
    path = write_two_convolutions(tmp_path / "dynamic.onnx", batch="n")

    session = create_backend(backend).load(path, {})

    assert session.info.inputs[0].shape == (None, 3, 16, 16)
    assert session.infer({"x": np.repeat(feed(), 2, axis=0)})["y"].shape == (2, 4, 16, 16)


def _not_onnx(path: Path) -> None:
    path.write_bytes(b"this is no model " * 50)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut_short(path: Path) -> None:
    write_two_convolutions(path)
    path.write_bytes(path.read_bytes()[:-300])


def _unknown_operator(path: Path) -> None:
    save_model(path, [helper.make_node("Nonsense", ["x"], ["y"])], [], {"x": [1, 3]}, {"y": [1, 3]})


def _missing(path: Path) -> None:
    assert not path.exists()


@BOTH
@pytest.mark.parametrize("make", [_not_onnx, _empty, _cut_short, _unknown_operator, _missing])
def test_bad_files_give_one_line_that_names_them(
    tmp_path: Path, backend: str, make: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.onnx"
    make(path)

    with pytest.raises(BackendError) as caught:
        create_backend(backend).load(path, {})

    assert "bad.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_an_opset_of_the_future_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save_model(tmp_path / "new.onnx", [node], [], {"x": [1, 3]}, {"y": [1, 3]}, opset=99)

    with pytest.raises(BackendError, match="opset 99, this runtime knows opsets up to"):
        create_backend("onnxruntime").load(path, {})


@BOTH
@pytest.mark.parametrize(
    ("options", "named"),
    [({"thread": 1}, "thread"), ({"provider": "abacus"}, "abacus|pattern|cpu"), ({"threads": -1}, "threads")],
)
def test_unknown_options_and_values_are_named(
    files: dict[str, Path], backend: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(BackendError, match=named) as caught:
        create_backend(backend).load(files["fp32"], options)
    assert "known:" in str(caught.value)


def test_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendError, match="abacus.*onnxruntime"):
        create_backend("abacus")
    assert {"onnxruntime", "openvino"} <= set(backend_names())


def test_a_provider_the_build_lacks_is_recorded_or_refused(files: dict[str, Path]) -> None:
    backend = create_backend("onnxruntime")
    if "CUDAExecutionProvider" in backend.status().providers:
        pytest.skip("this build of ONNX Runtime has CUDA")

    info = backend.load(files["fp32"], {"provider": "cuda"}).info

    assert (info.requested_provider, info.provider) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    with pytest.raises(BackendError, match="strict.*CPUExecutionProvider"):
        backend.load(files["fp32"], {"provider": "cuda", "strict": True})


@NEEDS_OPENVINO
def test_openvino_strict_refuses_another_device_or_precision(files: dict[str, Path]) -> None:
    backend = create_backend("openvino")

    # The float file has nothing quantized, so int8 cannot be what runs; the other way round alike.
    with pytest.raises(BackendError, match="int8.*run in fp32"):
        backend.load(files["fp32"], {"precision": "int8", "strict": True})
    with pytest.raises(BackendError, match="fp32.*run in int8"):
        backend.load(files["int8"], {"precision": "fp32", "strict": True})
    assert backend.load(files["int8"], {"precision": "int8", "strict": True}).info.precision == "int8"
    if "NPU" not in backend.status().providers:
        assert backend.load(files["fp32"], {"device": "NPU"}).info.provider == "CPU"
        with pytest.raises(BackendError, match="available: .*CPU"):
            backend.load(files["fp32"], {"device": "NPU", "strict": True})


@NEEDS_OPENVINO
def test_openvino_never_changes_to_bf16_unasked(files: dict[str, Path]) -> None:
    import openvino

    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    backend = create_backend("openvino")

    assert backend.load(files["fp32"], {}).info.precision == "fp32"
    # Where the processor lacks it, the executed precision is reported, not the requested one.
    asked = backend.load(files["fp32"], {"precision": "bf16"}).info.precision
    assert asked == ("bf16" if has_bf16 else "fp32")


def test_half_precision_weights_are_seen_as_executed(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT16, [4, 4], np.eye(4, dtype=np.float16).ravel())
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    path = save_model(
        tmp_path / "half.onnx", [node], [weight], {"x": [2, 4]}, {"y": [2, 4]}, dtype=TensorProto.FLOAT16
    )

    info = create_backend("onnxruntime").load(path, {}).info

    # Whether the CPU has a half-precision kernel or casts to float depends on the build.
    assert info.precision in ("fp16", "fp32")
    assert info.integer_coverage == 0.0
    assert info.inputs[0].dtype == "float16"


def test_without_compute_layers_there_is_no_coverage(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save_model(tmp_path / "relu.onnx", [node], [], {"x": [1, 3]}, {"y": [1, 3]})
    assert create_backend("onnxruntime").load(path, {}).info.integer_coverage is None


def test_flushing_denormal_weights_changes_no_output(tmp_path: Path) -> None:
    path = write_two_convolutions(tmp_path / "denormal.onnx", denormals=50)

    model = read_onnx(path)
    assert (flush_denormals(model), list(denormal_tensors(model))) == (50, [])

    flushed = run("onnxruntime", path, flush_denormals=True)

    # 27 products of 1e-40 and a pixel of 0..1 vanish beside a bias of 0.1 in 24 bits.
    np.testing.assert_array_equal(flushed, run("onnxruntime", path, flush_denormals=False))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["pulp_dronet_v2", "road_segmentation_adas_0001", "yolox_nano"])
def test_flushing_denormal_weights_changes_nothing_on_a_real_drive(shared_dir: Path, name: str) -> None:
    from ad_compressed_perception.core.manifest import load_manifest
    from ad_compressed_perception.data.frames import open_frames
    from ad_compressed_perception.tasks.pipeline import open_pipeline

    folder = Path(__file__).resolve().parents[2] / "config" / "reference_models" / name
    manifest = load_manifest(folder)
    frames = open_frames(str(shared_dir / "bags" / "udacity_ch2_20s"), limit=3, stride=100)
    unchanged = open_pipeline(manifest, options={"flush_denormals": False})
    flushed = open_pipeline(manifest, options={"flush_denormals": True})

    for frame in frames:
        feeds, _ = unchanged.task.prepare(frame)
        expected, actual = unchanged.session.infer(feeds), flushed.session.infer(feeds)
        for output, values in expected.items():
            np.testing.assert_array_equal(actual[output], values)


def test_long_runtime_messages_become_one_short_line() -> None:
    text = (
        "Exception from src/inference/src/cpp/core.cpp:132:\n"
        "Check 'false' failed at src/frontends/common.cpp:151:\nNo conversion rule\n" + "x" * 900
    )
    line = one_line(text)
    assert line.startswith("No conversion rule")
    assert len(line) == MAX_CHARACTERS
    assert "\n" not in line


_SWAP_THEN_INTERRUPT = """
import os, signal, sys
from pathlib import Path
from ad_compressed_perception.backends import create_backend

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background

backend, path = create_backend("openvino"), Path(sys.argv[1])
first = backend.load(path, {})
for _ in range(3):  # a node's hot swap: the next one loads before the last one is closed
    second = backend.load(path, {})
    first.close()
    first = second
first.close()
del first, second
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@NEEDS_OPENVINO
def test_ctrl_c_after_swapped_sessions_is_an_interrupt_and_no_crash(files: dict[str, Path]) -> None:
    """Every openvino.Core sets a signal stack; of overlapping ones the last leaves one that is unmapped."""
    script = [sys.executable, "-c", _SWAP_THEN_INTERRUPT, str(files["fp32"])]
    result = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "interrupted"), result.stderr


@BOTH
def test_a_subclass_with_its_own_load_is_asked_for_checked_loads_too(backend: str) -> None:
    """Failed before: nodes, which load by sha256, passed over the load of a third party's backend."""
    calls: list[Path] = []

    class Own(type(create_backend(backend))):  # type: ignore[misc]
        def load(self, model: Path, options: Any) -> Any:
            calls.append(model)
            return "a session"

    assert Own().load_checked(Path("model"), {}, "0" * 64) == "a session"
    assert calls == [Path("model")]
