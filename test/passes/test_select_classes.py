# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A detector with a subset of its labels: their boxes keep their names and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.passes.graph.select_classes import SelectClasses
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.import_model import import_model
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.kept_channels import keep_output_channels
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import model_and_context, small_recipe, write_images
from support.detectors import HEADS, head_request
from support.graphs import make_graph, noise
from support.models import draw_scene, write_detector, write_segmenter

PASSES: list[Any] = ["upgrade_opset", {"select_classes": {"labels": ["sign", "car"]}}]


def weights_of(model: onnx.ModelProto, operator: str) -> list[list[int]]:
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return [shapes[node.input[1]] for node in model.graph.node if node.op_type == operator]


def test_boxes_of_kept_labels_equal_the_baseline_s_with_the_same_numbers(tmp_path: Path) -> None:
    """Blue squares are cars (0) and red ones signs (2); persons (1) are removed."""
    model = write_detector(tmp_path / "m")
    recipe = small_recipe(tmp_path, passes=PASSES, verify={"frames": 24, "labels": ["car", "sign"]})
    result = compress_model(
        load_manifest(model), recipe, str(write_images(tmp_path / "p", 40)), work=tmp_path / "w"
    )
    assert result.verification.agreement.score == 1.0
    stored = load_manifest(result.manifest.folder)
    baseline, variant = open_pipeline(stored), open_pipeline(stored.for_variant("small"), "small")
    try:
        frame = Frame(draw_scene(3), "BGR")
        expected, found = baseline.run(frame)[0], variant.run(frame)[0]
    finally:
        baseline.close()
        variant.close()
    assert set(expected.class_ids.tolist()) == {0, 2}
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert found.labels == ("car", "person", "sign")


@pytest.mark.parametrize("extra", [0, 2])
def test_columns_of_another_exporter_lose_scores_too(tmp_path: Path, extra: int) -> None:
    """Rows of box, objectness and three scores; a pose network has more columns behind them."""
    file = tmp_path / "stranger.onnx"
    decoder, options = HEADS["yolo with objectness"](file)
    if extra:
        graph = onnx.load(file)
        for node in graph.graph.node:
            node.output[:] = ["narrow" if name == "output" else name for name in node.output]
        behind = np.full((1, 80, extra), 7.0, np.float32)
        graph.graph.initializer.append(numpy_helper.from_array(behind, "behind"))
        graph.graph.node.append(helper.make_node("Concat", ["narrow", "behind"], ["output"], axis=2))
        graph.graph.output[0].type.tensor_type.shape.dim[2].dim_value += extra
        onnx.save(graph, file)
        options["extra_columns"] = extra
    import_model(file, tmp_path / "m", head_request((decoder, options)))
    model, context = model_and_context(tmp_path / "m", tmp_path / "s")
    feeds = next(iter(context.feeds()))
    expected = run_model(model, feeds)["output"]
    reduced = SelectClasses({"labels": ["sign", "car"]}).apply(model, context)
    kept = [0, 1, 2, 3, 4, 5, 7, *range(8, 8 + extra)]
    np.testing.assert_allclose(run_model(reduced, feeds)["output"], expected[..., kept], atol=1e-5)
    assert context.output.options["label_ids"] == [0, 2]
    assert [one[0] for one in weights_of(reduced, "Conv")] == [3, 7, 7]


def test_messages_name_the_labels_of_the_model(tmp_path: Path) -> None:
    pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    from rclpy.serialization import deserialize_message
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection2DArray

    from ad_compressed_perception.messages.detection import from_message, serialize

    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    edited = SelectClasses({"labels": ["sign"]}).apply(model, context)
    task = create_task(context.manifest.model_copy(update={"output": context.output}))
    feeds, geometry = task.prepare(Frame(draw_scene(0), "BGR"))
    result = task.decode(run_model(edited, {"images": next(iter(feeds.values()))}), geometry)
    message = deserialize_message(serialize(result, Header()), Detection2DArray)
    assert {d.results[0].hypothesis.class_id for d in message.detections} == {"sign"}
    assert from_message(message, context.manifest.labels).class_ids.tolist() == [2] * len(result.scores)


def test_the_scores_are_removed_from_the_convolutions(tmp_path: Path) -> None:
    """Through Transpose, Concat, Sigmoid, Split and Reshape: 4 of 5 box rows and scores, 2 of 3 labels."""
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    edited = SelectClasses({"labels": ["car", "person"]}).apply(model, context)
    assert [shape[0] for shape in weights_of(edited, "Conv")] == [3, 7, 7, 7]
    assert context.output.options["label_ids"] == [0, 1]
    assert context.notes["labels_left_out"] == 1
    assert [d.dim_value for d in edited.graph.output[0].type.tensor_type.shape.dim] == [1, 84, 7]


def test_labels_can_be_removed_in_two_steps(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    reference = run_model(model, next(context.feeds()))["output"]
    for labels in (["person", "sign"], ["sign"]):
        model = SelectClasses({"labels": labels}).apply(model, context)
    assert context.output.options["label_ids"] == [2]
    left = run_model(model, next(context.feeds()))["output"]
    np.testing.assert_allclose(left, reference[..., [0, 1, 2, 3, 4, 7]], atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["car", "lorry"], "no label 'lorry'; it has car, person, sign"),
        (["car", "car"], "named twice"),
        (["sign", "person", "car"], "all labels are to stay"),
    ],
)
def test_labels_that_cannot_be_kept_are_named(tmp_path: Path, labels: list[str], message: str) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(RecipeError, match=message):
        SelectClasses({"labels": labels}).apply(model, context)


def test_a_segmenter_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(RecipeError, match="the decoder is 'argmax'"):
        SelectClasses({"labels": ["red"]}).apply(model, context)


def test_a_quantized_graph_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    quantized = QuantizeInt8({"calibration": "minmax"}).apply(model, context)
    with pytest.raises(RecipeError, match="before quantization"):
        SelectClasses({"labels": ["car"]}).apply(quantized, context)


@pytest.mark.parametrize("ids", [[0, 0], [1, 3], [-1, 2]])
def test_wrong_label_numbers_in_a_manifest_are_refused(tmp_path: Path, ids: list[int]) -> None:
    manifest = load_manifest(write_detector(tmp_path))
    options = {**manifest.output.options, "label_ids": ids}
    output = manifest.output.model_copy(update={"options": options})
    with pytest.raises(ManifestError, match=r"label_ids .* must be different numbers of 0\.\.2"):
        create_task(manifest.model_copy(update={"output": output}))


def chain(middle: list[onnx.NodeProto], **weights: Any) -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"), *middle]
    constants = {"w": noise((4, 3, 1, 1)), "b": noise((4,), 1), **weights}
    return make_graph(nodes, constants, {"x": [1, 3, 4, 4]}, {"y": [1, 4, 4, 4]})


def test_an_operator_that_mixes_channels_is_named() -> None:
    model = chain([helper.make_node("Softmax", ["c"], ["y"], "mixer", axis=1)])
    with pytest.raises(ModelFileError, match="Softmax 'mixer' stands between"):
        keep_output_channels(model, "y", 1, [0, 2])


def test_a_tensor_that_something_else_needs_whole_is_named() -> None:
    nodes = [
        helper.make_node("Sigmoid", ["c"], ["y"], "gate"),
        helper.make_node("ReduceMean", ["c"], ["mean"], "mean", axes=[1], keepdims=1),
    ]
    model = chain(nodes)
    model.graph.output.append(helper.make_tensor_value_info("mean", 1, [1, 1, 4, 4]))
    with pytest.raises(ModelFileError, match="Sigmoid 'gate' reads a tensor that something else needs whole"):
        keep_output_channels(model, "y", 1, [0, 2])


def test_channels_of_a_grouped_convolution_stay_together() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "depthwise", group=3)]
    model = make_graph(nodes, {"w": noise((3, 1, 1, 1))}, {"x": [1, 3, 4, 4]}, {"y": [1, 3, 4, 4]})
    with pytest.raises(ModelFileError, match="Conv 'depthwise' computes its channels in groups"):
        keep_output_channels(model, "y", 1, [0, 2])
