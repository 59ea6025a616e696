# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A baseline that says the same whatever it sees is refused; too little information is inconclusive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.search.budget import parse_budget
from ad_compressed_perception.compression.search.search import Request, search
from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import small_recipe, write_images
from support.models import write_detector, write_planner, write_segmenter

PLAIN = ["upgrade_opset", "simplify"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 40)


def scale_input(model: Path, factor: float) -> None:
    """Multiply the manifest's input scale, as somebody does who divides by 255 twice."""
    manifest = load_manifest(model)
    manifest.input.scale *= factor
    save_manifest(manifest, model)


def blind(model: Path, first: str) -> None:
    """Set the weights of the first convolution to zero, so that nothing of the image is left."""
    graph = onnx.load(model / "fp32.onnx")
    weight = next(one for one in graph.graph.initializer if one.name == first)
    weight.CopyFrom(numpy_helper.from_array(np.zeros(list(weight.dims), np.float32), first))
    save(model, graph)


def save(model: Path, graph: onnx.ModelProto) -> None:
    onnx.save(graph, model / "fp32.onnx")
    manifest = load_manifest(model)
    manifest.variant("fp32").sha256 = file_sha256(model / "fp32.onnx")
    save_manifest(manifest, model)


def dark_segmenter(folder: Path) -> None:
    scale_input(write_segmenter(folder), 1 / 255)


def blind_segmenter_of_two_labels(folder: Path) -> None:
    """Give the left half of every mask to label blue, whatever the image shows."""
    blind(write_segmenter(folder), "smooth_w")
    graph = onnx.load(folder / "fp32.onnx")
    pattern = np.zeros((1, 4, 48, 64), np.float32)
    pattern[:, 1, :, :32] = 100.0
    graph.graph.initializer.append(numpy_helper.from_array(pattern, "pattern"))
    graph.graph.node[-1].output[0] = "before"
    graph.graph.node.append(helper.make_node("Add", ["before", "pattern"], ["scores"], "add_pattern"))
    save(folder, graph)


def dark_planner(folder: Path) -> None:
    scale_input(write_planner(folder), 1 / 255)


def blind_planner(folder: Path) -> None:
    blind(write_planner(folder), "first_w")


def dark_detector(folder: Path) -> None:
    scale_input(write_detector(folder), 1 / 255)


def blind_detector(folder: Path) -> None:
    """Find the same object in every frame: the objectness of the coarsest stride is always high."""
    blind(write_detector(folder), "smooth_w")
    graph = onnx.load(folder / "fp32.onnx")
    bias = next(one for one in graph.graph.initializer if one.name == "head_b_32")
    values = numpy_helper.to_array(bias).copy()
    values[4] = 5.0
    bias.CopyFrom(numpy_helper.from_array(values, "head_b_32"))
    save(folder, graph)


BASELINES = {
    dark_segmenter: "one label on more than 99.9 % of its pixels ('background')",
    blind_segmenter_of_two_labels: "the same mask",
    dark_planner: "the trajectories of all 24 frames are the same within 0.1 m",
    blind_planner: "(curvature 0 1/m, end at x",
    dark_detector: "none of 24 frames has an object",
    blind_detector: "objects (car",
}


@pytest.mark.parametrize("make", BASELINES, ids=lambda make: make.__name__)
def test_a_baseline_without_information_is_refused(
    tmp_path: Path, images: Path, make: Callable[[Path], None]
) -> None:
    """Accepted with agreement 1.000 before; the detector without objects was inconclusive."""
    make(tmp_path / "model")
    recipe = small_recipe(tmp_path / "recipe", passes=PLAIN)
    with pytest.raises(ManifestError) as caught:
        compress_model(load_manifest(tmp_path / "model"), recipe, str(images), work=tmp_path / "work")
    text = str(caught.value)
    assert "\n" not in text
    for words in (BASELINES[make], "scale", "color order", "mean", "std", "size"):
        assert words in text
    assert not (tmp_path / "work").exists()


def test_a_search_is_refused_before_any_candidate(tmp_path: Path) -> None:
    """Candidates were built and compared before, and nothing was raised."""
    dark_segmenter(tmp_path / "model")
    many = write_images(tmp_path / "images", 120)
    request = Request(str(many), parse_budget("drop<=5%"), minutes=0.5, work=tmp_path / "work")
    with pytest.raises(ManifestError, match="one label on more than 99.9 % of its pixels"):
        search(load_manifest(tmp_path / "model"), request)


def test_few_informative_frames_are_inconclusive(tmp_path: Path) -> None:
    """Of 24 frames about a third shows more than background; all 24 counted before: accepted."""
    folder = write_images(tmp_path / "images", 40)
    for index, image in enumerate(sorted(folder.iterdir())):
        if index % 3:
            cv2.imwrite(str(image), np.full((96, 128, 3), 20, np.uint8))
    model = write_segmenter(tmp_path / "model")
    recipe = small_recipe(tmp_path / "recipe", passes=PLAIN)
    result = compress_model(load_manifest(model), recipe, str(folder), work=tmp_path / "work")
    assert result.verification.agreement.score == 1.0
    assert 0 < result.verification.agreement.informative_frames < 20
    assert result.verdict.status == "inconclusive"
    assert "of 24 verification frames are informative" in result.verdict.reasons[0]


def test_labels_that_are_nowhere_are_inconclusive(tmp_path: Path, images: Path) -> None:
    """The baseline is informative, but nothing is green."""
    model = write_segmenter(tmp_path / "model")
    recipe = small_recipe(tmp_path / "recipe", passes=PLAIN, verify={"frames": 24, "labels": ["green"]})
    result = compress_model(load_manifest(model), recipe, str(images), work=tmp_path / "work")
    assert result.verdict.status == "inconclusive"
    assert "none of 24 verification frames is informative" in result.verdict.reasons[0]
    assert "input scale, color order" in result.verdict.reasons[0]


def test_copies_of_two_images_are_no_more_than_two_informative_frames(tmp_path: Path, images: Path) -> None:
    """Failed before: fifty copies of each were a hundred informative frames, and the verdict "accepted"."""
    first, other = sorted(images.iterdir())[:20:19]
    folder = tmp_path / "copies"
    folder.mkdir()
    for index in range(40):
        (folder / f"{index:03}.png").write_bytes((first if index < 20 else other).read_bytes())
    recipe = small_recipe(tmp_path / "r", passes=PLAIN, calibration={"frames": 2}, verify={"frames": 30})
    model = load_manifest(write_segmenter(tmp_path / "model"))
    found = compress_model(model, recipe, str(folder), work=tmp_path / "work")
    assert found.verdict.status == "inconclusive"
    assert found.verdict.reasons[0].startswith("only 2 of 30 verification frames are informative")
