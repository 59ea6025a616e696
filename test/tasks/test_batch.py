# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that share an inference have the results that they have alone; what cannot is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from ad_compressed_perception.core.errors import OutputError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.served_model import ModelRequest, ServedModel, open_model
from ad_compressed_perception.tasks.batch import FrameInBatch, infer_together, why_not_together
from support.models import draw_scene, write_detector, write_segmenter, write_trajectory_planner
from support.onnx_batch import let_batch_vary

WRITERS: dict[str, Callable[[Path], Path]] = {
    "detection": write_detector,
    "segmentation": write_segmenter,
    "planning": write_trajectory_planner,
}


def opened(folder: Path, task: str, edit: Callable[[onnx.ModelProto], object] | None = None) -> ServedModel:
    let_batch_vary(folder, edit)
    return open_model(ModelRequest(str(folder), batch=4), task)


def fields(result: Any) -> list[Any]:
    return [value for value in vars(result).values() if value is not None]


@pytest.mark.parametrize("task", WRITERS)
def test_results_in_company_are_those_alone(task: str, tmp_path: Path) -> None:
    model = opened(WRITERS[task](tmp_path / task), task)
    assert model.batch_problem == ""
    sizes = [(128, 96), (64, 200), (320, 96), (128, 96)]  # cameras of several resolutions
    frames = [Frame(draw_scene(7 * place, *size), "BGR") for place, size in enumerate(sizes)]
    calls: list[int] = []
    together = model.infer_together(
        [FrameInBatch(frame, lambda _, n=place: calls.append(n)) for place, frame in enumerate(frames)]
    )
    assert calls == [0, 1, 2, 3]
    for frame, inferred in zip(frames, together, strict=True):
        result, stages_ms = model.run(frame, inferred=inferred)
        alone, _ = model.run(frame)
        for got, expected in zip(fields(result), fields(alone), strict=True):
            if isinstance(expected, (np.ndarray, float)):
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)
            else:
                assert got == expected
        assert stages_ms["prepare"] > 0.0 and stages_ms["infer"] > 0.0
    model.close()


def test_a_fixed_batch_is_refused_with_its_shape(tmp_path: Path) -> None:
    model = open_model(ModelRequest(str(write_segmenter(tmp_path / "m")), batch=2), "segmentation")
    assert model.batch_problem == "input 'image' is [1, 3, 48, 64]: its batch is not dynamic"
    model.close()


def minus_mean_of_all(model: onnx.ModelProto) -> None:
    """Let each frame's scores depend on those of the others."""
    graph = model.graph
    graph.node[-1].output[0] = "own"
    graph.node.append(helper.make_node("ReduceMean", ["own"], ["mean"], axes=[0], keepdims=1))
    graph.node.append(helper.make_node("Sub", ["own", "mean"], ["scores"]))


def quantized_by_range(model: onnx.ModelProto) -> None:
    """Quantize the scores by the range of all of them, as dynamic int8 does."""
    graph = model.graph
    graph.node[-1].output[0] = "own"
    graph.node.append(helper.make_node("DynamicQuantizeLinear", ["own"], ["q", "s", "z"]))
    graph.node.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["scores"]))


@pytest.mark.parametrize("edit", [minus_mean_of_all, quantized_by_range])
def test_frames_that_change_each_other_are_refused_by_the_outputs_name(
    edit: Callable[[onnx.ModelProto], None], tmp_path: Path
) -> None:
    """Both have a row for each frame, and nobody would see that it is wrong."""
    model = opened(write_segmenter(tmp_path / "m"), "segmentation", edit)
    assert model.batch_problem.startswith("output 'scores' of a frame changes by ")
    assert why_not_together(model.pipeline) == model.batch_problem
    model.close()


def test_outputs_without_a_row_for_each_frame_are_no_outputs(tmp_path: Path) -> None:
    model = opened(write_segmenter(tmp_path / "m"), "segmentation")
    infer = model.pipeline.session.infer
    model.pipeline.session.infer = (
        lambda feeds: {  # type: ignore[method-assign]
            name: array[:1] for name, array in infer(feeds).items()
        }
    )
    frames = [FrameInBatch(Frame(draw_scene(0), "BGR"), lambda _: None)] * 2
    with pytest.raises(OutputError, match=r"'scores' of 2 frames is \[1, 4, 48, 64\]"):
        infer_together(model.pipeline, frames)
    assert "two frames together fail" in why_not_together(model.pipeline)
    model.close()
