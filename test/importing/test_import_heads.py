# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Imports of files with several heads or inputs: described, guessed one output each, constants baked in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ad_compressed_perception as adcp
from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.results import Detections, LabelMask
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from support.models import draw_scene
from support.several_heads import GRAY, HEADS, INPUTS, gray_image, write_inputs_planner, write_two_heads

FILE = "fp32.onnx"


def test_heads_are_described(tmp_path: Path) -> None:
    source = write_two_heads(tmp_path / "source") / FILE
    request = ImportRequest(name="made", outputs=HEADS, input={"color": "BGR", "resize": "letterbox"})
    made = import_model(source, tmp_path / "made", request).manifest
    assert made.outputs is not None
    assert made.outputs["surface"].outputs == ["mask_scores"]
    found = adcp.load(tmp_path / "made")(draw_scene(0))
    assert isinstance(found["objects"], Detections)  # type: ignore[index]
    wrong = ImportRequest(outputs={"objects": {**HEADS["objects"], "decoder": "argmax"}})
    with pytest.raises(ManifestError, match="made_2/objects|fp32/objects"):
        import_model(source, tmp_path / "wrong", wrong)
    assert not (tmp_path / "wrong").exists()


def test_each_output_is_guessed_as_a_head(tmp_path: Path) -> None:
    """A YOLOX output of three classes and score planes of four: names from the tensors, labels numbered."""
    source = write_two_heads(tmp_path / "source") / FILE
    made = import_model(source, tmp_path / "made", ImportRequest(task="multi_task")).manifest
    assert made.outputs is not None
    assert {name: (one.task, len(one.labels)) for name, one in made.outputs.items()} == {
        "output": ("detection", 3),
        "mask_scores": ("segmentation", 4),
    }
    assert "head output: decoder detection" in made.description
    assert isinstance(adcp.load(tmp_path / "made")(draw_scene(0))["mask_scores"], LabelMask)  # type: ignore[index]


def test_constants_are_baked_and_the_rest_stays(tmp_path: Path) -> None:
    source = write_inputs_planner(tmp_path / "source") / FILE
    np.save(tmp_path / "gain.npy", np.array([2.0]))
    inputs = {
        "gray": {"source": "image", **{key: value for key, value in GRAY.items() if key != "name"}},
        **INPUTS,
        "gain": {"source": "constant", "file": str(tmp_path / "gain.npy")},
    }
    request = ImportRequest(
        task="planning", decoder="steering", decoder_options={"steering_output": "steering"}, inputs=inputs
    )
    made = import_model(source, tmp_path / "made", request).manifest
    assert made.inputs is not None
    assert list(made.inputs) == ["previous", "speed"]
    graph = onnx.load(tmp_path / "made" / FILE).graph
    assert [value.name for value in graph.input] == ["gray", "previous", "speed"]
    images = [gray_image(0)] * 3
    result = adcp.load(tmp_path / "made")(images[2], previous=images[:2], inputs={"speed": 5.0})
    assert result.steering_wheel_angle_rad == pytest.approx(1.0, abs=1e-5)  # type: ignore[union-attr]
    with pytest.raises(ModelFileError, match="the model needs exactly one input"):
        import_model(source, tmp_path / "plain", ImportRequest(task="planning"))
    with pytest.raises(ModelFileError, match="no input 'gone' to make constant"):
        import_model(
            source,
            tmp_path / "gone",
            ImportRequest(inputs={**inputs, "gone": {"source": "constant", "value": 1.0}}),
        )
