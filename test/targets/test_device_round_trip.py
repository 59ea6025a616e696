# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model goes to a device and its outputs come back: ONNX Runtime and OpenVINO are the device here.

The script runs in a process that cannot import this package. The segmenter labels a pixel by its strongest
color, so it agrees with itself in 8 bits, and with swapped channels on nothing that matters.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper
from typer.testing import CliRunner

from ad_compressed_perception.cli import export as export_verb
from ad_compressed_perception.cli import verdict as verdict_verb
from ad_compressed_perception.core.errors import DataError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256, load_manifest
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.tail_cut import cut_before
from ad_compressed_perception.targets.device_verdict import behind_tail, judge_outputs
from ad_compressed_perception.targets.export import ExportRequest, export_model
from ad_compressed_perception.targets.outputs import read_device_run
from ad_compressed_perception.targets.rule_file import load_target
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import write_images, write_recipe
from support.device import copy_of, run_on_device, spoil, write_trtexec
from support.models import write_segmenter

app = typer.Typer()
app.command("export")(export_verb.export)
app.command("verdict")(verdict_verb.verdict)
FRAMES = 24


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a folder for a target with the device's outputs, made once."""
    root = tmp_path_factory.mktemp("device")
    write_segmenter(root / "model")
    images = write_images(root / "images", 40)
    recipe = write_recipe(root / "recipe.yaml", accept={"max_drop": 0.1, "min_speedup": 9.0})
    made: dict[str, Path] = {}

    def give(target: str) -> Path:
        if target not in made:
            folder = root / target
            export_model(
                load_manifest(root / "model"),
                load_target(target),
                ExportRequest(str(images), recipe=str(recipe)),
                folder,
            )
            done = run_on_device(folder)
            assert done.returncode == 0, done.stderr
            made[target] = folder
        return made[target]

    return give


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_outputs_of_a_right_device_are_accepted_with_the_report_of_compress(
    exported: Callable[[str], Path], target: str
) -> None:
    pytest.importorskip(target)
    folder = exported(target)

    report = judge_outputs(folder).report

    assert report.gate.verdict.status == "accepted", report.gate.verdict.reasons
    assert report.schema_name() == "adcp-compression/1"
    assert report.agreement.frames == FRAMES
    assert report.agreement.score == 1.0  # whole numbers below 256: 8 bits change no label
    # Speed-ups between two machines say nothing; the recipe's term of 9x must neither reject nor accept.
    assert report.latency.infer.baseline_p50_ms is None
    assert not report.latency.infer.speedup_p50.is_known
    assert (report.latency.infer.variant_p50_ms or 0.0) > 0.0
    assert "min_speedup" not in report.gate.terms
    assert report.variant.precision == "unknown"  # the file is int8; what the device made of it is not seen
    assert (folder / "verdict" / "report.md").is_file()


def test_the_folder_has_what_a_vendor_takes(exported: Callable[[str], Path]) -> None:
    folder = exported("onnxruntime")
    model = onnx.load(str(folder / "model.onnx"))

    shape = [one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim]
    tensors = sorted((folder / "calibration" / "tensors").glob("*.npy"))

    assert shape == [1, 3, 48, 64]
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    assert len(tensors) == len(list((folder / "calibration" / "images").glob("*.png"))) == 8
    assert np.load(tensors[0]).shape == (1, 3, 48, 64)
    assert "python run_on_device.py" in (folder / "README.md").read_text()


SPOILED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "swapped channels": lambda a: a[:, ::-1].copy(),
    "noise": lambda a: np.random.default_rng(1).normal(0.0, 100.0, a.shape).astype(a.dtype),
    "NaN": lambda a: np.full_like(a, np.nan),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_spoiled_outputs_are_rejected(exported: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    folder = copy_of(exported("onnxruntime"), tmp_path / "spoiled")
    spoil(folder, SPOILED[kind])

    found = CliRunner().invoke(app, ["verdict", "--outputs", str(folder)])

    assert found.exit_code == 3, found.output
    assert "rejected" in found.output


def drop_half(folder: Path, index: dict[str, list[dict[str, str]]]) -> None:
    del index["frames"][::2]


def same_frame_twice(folder: Path, index: dict[str, list[dict[str, str]]]) -> None:
    index["frames"].append(index["frames"][0])


def other_model(folder: Path, index: dict[str, object]) -> None:
    index["model_sha256"] = "0" * 64


def earlier_export(folder: Path, index: dict[str, object]) -> None:
    index["export_id"] = "0" * 64


def other_input(folder: Path, index: dict[str, list[dict[str, str]]]) -> None:
    index["frames"][3]["input_sha256"] = "0" * 64


def file_gone(folder: Path, index: dict[str, list[dict[str, str]]]) -> None:
    (folder / "outputs" / index["frames"][2]["file"]).unlink()


def file_of_another_frame(folder: Path, index: dict[str, list[dict[str, str]]]) -> None:
    shutil.copy(*(folder / "outputs" / index["frames"][place]["file"] for place in (1, 2)))


def truncated(folder: Path, index: dict[str, list[dict[str, str]]]) -> None:
    path = folder / "outputs" / index["frames"][0]["file"]
    path.write_bytes(path.read_bytes()[:200])
    index["frames"][0]["sha256"] = file_sha256(path)


def other_shape(folder: Path, index: dict[str, list[dict[str, str]]]) -> None:
    path = folder / "outputs" / index["frames"][0]["file"]
    np.savez(path, np.zeros((1, 4, 7, 7), np.float32))
    index["frames"][0]["sha256"] = file_sha256(path)


def changed_reference(folder: Path, index: object) -> None:
    path = next((folder / "expected").glob("*.npz"))
    np.savez(path, np.zeros((1, 4, 48, 64), np.float32))


def changed_model(folder: Path, index: object) -> None:
    (folder / "model.onnx").write_bytes(b"another")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (drop_half, "12 of 24 frames, missing: "),
        (same_frame_twice, "given twice"),
        (other_model, "of another model"),
        (earlier_export, "of an earlier export"),
        (other_input, "ran another input for frame 1"),
        (file_gone, "outputs of frame 1200000000 are missing"),
        (file_of_another_frame, "is not the file that index.json names"),
        (truncated, "damaged"),
        (other_shape, "the model gives"),
        (changed_reference, "was changed since it was exported"),
        (changed_model, "was changed since it was exported"),
    ],
)
def test_outputs_that_do_not_belong_are_refused_by_name(
    exported: Callable[[str], Path], change: Callable[..., None], text: str, tmp_path: Path
) -> None:
    folder = copy_of(exported("onnxruntime"), tmp_path / "spoiled")
    path = folder / "outputs" / "index.json"
    index = json.loads(path.read_text())
    change(folder, index)
    path.write_text(json.dumps(index))

    with pytest.raises(DataError, match=text) as caught:
        judge_outputs(folder)

    assert "\n" not in str(caught.value)


def test_a_folder_without_outputs_says_what_to_run(exported: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy_of(exported("onnxruntime"), tmp_path / "fresh")
    shutil.rmtree(folder / "outputs")

    with pytest.raises(DataError, match=r"run run_on_device\.py"):
        judge_outputs(folder)


def test_outputs_equal_to_the_reference_to_the_last_bit_are_remarked(
    exported: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copy_of(exported("onnxruntime"), tmp_path / "copied")
    path = folder / "outputs" / "index.json"
    index = json.loads(path.read_text())
    for frame in index["frames"]:  # what a lazy device would send back
        shutil.copy(folder / "expected" / f"{frame['name']}.npz", folder / "outputs" / frame["file"])
        frame["sha256"] = file_sha256(folder / "outputs" / frame["file"])
    path.write_text(json.dumps(index))

    notes = judge_outputs(folder).report.notes

    assert any("bit for bit" in note for note in notes)


def test_a_plan_is_built_once_and_again_where_the_model_is_another(tmp_path: Path) -> None:
    """TensorRT itself is a stand-in here: what is shown is which commands run, and that outputs come back."""
    write_segmenter(tmp_path / "model")
    images = write_images(tmp_path / "images", 40)
    recipe = write_recipe(tmp_path / "recipe.yaml")
    folder = tmp_path / "trt"
    request = ExportRequest(str(images), recipe=str(recipe))
    export_model(load_manifest(tmp_path / "model"), load_target("tensorrt10"), request, folder)
    tool = write_trtexec(tmp_path / "bin")
    job = json.loads((folder / "job.json").read_text())
    job["frames"] = job["frames"][:1]  # one process for each frame
    (folder / "job.json").write_text(json.dumps(job))
    path = f"{tool.parent}:{os.environ['PATH']}"

    assert run_on_device(folder, path).returncode == 0
    assert run_on_device(folder, path).returncode == 0
    (folder / "model.source").write_text("0" * 64)  # a plan of another model.onnx
    assert run_on_device(folder, path).returncode == 0

    assert (folder / "calls.txt").read_text().split() == ["build", "run", "run", "build", "run"]
    with pytest.raises(DataError, match="1 of 24 frames"):
        judge_outputs(folder)


def nms_model() -> onnx.ModelProto:
    """Return boxes and scores of a convolution, then suppression and a gather."""
    weights = {
        "w": np.random.default_rng(0).normal(0, 0.5, (5, 3, 1, 1)).astype(np.float32),
        "most": np.array([5], np.int64),
        "iou": np.array([0.5], np.float32),
        "split": np.array([4, 1], np.int64),
        "rows": np.array([1, 4, -1], np.int64),
        "one": np.array([1, 1, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Split", ["c", "split"], ["b", "s"], "split_node", axis=1),
        helper.make_node("Reshape", ["b", "rows"], ["b2"], "flat_boxes"),
        helper.make_node("Transpose", ["b2"], ["boxes"], "boxes_last", perm=[0, 2, 1]),
        helper.make_node("Reshape", ["s", "one"], ["scores"], "flat_scores"),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["kept"], "nms"),
        helper.make_node("Sigmoid", ["scores"], ["p"], "probability"),
    ]
    graph = helper.make_graph(
        nodes,
        "nms",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [
            helper.make_tensor_value_info("kept", TensorProto.INT64, ["n", 3]),
            helper.make_tensor_value_info("p", TensorProto.FLOAT, [1, 1, 16]),
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_model_cut_before_its_suppression_gives_with_its_rest_what_it_gave() -> None:
    model = nms_model()
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 3, 4, 4)).astype(np.float32)}

    head, rest, cut = cut_before(model, ["NonMaxSuppression"])

    assert cut == ["NonMaxSuppression 'nms'"]
    assert rest is not None
    assert [one.name for one in head.graph.output] == ["boxes", "scores", "p"]
    assert {node.op_type for node in rest.graph.node} == {"NonMaxSuppression"}
    first = run_model(head, feeds)
    second = run_model(rest, {one.name: first[one.name] for one in rest.graph.input})
    whole = run_model(model, feeds)
    np.testing.assert_array_equal(second["kept"], whole["kept"])
    np.testing.assert_array_equal(first["p"], whole["p"])


def test_the_pc_computes_what_was_cut_off_of_the_device_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(nms_model(), str(folder / "fp32.onnx"))
    manifest = Manifest(
        name="boxes",
        task="raw",
        input={"width": 4, "height": 4, "scale": 1 / 255},
        baseline="fp32",
        variants={"fp32": Variant(file="fp32.onnx", sha256=file_sha256(folder / "fp32.onnx"))},
    )
    save_manifest(manifest, folder)
    request = ExportRequest(
        str(write_images(tmp_path / "images", 40)),
        precision="fp32",
        recipe=str(write_recipe(tmp_path / "recipe.yaml")),
    )
    out = tmp_path / "out"

    document = export_model(load_manifest(folder), load_target("onnxruntime"), request, out)
    assert run_on_device(out).returncode == 0
    run = read_device_run(out)
    finished = behind_tail(out, run)

    assert document.cut_nodes == ["NonMaxSuppression 'nms'"]
    assert "kept" not in run.outputs[0]
    for one, expected in zip(finished, run.expected, strict=True):
        np.testing.assert_array_equal(one["kept"], expected["kept"])
    assert judge_outputs(out).report.agreement.frames == FRAMES


def test_a_model_of_suppression_alone_cannot_be_cut() -> None:
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["kept"], "nms")
    graph = helper.make_graph(
        [node],
        "nms",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 4, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, 4]),
        ],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    with pytest.raises(ModelFileError, match="nothing is computed before"):
        cut_before(model, ["NonMaxSuppression"])
