# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The YOLOX teacher's outputs are converted to the student's cells and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.compression.passes.graph.input_size import InputSize
from ad_compressed_perception.compression.passes.graph.select_classes import SelectClasses
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.geometry import plan_geometry
from ad_compressed_perception.tasks.prepare import Preparer
from support.compression import model_and_context
from support.models import draw_scene, write_detector

for _name in ("torch", "torch_pruning", "safetensors"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: make setup-train")

from ad_compressed_perception.training.distillation.targets import (  # noqa: E402
    Targets,
    cut_rows,
    cut_shift,
    open_targets,
)
from ad_compressed_perception.training.distillation.trained_outputs import trained_outputs  # noqa: E402
from ad_compressed_perception.training.graph_module.module import GraphModule  # noqa: E402

STRIDES = [8, 16, 32]


def wide(index: int = 0, height: int = 60) -> Frame:
    return Frame(np.ascontiguousarray(draw_scene(index)[:height]), "BGR")


def student(tmp_path: Path, labels: Sequence[str] = (), **options: Any) -> tuple[Any, PassContext]:
    """Return the 64x64 detector after input_size, and select_classes of labels, for images of 128x60."""
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    context = replace(context, images=lambda: iter([wide(i) for i in range(6)]), frames=6)
    if labels:
        model = SelectClasses({"labels": list(labels)}).apply(model, context)
    return InputSize(options).apply(model, context), context


def opened(model: Any, context: PassContext) -> Targets:
    """Return the targets of a student."""
    import torch

    module = GraphModule(model)
    example = torch.zeros(*context.input.shape)
    return open_targets(context, trained_outputs(module, read_model(context.baseline), example, context))


def targets(model: Any, context: PassContext, frame: Frame) -> np.ndarray:
    """Return the student's targets for an image."""
    teacher = opened(model, context)
    tensor, teacher_geometry = Preparer(teacher.spec)(frame)
    _, student_geometry = Preparer(context.input)(frame)
    graph = read_model(teacher.model) if isinstance(teacher.model, Path) else teacher.model
    outputs = run_model(graph, {"images": tensor})["output"]
    return teacher.fit([outputs], teacher_geometry, student_geometry)[0]


def test_rows_cut_from_the_full_output_equal_those_of_the_trimmed_network(tmp_path: Path) -> None:
    """The last row of cells borders on zero padding in both the trimmed and the full network."""
    trimmed, context = student(tmp_path, fit="frames")
    assert opened(trimmed, context).model == context.baseline
    own = run_model(trimmed, {"images": Preparer(context.input)(wide(1))[0]})["output"]
    assert own.shape == (1, 8 * 4 + 4 * 2 + 2 * 1, 8)
    np.testing.assert_allclose(targets(trimmed, context, wide(1)), own, atol=1e-4)


def test_a_student_of_fewer_labels_gets_their_columns(tmp_path: Path) -> None:
    everything = targets(*student(tmp_path / "all", fit="frames"), wide())
    fewer = targets(*student(tmp_path / "few", ["person", "sign"], fit="frames"), wide())
    np.testing.assert_array_equal(fewer, everything[..., [0, 1, 2, 3, 4, 6, 7]])


def test_at_another_scale_the_teacher_runs_at_the_student_s_size(tmp_path: Path) -> None:
    """At half the size cells do not coincide, and the targets are the resized teacher's own outputs."""
    halved, context = student(tmp_path, factor=0.5)
    teacher = opened(halved, context)
    assert (teacher.spec.width, teacher.spec.height) == (32, 32)
    assert teacher.model != context.baseline
    own = run_model(halved, {"images": Preparer(context.input)(wide(2))[0]})["output"]
    np.testing.assert_allclose(targets(halved, context, wide(2)), own, atol=1e-4)


def test_an_image_of_another_shape_is_named(tmp_path: Path) -> None:
    """128x90 fills 64x45 of the teacher's input, but only 45x32 of a student trimmed for wide images."""
    model, context = student(tmp_path, fit="frames")
    with pytest.raises(
        DataError, match="an image of 128x90 fills the student's 64x32 input at another scale"
    ):
        targets(model, context, wide(0, 90))


def test_training_a_trimmed_detector_of_fewer_labels(tmp_path: Path) -> None:
    """The student equals its teacher except at the border, so its initial loss is below 0.1."""
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    context = replace(context, images=lambda: iter([wide(i) for i in range(6)]), frames=6)
    for step in (SelectClasses({"labels": ["car", "sign"]}), InputSize({"fit": "frames"})):
        model = step.apply(model, context)
    Distill({"epochs": 1, "batch": 3, "learning_rate": 1e-6, "threads": 1, "views": 1}).apply(model, context)
    assert context.notes["loss_before"] < 0.1
    assert context.notes["loss_after"] <= context.notes["loss_before"]


@given(
    width=st.integers(2, 6), height=st.integers(2, 6), less_x=st.integers(0, 1), less_y=st.integers(0, 1),
    right=st.integers(0, 1), down=st.integers(0, 1),
)  # fmt: skip
def test_cut_rows_match_the_students_cells(
    width: int, height: int, less_x: int, less_y: int, right: int, down: int
) -> None:
    """Every kept row's stride and corner in the teacher's input is the student's, moved by the shift."""

    def cells(columns: int, rows: int) -> list[tuple[int, int, int]]:
        return [
            (stride, x * stride, y * stride)
            for stride in STRIDES
            for y in range(rows // stride)
            for x in range(columns // stride)
        ]

    teacher = (32 * width, 32 * height)
    smaller = (32 * (width - less_x), 32 * (height - less_y))
    shift = (32 * min(right, less_x), 32 * min(down, less_y))
    theirs = cells(*teacher)
    mine = [(stride, x + shift[0], y + shift[1]) for stride, x, y in cells(*smaller)]
    assert [theirs[row] for row in cut_rows(teacher, smaller, STRIDES, shift)] == mine


@pytest.mark.parametrize(
    ("align", "height", "expected"),
    [("top_left", 32, (0, 0)), ("center", 64, (0, 0)), ("center", 48, None), ("top_left", 48, (0, 0))],
)
def test_a_shift_is_a_multiple_of_every_stride_or_none(
    tmp_path: Path, align: str, height: int, expected: tuple[int, int] | None
) -> None:
    """A centered letterbox trimmed by 16 moves the image by 8, half a cell of stride 16."""
    _, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    before = context.input.model_copy(update={"letterbox_align": align})
    after = before.model_copy(update={"height": height})
    geometries = [plan_geometry(spec, 128, 60) for spec in (before, after)]
    assert cut_shift(geometries[0], geometries[1], STRIDES) == expected
