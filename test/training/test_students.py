# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Students as built: inputs, outputs, weights, and int8 coverage of all encoders and heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.passes.distillation.replace_with_student import ReplaceWithStudent
from ad_compressed_perception.compression.passes.graph.optimize import InferShapes, Simplify
from ad_compressed_perception.compression.passes.graph.select_classes import SelectClasses
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.compression.verification.coverage import measure_coverage
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import opset_of
from ad_compressed_perception.training.students.build import ENCODERS, HEADS, build_student
from ad_compressed_perception.training.students.graph_builder import rounded_channels
from ad_compressed_perception.training.students.spec import StudentSpec
from support.compression import model_and_context
from support.models import write_detector, write_planner, write_segmenter, write_trajectory_planner

WRITERS = {
    "detection": write_detector,
    "planning": write_planner,
    "segmentation": write_segmenter,
    "trajectory": write_trajectory_planner,
}


def tiny(encoder: str = "mobilenet", task: str = "segmentation", **fields: object) -> StudentSpec:
    values = {"input_width": 64, "input_height": 32, "width": 0.25, "channel_multiple": 8, "classes": 3}
    return StudentSpec(encoder, task, **{**values, **fields})  # type: ignore[arg-type]


def outputs_of(spec: StudentSpec) -> dict[str, np.ndarray]:
    model = build_student(spec)
    shape = (1, spec.input_channels, spec.input_height, spec.input_width)
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    return run_model(model, {spec.input_name: image})


def convolutions(model: onnx.ModelProto) -> list[np.ndarray]:
    """Return the weights of all convolutions, in order."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [tensors[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_every_encoder_supports_every_task(encoder: str) -> None:
    """Scores at half the input's size, one box per cell of three grids (32 + 8 + 2), two scalars, a plan."""
    assert outputs_of(tiny(encoder, "segmentation"))["scores"].shape == (1, 3, 16, 32)
    assert outputs_of(tiny(encoder, "detection"))["boxes"].shape == (1, 42, 8)
    planned = outputs_of(tiny(encoder, "planning", input_channels=1, input_width=50, input_height=50))
    assert {name: value.shape for name, value in planned.items()} == {
        "steering": (1, 1), "collision": (1, 1),
    }  # fmt: skip
    assert outputs_of(tiny(encoder, "trajectory"))["plan"].shape == (1, 14)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_channels_are_multiples_and_the_opset_is_widely_supported(encoder: str) -> None:
    """All but the last convolution, whose channels are the classes."""
    model = build_student(tiny(encoder, width=0.4, channel_multiple=16))

    assert opset_of(model) == 13
    assert all(weight.shape[0] % 16 == 0 for weight in convolutions(model)[:-1])


def test_width_is_rounded_to_the_nearest_multiple_but_never_to_zero() -> None:
    assert [rounded_channels(count, 8) for count in (1, 11.9, 12, 40)] == [8, 8, 16, 40]


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_scores_have_the_requested_stride(stride: int) -> None:
    assert outputs_of(tiny(output_stride=stride))["scores"].shape == (1, 3, 32 // stride, 64 // stride)


def test_the_seed_determines_the_weights() -> None:
    """Equal files for equal seeds, so that a recipe gives the same student anywhere."""
    first, same, other = (build_student(tiny(seed=seed)).SerializeToString() for seed in (1, 1, 2))

    assert first == same
    assert first != other


def test_fresh_weights_have_the_variance_of_he_initialization() -> None:
    """Variance 2 / fan in, on a layer of 288 inputs: within 10 %."""
    weights = convolutions(build_student(tiny("efficientnet_lite", width=1.0, channel_multiple=16)))

    weight = next(w for w in weights if w.shape[1:] == (32, 3, 3))
    assert np.isclose(weight.var(), 2.0 / (32 * 9), rtol=0.1)


def test_scores_of_a_fresh_detector_are_near_zero() -> None:
    """Objectness and classes start near 0.01, else thousands of empty cells dominate the first steps."""
    boxes = outputs_of(tiny("mobilenet", "detection"))["boxes"][0]

    assert np.median(boxes[:, 4:]) < 0.05


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"encoder": "vgg"}, "vgg"),
        ({"task": "tracking"}, "tracking"),
        ({"input_width": 70}, "multiples of 32, not 70"),
        ({"task": "planning", "input_height": 16}, "32 pixels or more"),
    ],
)
def test_an_invalid_specification_is_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        build_student(tiny(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@pytest.mark.parametrize("task", sorted(HEADS))
def test_a_quantized_student_runs_in_int8_completely(tmp_path: Path, encoder: str, task: str) -> None:
    """Normalizations are folded into convolutions, and no layer between these stays in float."""
    model, context = model_and_context(WRITERS[task](tmp_path / "m"), tmp_path / "s")
    size = {} if task == "detection" else {"input_width": 64, "input_height": 64}
    options = {"encoder": encoder, "width": 0.25, "channel_multiple": 8, **size}
    model = ReplaceWithStudent(options).apply(model, context)
    name, shape = model.graph.input[0].name, context.input.shape
    frames = np.random.default_rng(0).uniform(0, 1, (2, *shape)).astype(np.float32)
    context.feeds = lambda: ({name: frame} for frame in frames)

    for step in (Simplify(), InferShapes(), QuantizeInt8()):
        model = step.apply(model, context)

    path = tmp_path / "int8.onnx"
    onnx.save(model, path)
    session = create_backend("onnxruntime").load(path, {"threads": 1})
    coverage = measure_coverage(session)
    session.close()
    assert (coverage.share, coverage.float_layers) == (1.0, ())


def test_the_pass_sets_the_students_input_and_output(tmp_path: Path) -> None:
    """Requested size, NCHW, the baseline's color and scale, and the decoder's output name and layout."""
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    before = context.input

    student = ReplaceWithStudent({"input_width": 96, "input_height": 64, "width": 0.25}).apply(model, context)

    assert [size.dim_value for size in student.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 96]
    assert (context.input.width, context.input.height, context.input.layout) == (96, 64, "NCHW")
    assert (context.input.color, context.input.scale) == (before.color, before.scale)
    assert context.output.options == {"layout": "NCHW", "output": "scores"}
    assert context.notes["parameters"] == sum(
        np.prod(tensor.dims) for tensor in student.graph.initializer if tensor.data_type == 1
    )


def test_a_detection_student_has_the_selected_labels(tmp_path: Path) -> None:
    """select_classes before the student: two of three classes, so seven values per cell."""
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    model = SelectClasses({"labels": ["car", "sign"]}).apply(model, context)

    student = ReplaceWithStudent({"width": 0.25}).apply(model, context)

    assert student.graph.output[0].type.tensor_type.shape.dim[2].dim_value == 7


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"encoder": "resnet"}, "'efficientnet_lite', 'mobilenet' or 'squeezenet'"),
        ({"input_width": 64}, "input_width and input_height together"),
        ({"input_width": 70, "input_height": 64}, "not 70"),
        ({"depth": 3}, "known options: encoder, width"),
    ],
)
def test_invalid_student_options_are_named(tmp_path: Path, options: dict[str, object], named: str) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(RecipeError, match=named):
        ReplaceWithStudent(options).apply(model, context)


def test_a_student_can_start_from_an_earlier_students_file(tmp_path: Path) -> None:
    """Weights come from the file instead of the seed; another size is refused with both shapes."""
    options = {"input_width": 64, "input_height": 64, "width": 0.25}
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    first = ReplaceWithStudent({**options, "seed": 5}).apply(model, context)
    onnx.save(first, tmp_path / "first.onnx")
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "t")

    again = ReplaceWithStudent({**options, "start": str(tmp_path / "first.onnx")}).apply(model, context)

    assert all(np.array_equal(a, b) for a, b in zip(convolutions(again), convolutions(first), strict=True))
    assert "needs_fine_tuning" not in context.notes
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "u")
    with pytest.raises(RecipeError, match=r"64, 64\] -> .*this student .*96, 96\]"):
        ReplaceWithStudent(
            {**options, "input_width": 96, "input_height": 96, "start": str(tmp_path / "first.onnx")}
        ).apply(model, context)


def test_a_detector_of_other_strides_is_refused_with_a_remedy(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    options = {**context.output.options, "strides": [8, 16]}
    context.output = context.output.model_copy(update={"options": options})

    with pytest.raises(RecipeError, match=r"strides \[8, 16, 32\].*use prune_channels"):
        ReplaceWithStudent().apply(model, context)
