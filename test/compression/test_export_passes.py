# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp compress`` writes files of other runtimes and verifies them by running them there."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.passes.export import base
from ad_compressed_perception.compression.recipe import load_recipe
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.registry import PASSES, find
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import small_recipe, write_images
from support.exported import noise_frames, reference
from support.models import WRITERS, write_detector, write_segmenter
from support.onnx_files import save_model

PACKAGES = {
    "torch": ("torch",),
    "executorch": ("torch", "executorch", "torchao"),
    "litert": ("torch", "ai_edge_litert", "litert_torch", "ai_edge_quantizer"),
}
SUFFIXES = {"torch": ".pt2", "executorch": ".pte", "litert": ".tflite"}
MODULES = {"torch": "torch_program", "executorch": "executorch"}
QUANTIZING = ("executorch", "litert")


def require(runtime: str) -> None:
    """Skip where a package of a runtime is missing."""
    missing = [name for name in PACKAGES[runtime] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 40)


def export_recipe(folder: Path, runtime: str, precision: str = "fp32", **fields: Any) -> Any:
    passes = ["optimize", {f"export_{runtime}": {"precision": precision}}]
    return small_recipe(folder, **{"passes": passes, "backend": runtime, **fields})


@pytest.mark.parametrize("task", ["detection", "planning"])
@pytest.mark.parametrize("runtime", sorted(SUFFIXES))
def test_a_float_file_of_another_runtime_agrees_on_every_frame(
    tmp_path: Path, images: Path, runtime: str, task: str
) -> None:
    require(runtime)
    model = WRITERS[task](tmp_path / "model")

    result = compress_model(
        load_manifest(model), export_recipe(tmp_path / "recipe", runtime), str(images), work=tmp_path / "work"
    )

    stored = load_manifest(result.manifest.folder)
    entry = stored.variant("small")
    assert (entry.backend, entry.file, entry.precision) == (runtime, f"small{SUFFIXES[runtime]}", "fp32")
    assert result.verdict.status == "accepted"
    assert result.verification.agreement.score > 0.999
    pipeline = open_pipeline(stored, "small")
    assert pipeline.session.info.backend == runtime
    pipeline.close()


@pytest.mark.parametrize("runtime", QUANTIZING)
def test_an_int8_detector_keeps_its_scores(tmp_path: Path, images: Path, runtime: str) -> None:
    """Under one scale with boxes of some pixels, scores of 0..1 would keep no more than a few values."""
    require(runtime)
    model = write_detector(tmp_path / "model")

    result = compress_model(
        load_manifest(model), export_recipe(tmp_path / "recipe", runtime, "int8"), str(images),
        work=tmp_path / "work",
    )  # fmt: skip

    stored = load_manifest(result.manifest.folder)
    assert result.verification.agreement.score > 0.9
    session = open_pipeline(stored, "small").session
    (spec,) = session.info.inputs
    output = session.infer({spec.name: np.random.default_rng(0).random(spec.shape).astype(np.float32) * 255})
    scores = output["output"][..., 4:]
    assert len(np.unique(scores)) > 20


@pytest.mark.parametrize("runtime", QUANTIZING)
def test_an_int8_segmenter_runs_on_integers(tmp_path: Path, images: Path, runtime: str) -> None:
    """Its background has a bias of 60 and weights of 0: at their scale the bias takes more than 32 bits."""
    require(runtime)
    model = write_segmenter(tmp_path / "model")
    result = compress_model(
        load_manifest(model), export_recipe(tmp_path / "recipe", runtime, "int8"), str(images),
        work=tmp_path / "work",
    )  # fmt: skip
    assert result.variant.precision == "int8"
    assert result.variant.figures["integer_coverage"] == 1.0
    assert result.verification.agreement.score > 0.9


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_weights_that_the_quantizer_stores_apart_stay_in_the_file(tmp_path: Path, precision: str) -> None:
    """The quantizer writes weights of some size behind the model's table, by their place in the file."""
    require("litert")
    from ad_compressed_perception.compression.passes.export.litert import write_litert

    rng = np.random.default_rng(1)
    weight = numpy_helper.from_array(rng.normal(0, 0.05, (64, 64, 3, 3)).astype(np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    sizes: Any = [1, 64, 12, 12]
    source = save_model(tmp_path / "wide.onnx", nodes, [weight], {"x": sizes}, {"y": sizes})
    frames = noise_frames(4, tuple(sizes))

    write_litert(source, tmp_path / "wide.tflite", precision, frames)  # type: ignore[arg-type]

    expected = reference(source, frames[0])["y"]
    found = create_backend("litert").load(tmp_path / "wide.tflite", {}).infer(frames[0])["y"]
    # fp16 keeps 11 bits of a weight, int8 two steps of 1/255 of a range.
    assert np.abs(found - expected).max() < {"fp16": 1e-3, "int8": 0.03}[precision] * np.abs(expected).max()


@pytest.mark.parametrize("runtime", sorted(SUFFIXES))
def test_a_softmax_over_the_channels_of_a_permuted_tensor(tmp_path: Path, runtime: str) -> None:
    """As converters of TensorFlow models write it; XNNPACK summed over another axis, off by up to 1."""
    require(runtime)
    rng = np.random.default_rng(1)
    weight = numpy_helper.from_array(rng.normal(0, 0.5, (4, 3, 3, 3)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["t"], ["y"], axis=3),
    ]
    shapes: Any = ([1, 3, 8, 12], [1, 8, 12, 4])
    source = save_model(tmp_path / "m.onnx", nodes, [weight], {"x": shapes[0]}, {"y": shapes[1]})
    found = tmp_path / f"m{SUFFIXES[runtime]}"
    name = "torch_program" if runtime == "torch" else runtime
    module = importlib.import_module(f"ad_compressed_perception.compression.passes.export.{name}")

    getattr(module, f"write_{runtime}")(source, found)

    feeds = {"x": rng.normal(0, 3, shapes[0]).astype(np.float32)}
    outputs = create_backend(runtime).load(found, {}).infer(feeds)["y"]
    assert np.abs(outputs - reference(source, feeds)["y"]).max() < 1e-5
    assert np.abs(outputs.sum(axis=3) - 1).max() < 1e-5


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("torch", "fp32"), ("executorch", "fp32"), ("litert", "fp32"), ("litert", "fp16"), ("litert", "int8")],
)
def test_names_that_a_converter_gives_too_are_those_of_the_graph(
    tmp_path: Path, runtime: str, precision: str
) -> None:
    """LiteRT's converter numbers as tf2onnx does. Failed before: inputs and outputs were exchanged."""
    require(runtime)
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "w")
    nodes = [
        helper.make_node("Conv", ["args_1", "w"], ["output_1"], "conv"),
        helper.make_node("Neg", ["args_0"], ["output_0"], "neg"),
    ]
    sizes: Any = [1, 3, 8, 8]
    source = save_model(
        tmp_path / "numbered.onnx", nodes, [weight], {"args_1": sizes, "args_0": sizes},
        {"output_1": sizes, "output_0": sizes},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    frames = [{f"args_{n}": rng.random(sizes).astype(np.float32) for n in (0, 1)} for _ in range(4)]
    step = find(PASSES, f"export_{runtime}", RecipeError)({})
    out = tmp_path / f"numbered{SUFFIXES[runtime]}"

    step.write(read_model(source), out, precision, frames)

    found = create_backend(runtime).load(out, {}).infer(frames[0])
    # Of int8 a step of 1/255 and its rounding; inputs that are exchanged are apart by up to 1.
    np.testing.assert_allclose(found["output_1"], frames[0]["args_1"], atol=0.02)
    np.testing.assert_allclose(found["output_0"], -frames[0]["args_0"], atol=0.02)


@pytest.mark.parametrize("runtime", ["torch", "executorch"])
def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path: Path, runtime: str) -> None:
    """No file may exceed 1000 bytes in that process. Failed before: torch ended it by a signal."""
    require(runtime)
    source = write_segmenter(tmp_path / "model") / "fp32.onnx"
    out = tmp_path / "out" / f"model{SUFFIXES[runtime]}"
    script = f"""
import resource
from pathlib import Path
from ad_compressed_perception.compression.passes.export.{MODULES[runtime]} import write_{runtime}
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_{runtime}(Path({str(source)!r}), Path({str(out)!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert re.search(r"ModelFileError: \w+ cannot write its file: File too large", done.stderr), done.stderr
    assert not list(out.parent.glob("*"))


def test_half_precision_is_what_the_file_computes(tmp_path: Path) -> None:
    require("torch")
    from ad_compressed_perception.compression.passes.export.torch_program import write_torch

    source = write_segmenter(tmp_path / "model") / "fp32.onnx"
    write_torch(source, tmp_path / "half.pt2", "fp16")
    session = create_backend("torch").load(tmp_path / "half.pt2", {})
    assert session.info.precision == "fp16"
    assert {spec.dtype for spec in (*session.info.inputs, *session.info.outputs)} == {"float32"}
    with pytest.raises(RecipeError, match="static_int8_executorch"):
        write_torch(source, tmp_path / "int8.pt2", "int8")


def test_bytes_of_an_image_stay_the_input_and_half_precision_is_refused(tmp_path: Path) -> None:
    require("torch")
    from ad_compressed_perception.compression.passes.export.torch_program import write_torch

    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["f"], ["y"]),
    ]
    path = save_model(tmp_path / "bytes.onnx", nodes, [], {"x": [1, 4]}, {"y": [1, 4]})
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    write_torch(model, tmp_path / "bytes.pt2")
    session = create_backend("torch").load(tmp_path / "bytes.pt2", {})
    found = session.infer({"x": np.array([[0, 1, 200, 255]], np.uint8)})
    assert found["y"].tolist() == [[0.0, 1.0, 200.0, 255.0]]

    weight = numpy_helper.from_array(np.ones(4, np.float16), "w")
    half = save_model(
        tmp_path / "half.onnx", [helper.make_node("Mul", ["x", "w"], ["y"])], [weight], {"x": [1, 4]},
        {"y": [1, 4]}, dtype=TensorProto.FLOAT16,
    )  # fmt: skip
    with pytest.raises(ModelFileError, match="in half precision"):
        write_torch(half, tmp_path / "half.pt2")


def test_an_operator_that_torch_computes_otherwise_is_refused(tmp_path: Path) -> None:
    """Before opset 13 a softmax was over all axes from its own on. Failed before: other numbers."""
    require("torch")
    from ad_compressed_perception.compression.passes.export.torch_program import write_torch

    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=2)]
    sizes: Any = [1, 2, 3, 4]
    old = save_model(tmp_path / "old.onnx", nodes, [], {"x": sizes}, {"y": sizes}, opset=11)
    with pytest.raises(ModelFileError, match="computes 'y' otherwise than ONNX Runtime.*pass optimize"):
        write_torch(old, tmp_path / "old.pt2")
    write_torch(
        save_model(tmp_path / "new.onnx", nodes, [], {"x": sizes}, {"y": sizes}), tmp_path / "new.pt2"
    )


def test_an_operator_without_equivalent_is_named(tmp_path: Path) -> None:
    require("torch")
    from ad_compressed_perception.compression.passes.export.torch_program import write_torch

    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Det", ["y"], ["z"], "determinant"),
    ]
    path = save_model(tmp_path / "det.onnx", nodes, [], {"x": [1, 3, 3]}, {"z": [1]})
    with pytest.raises(ModelFileError, match="Det .*determinant"):
        write_torch(path, tmp_path / "det.pt2")
    open_size = save_model(tmp_path / "open.onnx", nodes[:1], [], {"x": [1, "height", 3]}, {"y": [1, "h", 3]})
    with pytest.raises(ModelFileError, match="sizes that are not fixed"):
        write_torch(open_size, tmp_path / "open.pt2")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"passes": [{"export_torch": {}}, "optimize"]}, "must be the last"),
        ({"backend": "onnxruntime"}, "set backend: torch"),
        ({"store": "packed"}, "packed holds ONNX files only"),
    ],
)
def test_a_recipe_that_runs_the_file_elsewhere_is_refused(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        export_recipe(tmp_path, "torch", **fields)


def test_another_backend_and_missing_packages_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source does not exist: an error that came after opening it would name it."""
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    recipe = load_recipe("static_int8_litert")
    with pytest.raises(RecipeError, match="leave the backend out"):
        compress_model(manifest, recipe, "nowhere", work=tmp_path / "work", backend="openvino")
    monkeypatch.setattr(base, "find_spec", lambda name: None if name == "litert_torch" else object())
    with pytest.raises(RecipeError, match="pip install litert-torch$"):
        compress_model(manifest, recipe, "nowhere", work=tmp_path / "work")
