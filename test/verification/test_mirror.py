# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A baseline that does not see the mirrored scene in mirrored images is warned of, with the figure."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.verification.mirror import mirror_agreement
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.report.kit.text import plain
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import small_recipe, write_images
from support.models import write_detector, write_planner, write_segmenter


def write_lopsided(folder: Path) -> Manifest:
    """Write a segmenter of brightness that takes the left half of any image for the second label.

    As one whose input overflows: what it sees hardly matters, and where it says what is its own.
    """
    folder.mkdir()
    height, width = 32, 48
    bias = np.zeros((1, 2, height, width), np.float32)
    bias[0, 1, :, : width // 2] = 1000.0
    weight = np.zeros((2, 3, 1, 1), np.float32)
    weight[1] = 1.0
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight"], ["scores"]),
            helper.make_node("Add", ["scores", "bias"], ["shifted"]),
            helper.make_node("Add", ["shifted", "level"], ["y"]),
        ],
        "lopsided",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, height, width])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(np.array([360.0, 0.0], np.float32).reshape(1, 2, 1, 1), "level"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(folder / "m.onnx"))
    digest = hashlib.sha256((folder / "m.onnx").read_bytes()).hexdigest()
    text = {
        "schema": "adcp-model/1",
        "name": "lopsided",
        "task": "segmentation",
        "labels": ["dark", "bright"],
        "input": {"name": "x", "width": width, "height": height, "resize": "stretch"},
        "output": {"decoder": "argmax", "options": {"layout": "NCHW", "output": "y"}},
        "baseline": "fp32",
        "variants": {"fp32": {"file": "m.onnx", "sha256": digest, "backend": "onnxruntime"}},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    return load_manifest(folder)


def sample(folder: Path, count: int) -> FrameSample:
    return FrameSample(open_frames(str(write_images(folder, count))), list(range(count)))


def test_a_model_of_pixels_sees_the_mirrored_scene(tmp_path: Path) -> None:
    """One with 1x1 and symmetric kernels agrees with itself but for the rounding of the resizing."""
    pipeline = open_pipeline(load_manifest(write_segmenter(tmp_path / "model")))
    found = mirror_agreement(pipeline, sample(tmp_path / "images", 10))
    pipeline.close()
    assert found is not None
    assert found > 0.6


def test_a_model_whose_labels_stay_where_they_are_does_not(tmp_path: Path) -> None:
    """The left half keeps its label in the mirrored image, so that no pixel of it agrees."""
    pipeline = open_pipeline(write_lopsided(tmp_path / "model"))
    found = mirror_agreement(pipeline, sample(tmp_path / "images", 10))
    pipeline.close()
    assert found is not None
    assert found < 0.6


def test_the_report_warns_with_the_figure(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 40)
    for index, path in enumerate(sorted(images.iterdir())):  # else the right half never varies
        image = cv2.imread(str(path))
        image[: 2 * index, 70:] = 255
        cv2.imwrite(str(path), image)
    recipe = small_recipe(tmp_path, passes=["simplify"], accept={"max_drop": 1.0})
    result = compress_model(write_lopsided(tmp_path / "model"), recipe, str(images), work=tmp_path / "work")
    (warning,) = [note for note in result.report.notes if note.startswith("warning:")]
    assert "on mirrored images" in warning
    assert "scale 1" in warning
    assert plain(warning) in (result.report_folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "accept", "words"),
    [
        (write_planner, {"by_size": {"small": 0.1}}, "accept.by_size: planning has no objects"),
        (write_detector, {"max_label_drop": 0.1}, "accept.max_label_drop: detection has no label masks"),
        (write_detector, {"by_distance": {"near": 0.1}}, "accept.by_distance needs the camera"),
        (write_planner, {"by_distance": {"near": 0.1}}, "accept.by_distance: a path has no bands"),
    ],
)
def test_a_limit_on_what_the_task_does_not_have_is_an_error(
    tmp_path: Path, write: object, accept: dict[str, object], words: str
) -> None:
    """Before any work is done: it would never be decided."""
    assert callable(write)
    manifest = load_manifest(write(tmp_path / "model"))
    recipe = small_recipe(tmp_path, accept=accept)
    with pytest.raises(RecipeError, match=words):
        compress_model(manifest, recipe, str(write_images(tmp_path / "images", 40)), work=tmp_path / "work")
