# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A stranger's file is imported with what the file does not say guessed, and what is unsure named as unsure.

The files are a tiny YOLOX-like detector laid out as other exporters do (support.exporter_layouts): what an
import should guess is then known.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, collect, use_settings
from ad_compressed_perception.cli.main import app
from ad_compressed_perception.core.errors import AdcpError, ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.importing.exporter_metadata import parse_metadata
from ad_compressed_perception.importing.guess import manifest_for
from ad_compressed_perception.importing.import_model import Imported, ImportRequest, import_model
from ad_compressed_perception.importing.judge import Judgment
from ad_compressed_perception.importing.labels import coco_80, coco_90, proposed_labels, unique_labels
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import write_images
from support.exporter_layouts import relay
from support.labeled import SCENES, write_boxes
from support.models import DETECTOR_LABELS, write_detector, write_planner, write_segmenter
from support.onnx_files import save_model
from support.ultralytics import ultralytics


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("frames") / "images", 8)


def relaid(folder: Path, form: str, names: Any = ()) -> Path:
    return relay(write_detector(folder / "given") / "fp32.onnx", folder / f"{form}.onnx", form, names)


def choice(imported: Imported, what: str) -> Any:
    return next(one for one in imported.guess.choices if one.what == what)


@pytest.mark.parametrize(
    ("form", "decoder", "options", "scale"),
    [
        ("raw", "yolox", {"strides": [8, 16, 32]}, 1.0),
        ("v8", "yolo", {"objectness": False, "box_units": "pixels"}, 1 / 255),
        ("v5", "yolo", {"objectness": True, "box_units": "pixels"}, 1 / 255),
        ("normalized", "yolo", {"objectness": False, "box_units": "normalized"}, 1 / 255),
        ("end_to_end", "end_to_end", {}, 1 / 255),
    ],
)
def test_decoder_and_scale_of_other_exporters_files_are_guessed(
    tmp_path: Path, images: Path, form: str, decoder: str, options: dict[str, Any], scale: float
) -> None:
    """Each was refused for want of --task, and with --task detection by its shape."""
    names = () if form == "raw" else DETECTOR_LABELS
    source = relaid(tmp_path, form, names)

    imported = import_model(source, tmp_path / "made", ImportRequest(sample=str(images)))

    manifest = imported.manifest
    assert (manifest.task, manifest.output.decoder) == ("detection", decoder)
    assert manifest.output.options.items() >= options.items()
    # This detector's arithmetic is symmetric at every scale; one that is taken as certain must be right.
    assert manifest.input.scale == pytest.approx(scale) or not choice(imported, "scale").is_certain
    assert manifest.labels == (names or ["class_0", "class_1", "class_2"]), "the metadata's names, if any"
    assert not choice(imported, "color").is_certain, "no frame decides the color order"
    assert "guessed" in manifest.description and "unsure: " in manifest.description


def test_a_decoder_that_finds_nothing_is_not_taken_before_one_that_does(tmp_path: Path) -> None:
    """Failed before: six frames give a skill below 0.3; the likelier decoder, of 0 objects, was taken."""
    source = write_detector(tmp_path / "given") / "fp32.onnx"
    request = ImportRequest(labels=DETECTOR_LABELS, sample=str(write_images(tmp_path / "images", 6)))

    imported = import_model(source, tmp_path / "made", request)

    assert imported.manifest.output.decoder == "yolox"
    assert not choice(imported, "decoder").is_certain


def test_a_decoder_that_finds_nothing_anywhere_is_unsure_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for shade in range(6):  # no cell is brighter than 128
        cv2.imwrite(str(tmp_path / "images" / f"{shade}.png"), np.full((64, 64, 3), 20 * shade, np.uint8))
    source = write_detector(tmp_path / "given") / "fp32.onnx"
    request = ImportRequest(labels=DETECTOR_LABELS, sample=str(tmp_path / "images"))

    decoder = choice(import_model(source, tmp_path / "made", request), "decoder")

    assert not decoder.is_certain
    assert "finds nothing on any of these frames" in decoder.why


def test_a_guess_says_no_more_than_it_saw(tmp_path: Path, images: Path) -> None:
    """Random weights find nothing that depends on the scene: decoders fit by shape, none by its results."""
    onnx.save(ultralytics("v8"), str(tmp_path / "random.onnx"))

    imported = import_model(tmp_path / "random.onnx", tmp_path / "made", ImportRequest(sample=str(images)))

    unsure = {one.what for one in imported.guess.unsure}
    assert {"decoder", "scale", "color", "labels"} <= unsure
    assert imported.manifest.labels == ["class_0", "class_1", "class_2"]


def test_without_frames_shapes_and_metadata_are_all_that_speaks(tmp_path: Path) -> None:
    imported = import_model(relaid(tmp_path, "v8", DETECTOR_LABELS), tmp_path / "made", ImportRequest())

    assert imported.manifest.output.decoder == "yolo"
    assert choice(imported, "decoder").is_certain, "the exporter names as many classes as there are columns"
    assert not choice(imported, "scale").is_certain
    assert any("give a sample" in note for note in imported.guess.notes)
    assert not (tmp_path / "made" / "import.report").exists()


def test_what_is_given_is_never_changed(tmp_path: Path, images: Path) -> None:
    """Even a wrong scale, which the frames contradict."""
    request = ImportRequest(
        labels=["a", "b", "c"],
        input={"scale": 0.5, "color": "BGR", "resize": "stretch"},
        sample=str(images),
    )

    imported = import_model(relaid(tmp_path, "v8", DETECTOR_LABELS), tmp_path / "made", request)

    spec = imported.manifest.input
    assert (spec.scale, spec.color, spec.resize) == (0.5, "BGR", "stretch")
    assert imported.manifest.labels == ["a", "b", "c"]
    assert {one.what for one in imported.guess.choices} == {"decoder"}


def test_labeled_frames_settle_the_color_order(tmp_path: Path, images: Path) -> None:
    """The detector names boxes by their color: in the wrong order blue cars are red signs."""
    source = relaid(tmp_path, "raw")
    data = str(write_boxes(tmp_path / "boxes", SCENES))
    request = ImportRequest(labels=DETECTOR_LABELS, sample=str(images), data=data)

    imported = import_model(source, tmp_path / "made", request)

    color = choice(imported, "color")
    assert (imported.manifest.input.color, color.source, color.is_certain) == ("BGR", "data", True)
    assert "map" in color.why


def test_the_command_shows_candidates_and_the_options_that_choose_otherwise(
    tmp_path: Path, images: Path
) -> None:
    source, made = relaid(tmp_path, "v8", DETECTOR_LABELS), tmp_path / "made"
    arguments = ["import", str(source), str(made), "--sample", str(images)]

    done = CliRunner().invoke(app, arguments)

    assert done.exit_code == 0, done.output
    assert "skill" in done.output and "unsure: color RGB" in done.output
    assert "--input-color BGR" in done.output
    assert len(list((made / "import.report").glob("frame_*.jpg"))) == 4
    figures = json.loads((made / "import.report" / "import.json").read_text())
    assert figures["frames"] == 8 and figures["candidates"] and "color" in figures["unsure"]

    again = [*arguments[:2], str(tmp_path / "again"), "--input-color", "BGR", "--json"]
    document = json.loads(CliRunner().invoke(app, again).stdout)
    assert document["input"]["color"] == "BGR"
    assert "color" not in document["guess"]["unsure"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("letterbox-center", ("letterbox", "center")), ("letterbox", ("letterbox", "top_left"))],
)
def test_resizing_is_given_by_one_word(tmp_path: Path, form: str, expected: tuple[str, str]) -> None:
    source = relaid(tmp_path, "raw")
    arguments = ["import", str(source), str(tmp_path / "made"), "--decoder-option", "strides=8,16,32"]

    done = CliRunner().invoke(app, [*arguments, "--input-resize", form, "--labels", "car,person,sign"])

    assert done.exit_code == 0, done.output
    manifest = load_manifest(tmp_path / "made")
    assert (manifest.input.resize, manifest.input.letterbox_align) == expected
    assert manifest.output.options["strides"] == [8, 16, 32], "a plain list"


def test_a_crop_is_given_by_one_word(tmp_path: Path) -> None:
    source = write_planner(tmp_path / "given") / "fp32.onnx"
    arguments = ["import", str(source), str(tmp_path / "made"), "--task", "planning"]
    arguments += ["--input-scale", "0.00392157"]

    done = CliRunner().invoke(app, [*arguments, "--input-resize", "crop:320x240:bottom"])
    wrong = CliRunner().invoke(app, [*arguments, "--input-resize", "crop"])

    assert done.exit_code == 0, done.output
    spec = load_manifest(tmp_path / "made").input
    assert (spec.resize_width, spec.resize_height, spec.crop_anchor) == (320, 240, "bottom")
    assert wrong.exit_code == 2 and "crop:320x240:bottom" in wrong.output


def test_a_segmenter_and_a_planner_need_no_option(tmp_path: Path, images: Path) -> None:
    for writer, task, decoder in (
        (write_segmenter, "segmentation", "argmax"),
        (write_planner, "planning", "steering"),
    ):
        source = writer(tmp_path / f"given_{task}") / "fp32.onnx"
        manifest = manifest_for(source, tmp_path / task, str(images))
        assert (manifest.task, manifest.output.decoder) == (task, decoder)


def test_a_file_that_no_decoder_reads_becomes_task_raw(tmp_path: Path) -> None:
    """A feature map of 7 x 5 cells of a 64 x 64 image is no mask, no boxes and no plan."""
    weight = numpy_helper.from_array(np.ones((300, 3, 9, 13), np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], strides=[9, 13])]
    source = save_model(tmp_path / "net.onnx", nodes, [weight], {"x": [1, 3, 64, 64]}, {"y": [1, 300, 7, 4]})

    manifest = manifest_for(source, tmp_path / "made")

    assert manifest.task == "raw"
    with pytest.raises(AdcpError, match="detection"):
        import_model(source, tmp_path / "other", ImportRequest("detection"))


def test_an_error_names_the_candidate_that_fits(tmp_path: Path) -> None:
    """That an output of another shape is needed does not say that another decoder reads the file."""
    source = relaid(tmp_path, "v8", DETECTOR_LABELS)
    request = ImportRequest("detection", labels=DETECTOR_LABELS, decoder="yolox")

    with pytest.raises(ManifestError, match="looks like ultralytics: --task detection --decoder yolo"):
        import_model(source, tmp_path / "made", request)


def test_a_wrong_number_of_labels_is_refused_with_both_numbers(tmp_path: Path) -> None:
    source = relaid(tmp_path, "raw")
    with pytest.raises(ManifestError, match="2 labels were given.*room for 3.*give that many, or none"):
        import_model(source, tmp_path / "made", ImportRequest("detection", labels=["a", "b"]))


def test_repeated_labels_get_a_number_and_are_reported(tmp_path: Path) -> None:
    source = relaid(tmp_path, "raw")

    imported = import_model(source, tmp_path / "made", ImportRequest(labels=["car", "sign", "car"]))

    assert imported.manifest.labels == ["car", "sign", "car_2"]
    assert any("more than once" in note and "car" in note for note in imported.guess.notes)


def test_suppression_inside_the_graph_is_reported_at_import(tmp_path: Path) -> None:
    imported = import_model(relaid(tmp_path, "end_to_end"), tmp_path / "made", ImportRequest())
    assert any("NonMaxSuppression" in note for note in imported.guess.notes)


def batched(path: Path, batch: int, *, mixes: bool) -> Path:
    """Write a segmenter of a fixed batch; ``mixes`` adds the mean over the batch, which one image lacks."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(4, 3, 1, 1)).astype(np.float32), "w"),
        numpy_helper.from_array(np.array([batch, 4, 16, 16], np.int64), "shape"),
    ]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Reshape", ["c", "shape"], ["r"])]
    if mixes:
        scale = np.arange(1, batch + 1, dtype=np.float32).reshape(batch, 1, 1, 1)
        weights.append(numpy_helper.from_array(scale, "scale"))
        nodes.append(helper.make_node("Mul", ["r", "scale"], ["y"]))
    else:
        nodes.append(helper.make_node("Relu", ["r"], ["y"]))
    return save_model(path, nodes, weights, {"x": [batch, 3, 16, 16]}, {"y": [batch, 4, 16, 16]})


def test_a_batch_of_k_becomes_one_where_the_graph_allows_it(tmp_path: Path) -> None:
    manifest = import_model(
        batched(tmp_path / "a.onnx", 4, mixes=False), tmp_path / "made", ImportRequest()
    ).manifest
    assert manifest.input.shape == (1, 3, 16, 16)
    with pytest.raises(ModelFileError, match="takes 4 images at once.*batch of one"):
        import_model(batched(tmp_path / "b.onnx", 4, mixes=True), tmp_path / "other", ImportRequest())


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ([1, 9, 32, 32], TensorProto.FLOAT, "9 channels are 3 color images"),
        ([1, 32, 32, 6], TensorProto.FLOAT, "6 channels are 2 color images"),
        ([32, 32, 3], TensorProto.UINT8, r"without an axis for the batch: export it with \[1, 32, 32, 3\]"),
        ([1, 3, 3, 32, 32], TensorProto.FLOAT, "a sequence of images"),
    ],
)
def test_inputs_that_are_no_single_image_are_refused_with_what_would_be_needed(
    tmp_path: Path, shape: list[int], kind: int, words: str
) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["y"], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1] * len(shape))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "x.onnx"))
    with pytest.raises(ModelFileError, match=words):
        import_model(tmp_path / "x.onnx", tmp_path / "made", ImportRequest())


def test_bytes_with_channels_last_are_an_image(tmp_path: Path, images: Path) -> None:
    source = relaid(tmp_path, "nhwc_uint8")

    imported = import_model(source, tmp_path / "made", ImportRequest(sample=str(images)))

    spec = imported.manifest.input
    assert (spec.layout, spec.dtype, spec.scale) == ("NHWC", "uint8", 1.0)
    assert "scale" not in {one.what for one in imported.guess.choices}, "bytes are never scaled"


@pytest.mark.parametrize(
    ("same", "other", "skill"),
    [
        (0.9, 0.9, 0.0),  # says the same whatever it sees
        (0.8, 0.0, 0.8),
        (0.9, 0.5, 0.8),
        (1.0, 1.0, 0.0),  # frames that are all alike are no evidence
        (0.2, 0.5, -0.6),
        (float("nan"), 0.0, 0.0),
    ],
)
def test_only_what_depends_on_the_frame_counts(same: float, other: float, skill: float) -> None:
    assert Judgment(same, other, 50, 0.5, frames=8).skill == pytest.approx(skill)


def test_a_crowd_in_every_frame_counts_as_nothing() -> None:
    """Scores of random weights are near one half: each frame has as many objects as are looked at."""
    assert Judgment(0.97, 0.5, found=320, confidence=0.5, frames=8).skill == 0.0


def test_the_metadata_of_ultralytics_is_read() -> None:
    found = parse_metadata(
        {
            "author": "Ultralytics",
            "task": "detect",
            "stride": "32",
            "imgsz": "[384, 640]",
            "names": "{0: 'car', 1: 'it\\'s'}",
            "args": "{'batch': 1, 'nms': True}",
        },
        "pytorch",
    )
    assert (found.exporter, found.task, found.names) == ("ultralytics", "detect", ("car", "it's"))
    assert (found.image_size, found.stride, found.is_end_to_end) == ((384, 640), 32, True)


@given(
    st.dictionaries(
        st.sampled_from(["names", "imgsz", "stride", "task", "args", "end2end", "author"]),
        st.one_of(
            st.text(), st.sampled_from(["{0: 'a', 2: 'b'}", "[1,2,3]", "{'a': 1}", "[[[[", "1e999", "-3"])
        ),
    ),
    st.text(),
)
def test_no_metadata_can_break_an_import(entries: dict[str, str], producer: str) -> None:
    found = parse_metadata(entries, producer)
    assert all(found.names) and (found.stride is None or found.stride > 0)


@given(st.lists(st.sampled_from(["a", "a_2", "b", "a_3"]), max_size=8))
def test_labels_become_different_and_keep_their_order(labels: list[str]) -> None:
    made, repeated = unique_labels(labels)
    assert len(set(made)) == len(made) == len(labels)
    assert {one for one in labels if labels.count(one) > 1} == set(repeated)
    assert all(name.startswith(label) for name, label in zip(made, labels, strict=True))


def test_well_known_lists_are_proposed_by_their_length() -> None:
    """Id 3 of COCO's annotations is car, 2 of the contiguous ids; 91 begins with the background."""
    assert proposed_labels("detection", 80) == (coco_80(), "COCO's 80 classes")
    assert coco_90()[2] == coco_80()[2] == "car" and coco_90()[89] == "toothbrush"
    assert proposed_labels("detection", 91)[0][3] == "car"
    assert proposed_labels("detection", 7) == (tuple(f"class_{index}" for index in range(7)), "")


@pytest.mark.shared
@pytest.mark.parametrize(("form", "named"), [("v8", True), ("normalized", False), ("end_to_end", False)])
def test_a_relaid_yolox_has_the_accuracy_of_the_original(
    tmp_path: Path, shared_dir: Path, form: str, named: bool
) -> None:
    """MAP was 0.030, or the import refused; the original has 0.3416 on these images."""
    names = coco_80() if named else ()
    source = relay(shared_dir / "models" / "yolox_nano.onnx", tmp_path / f"{form}.onnx", form, names)
    bag = str(shared_dir / "bags" / "udacity_ch2_20s")

    manifest = import_model(source, tmp_path / "made", ImportRequest(sample=bag)).manifest

    data = open_labeled(str(shared_dir / "data" / "coco64"), manifest)
    with closing(open_pipeline(manifest)) as pipeline:
        use_settings(pipeline, **DETECTION_SETTINGS)
        found = collect(pipeline, data, range(len(data))).figures()[0]
    assert found == pytest.approx(0.3416, abs=0.002)
