# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""input_size with fit: removes padding that no frame of the camera needs, and changes nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.compression.passes.graph.input_size import InputSize
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks import create_task
from support.compression import model_and_context
from support.models import draw_scene, write_detector, write_segmenter


def detector(tmp_path: Path, *sizes: tuple[int, int]) -> tuple[Any, PassContext]:
    """Return the 64x64 detector and a context of images of the given widths and heights."""
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")

    def images() -> Iterator[Frame]:
        for index, (width, height) in enumerate(sizes):
            yield Frame(np.ascontiguousarray(draw_scene(index, max(width, 96))[:height, :width]), "BGR")

    return model, replace(context, images=images, frames=len(sizes))


def boxes(model: Any, context: PassContext, frame: Frame) -> np.ndarray:
    task = create_task(context.manifest.model_copy(update={"input": context.input}))
    feeds, geometry = task.prepare(frame)
    return task.decode(run_model(model, {"images": next(iter(feeds.values()))}), geometry).boxes_xyxy


def test_a_wide_image_needs_half_of_a_square_input(tmp_path: Path) -> None:
    """128x60 fills 64x30 of 64x64. The detector pads with 0 as the letterbox does, so all boxes agree."""
    model, context = detector(tmp_path, (128, 60))
    frame = next(context.images())
    before = boxes(model, context, frame)
    fitted = InputSize({"fit": "frames"}).apply(model, context)
    assert (context.input.width, context.input.height) == (64, 32)
    assert len(before) > 0
    np.testing.assert_allclose(boxes(fitted, context, frame), before, atol=1e-4)


def test_every_calibration_frame_must_fit(tmp_path: Path) -> None:
    """60x96 fills 40x64: together with the wide one the square is needed."""
    model, context = detector(tmp_path, (128, 60), (60, 96))
    fitted = InputSize({"fit": "frames"}).apply(model, context)
    assert (context.input.width, context.input.height) == (64, 64)
    assert fitted is model
    assert context.notes["size"] == "64x64, which the frames fill"


def test_sides_are_rounded_up_to_whole_steps(tmp_path: Path) -> None:
    """128x70 fills 64x35, more than one step of 32, so two are needed."""
    model, context = detector(tmp_path, (128, 70))
    InputSize({"fit": "frames"}).apply(model, context)
    assert context.input.height == 64


def test_an_input_without_a_letterbox_has_nothing_to_trim(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(
        RecipeError, match="fit trims a letterbox's padding, and this input is filled by stretch"
    ):
        InputSize({"fit": "frames"}).apply(model, context)


@pytest.mark.parametrize("options", [{"fit": "frames", "factor": 0.5}, {}, {"fit": "frames", "width": 64}])
def test_exactly_one_size_option_is_required(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="give either factor, or width and height, or fit"):
        InputSize(options)
