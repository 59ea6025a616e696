# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Each framework's models are imported; what cannot be imported is refused before anything is executed."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from ad_compressed_perception.cli.import_model import read_labels
from ad_compressed_perception.cli.main import app
from ad_compressed_perception.core.errors import AdcpError, ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.frameworks import framework_of
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import write_images
from support.models import write_detector, write_planner, write_segmenter

LABELS = ["background", "blue", "green", "red"]


def label_of(folder: Path, bgr: tuple[int, int, int]) -> str:
    """Return the label that an imported segmenter assigns to an image of one color."""
    manifest = load_manifest(folder)
    pipeline = open_pipeline(manifest)
    image = np.full((manifest.input.height, manifest.input.width, 3), bgr, np.uint8)
    result, _ = pipeline.run(Frame(image, "BGR"))
    pipeline.close()
    ids = np.bincount(result.label_ids.reshape(-1))  # type: ignore[union-attr]
    return manifest.labels[int(ids.argmax())]


def test_an_onnx_file_needs_few_options(tmp_path: Path) -> None:
    """Size, layout and the axis of the scores come from the file; color order from the user."""
    source = write_segmenter(tmp_path / "given") / "fp32.onnx"
    imported = import_model(
        source,
        tmp_path / "made",
        ImportRequest("segmentation", name="seg", labels=LABELS, input={"color": "BGR"}),
    )
    spec = imported.manifest.input
    assert (spec.width, spec.height, spec.layout, spec.name) == (64, 48, "NCHW", "image")
    assert imported.manifest.output.options == {"layout": "NCHW"}
    assert label_of(tmp_path / "made", (200, 0, 0)) == "blue"
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["fp32.onnx", "model.yaml"]


@pytest.mark.parametrize(("scale", "warned"), [("1", False), ("0.00001", True)])
def test_a_model_that_says_nothing_on_real_frames_is_imported_with_a_warning(
    tmp_path: Path, scale: str, warned: bool
) -> None:
    """Failed before: a detector with a forgotten or doubled scale was imported without a word."""
    source = write_detector(tmp_path / "given") / "fp32.onnx"
    frames = write_images(tmp_path / "images", 8)
    arguments = ["import", str(source), str(tmp_path / "made"), "--task", "detection", "--labels"]
    arguments += ["car,person,sign", "--decoder-option", "strides=[8, 16, 32]", "--input-color", "BGR"]
    done = CliRunner().invoke(app, [*arguments, "--input-scale", scale, "--sample", str(frames)])
    assert done.exit_code == 0, done.output
    assert ("none of 8 frames has an object" in done.output) is warned


def test_the_command_writes_the_manifest_it_prints(tmp_path: Path) -> None:
    source = write_detector(tmp_path / "given") / "fp32.onnx"
    labels = tmp_path / "labels.txt"
    labels.write_text("car\nperson\nsign\n")
    arguments = ["import", str(source), str(tmp_path / "made"), "--task", "detection", "--json"]
    arguments += ["--labels", str(labels), "--input-resize", "letterbox", "--input-color", "BGR"]
    done = CliRunner().invoke(app, [*arguments, "--decoder-option", "strides=[8, 16, 32]"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["kind"] == "onnx"
    manifest = load_manifest(tmp_path / "made")
    assert manifest.labels == ["car", "person", "sign"]
    assert manifest.input.resize == "letterbox"
    assert manifest.output.options["strides"] == [8, 16, 32]


def test_a_planner_needs_no_labels(tmp_path: Path) -> None:
    source = write_planner(tmp_path / "given") / "fp32.onnx"
    import_request = ImportRequest(
        "planning", decoder_options={"steering_output": "steering"}, input={"scale": 1 / 255}
    )
    imported = import_model(source, tmp_path / "made", import_request)
    assert imported.manifest.input.color == "GRAY", "one channel"
    assert imported.manifest.name == "fp32", "the file's name where none is given"


def test_an_output_name_that_is_a_number_stays_text(tmp_path: Path) -> None:
    """Exporters number tensors; YAML, in a manifest as on the command line, reads 86 as a number."""
    model = onnx.load(str(write_planner(tmp_path / "given") / "fp32.onnx"))
    for node in model.graph.node:
        node.output[:] = ["86" if name == "steering" else name for name in node.output]
        node.input[:] = ["86" if name == "steering" else name for name in node.input]
    for output in model.graph.output:
        output.name = "86" if output.name == "steering" else output.name
    onnx.save(model, str(tmp_path / "net.onnx"))
    arguments = ["import", str(tmp_path / "net.onnx"), str(tmp_path / "made"), "--task", "planning"]
    arguments += ["--input-scale", "0.00392157"]

    done = CliRunner().invoke(app, [*arguments, "--decoder-option", "steering_output=86"])

    assert done.exit_code == 0, done.output
    assert load_manifest(tmp_path / "made").output.options == {"steering_output": "86"}


def test_dynamic_sizes_are_required_as_options_and_pinned(tmp_path: Path) -> None:
    model = onnx.load(str(write_segmenter(tmp_path / "given") / "fp32.onnx"))
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis, name in ((0, "n"), (2, "h"), (3, "w")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    source = tmp_path / "open.onnx"
    onnx.save(model, str(source))
    with pytest.raises(ModelFileError, match="give its width and height"):
        import_model(source, tmp_path / "made", ImportRequest("segmentation", labels=LABELS))
    sizes = {"width": 32, "height": 24}
    import_model(source, tmp_path / "made", ImportRequest("segmentation", labels=LABELS, input=sizes))
    pinned = onnx.load(str(tmp_path / "made" / "fp32.onnx")).graph.input[0].type.tensor_type.shape
    assert [dimension.dim_value for dimension in pinned.dim] == [1, 3, 24, 32]


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


class Bomb:
    """Raises SystemExit when unpickled, which shows that nothing unpickles it."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("form", ["bare", "archive", "exported"])
def test_pickles_are_refused_without_loading(tmp_path: Path, form: str) -> None:
    bomb = pickle.dumps(Bomb())
    source = tmp_path / "model.pt"
    if form == "bare":
        source.write_bytes(bomb)
    elif form == "archive":
        archive(source, {"model/data.pkl": bomb, "model/version": b"3"})
    else:
        config = {"config": {"w": {"path_name": "weight_0", "use_pickle": True}}}
        members = {"m/archive_format": b"pt2", "m/models/model.json": b"{}"}
        members["m/data/weights/model_weights_config.json"] = json.dumps(config).encode()
        archive(source, {**members, "m/data/weights/weight_0": bomb})
    with pytest.raises(ModelFileError, match="can execute arbitrary code"):
        import_model(source, tmp_path / "made", ImportRequest("planning"))
    assert not (tmp_path / "made").exists()


def test_hdf5_and_unknown_files_are_refused_with_an_alternative(tmp_path: Path) -> None:
    cases = {
        "a.h5": (b"\x89HDF\r\n\x1a\n", r"model\.save\('model\.keras'\)"),
        "a.txt": (b"hello, this is text", "not a model of a known format"),
        "a.pt": (b"PK\x03\x04 cut short", "damaged or truncated"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            framework_of(tmp_path / name)
    with pytest.raises(ModelFileError, match="SavedModel"):
        framework_of(tmp_path)
    with pytest.raises(ModelFileError, match="cannot read"):
        framework_of(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("import_request", "message"),
    [
        (ImportRequest("segmentation", labels=["a", "b"]), "2 labels"),
        (ImportRequest("segmentation", labels=LABELS, decoder="yolox"), "not for task"),
        (ImportRequest("segmentation", labels=LABELS, input={"layout": "NHWC"}), "input|GRAY|channels"),
        (ImportRequest("segmentation", labels=LABELS, input={"mean": [1.0, 2.0]}), "mean"),
        (ImportRequest("segmentation", labels=LABELS, name="a/b"), "name"),
    ],
)
def test_a_contradictory_request_leaves_no_files(
    tmp_path: Path, import_request: ImportRequest, message: str
) -> None:
    source = write_segmenter(tmp_path / "given") / "fp32.onnx"
    with pytest.raises(AdcpError, match=message):
        import_model(source, tmp_path / "made", import_request)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_an_existing_model_is_not_overwritten(tmp_path: Path) -> None:
    source = write_segmenter(tmp_path / "given") / "fp32.onnx"
    with pytest.raises(ManifestError, match="already"):
        import_model(source, tmp_path / "given", ImportRequest("segmentation", labels=LABELS))


@pytest.mark.parametrize("form", ["torchscript", "exported_program"])
def test_a_pytorch_model(tmp_path: Path, form: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch (the extra [train]) is not installed")
    if form == "exported_program":
        pytest.importorskip("onnxscript", reason="torch.export to ONNX needs onnxscript")
    onnx_model = onnx.load(str(write_segmenter(tmp_path / "given") / "fp32.onnx"))
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx_model.graph.initializer}
    smooth, head = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False), torch.nn.Conv2d(3, 4, 1)
    smooth.weight.data, head.weight.data, head.bias.data = (
        values[name] for name in ("smooth_w", "head_w", "head_b")
    )
    module = torch.nn.Sequential(smooth, torch.nn.ReLU(), head).eval()
    example = torch.zeros(1, 3, 48, 64)
    source = tmp_path / "net.pt2"
    if form == "torchscript":
        torch.jit.trace(module, example).save(str(source))
    else:
        torch.export.save(torch.export.export(module, (example,)), str(source))
    import_request = ImportRequest(
        "segmentation", labels=LABELS, input={"color": "BGR", "width": 64, "height": 48}
    )
    assert import_model(source, tmp_path / "made", import_request).framework == form
    assert label_of(tmp_path / "made", (0, 0, 200)) == "red"


def test_a_pytorch_model_without_pytorch_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"net/code/__torch__.py": b"", "net/constants.pkl": b"", "net/data.pkl": b""}
    source = archive(tmp_path / "net.pt", members)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelFileError, match="install torch"):
        import_model(source, tmp_path / "made", ImportRequest("planning", input={"width": 8, "height": 8}))


@pytest.mark.parametrize("form", ["keras", "saved_model", "tflite"])
def test_a_tensorflow_model(tmp_path: Path, form: str) -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    weights = np.zeros((1, 1, 3, 4), np.float32)
    weights[0, 0, [0, 1, 2], [1, 2, 3]] = 1.0
    model = keras.Sequential([keras.layers.Input((48, 64, 3)), keras.layers.Conv2D(4, 1)])
    model.layers[0].set_weights([weights, np.array([60.0, 0.0, 0.0, 0.0], np.float32)])
    source = tmp_path / f"net.{form}"
    if form == "keras":
        model.save(source)
    elif form == "saved_model":
        model.export(source, verbose=False)
    else:
        source.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())
    import_request = ImportRequest("segmentation", labels=LABELS, input={"color": "BGR"}, convert="onnx")
    imported = import_model(source, tmp_path / "made", import_request)
    assert imported.framework == form
    assert (imported.manifest.input.layout, imported.manifest.output.options) == ("NHWC", {"layout": "NHWC"})
    assert label_of(tmp_path / "made", (0, 200, 0)) == "green"


def test_a_tensorflow_model_without_tensorflow_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    for name in ("tensorflow", "tf2onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="tensorflow-cpu and tf2onnx"):
        import_model(tmp_path / "saved", tmp_path / "made", ImportRequest("planning"))


def test_a_model_with_two_inputs_is_refused(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "two", values[:2], values[2:])
    source = tmp_path / "two.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(source)
    )
    with pytest.raises(ModelFileError, match="exactly one input"):
        import_model(source, tmp_path / "made", ImportRequest("planning"))


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("car\nperson\n", ["car", "person"]),
        ("0: car\n2: sign\n1: 'person'\n", ["car", "person", "sign"]),
        ("0 car\n1 traffic light\n", ["car", "traffic light"]),
        ("2 wheeler\ncar\n", ["2 wheeler", "car"]),
        ("\ufeffcar\n", ["car"]),
    ],
)
def test_labels_with_their_ids_are_put_in_order(tmp_path: Path, content: str, labels: list[str]) -> None:
    """Lines "0: car", as in data.yaml of YOLO trainings, were taken as labels of that name."""
    (tmp_path / "labels.txt").write_text(content, encoding="utf-8")
    assert read_labels(str(tmp_path / "labels.txt")) == labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "1: car\n2: person\n"),
        ("labels.txt", "0: car\nperson\n"),
        ("labels.txt", "names:\n  0: car\n  1: person\n"),
        ("labels.json", '["car", "person"]'),
    ],
)
def test_labels_that_can_be_understood_in_two_ways_are_refused(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(typer.BadParameter, match="one label a line"):
        read_labels(str(tmp_path / name))


def test_a_list_of_labels_may_be_longer_than_the_name_of_a_file() -> None:
    """Failed before: "File name too long"."""
    labels = [f"label {number}" for number in range(1000)]
    assert read_labels(", ".join(labels)) == labels
