# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One detector in the layouts of other exporters: the same boxes, mAP and verdict in 8 bits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, evaluate, use_settings
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256, load_manifest
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import small_recipe, write_images
from support.models import write_detector
from support.relaid import LAYOUTS, relaid_manifest, relay

NANO = Path(__file__).resolve().parents[2] / "config" / "reference_models" / "yolox_nano"
SUPPRESSING = [layout for layout in LAYOUTS if layout != "strongest"]


def write_relaid(folder: Path, raw: Manifest, layout: str, iou: float = 0.45) -> Manifest:
    """Write a raw YOLOX model's file in another layout, with its manifest."""
    folder.mkdir(parents=True)
    model = onnx.load(raw.variant_path("fp32"))
    onnx.save(relay(model, raw, layout, iou), folder / "fp32.onnx")
    manifest = relaid_manifest(raw, layout)
    variants = {"fp32": Variant(file="fp32.onnx", sha256=file_sha256(folder / "fp32.onnx"))}
    save_manifest(manifest.model_copy(update={"variants": variants}), folder)
    return load_manifest(folder)


def detections(manifest: Manifest, variant: str, images: Path) -> list[Detections]:
    pipeline = open_pipeline(manifest, variant, allow_rejected=True)
    try:
        found = [pipeline.run(frame)[0] for frame in open_frames(str(images))]
        return [one for one in found if isinstance(one, Detections)]
    finally:
        pipeline.close()


@pytest.mark.parametrize("layout", SUPPRESSING)
def test_every_layout_gives_the_boxes_of_the_raw_head(tmp_path: Path, layout: str) -> None:
    raw = load_manifest(write_detector(tmp_path / "raw"))
    images = write_images(tmp_path / "images", 6)

    expected = detections(raw, "fp32", images)
    found = detections(write_relaid(tmp_path / layout, raw, layout), "fp32", images)

    assert sum(len(one.scores) for one in expected) >= 12  # two squares on every image
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.boxes_xyxy, one.boxes_xyxy, atol=1e-3)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
        np.testing.assert_array_equal(other.class_ids, one.class_ids)


@cache
def drop_of(folder: Path, layout: str | None) -> tuple[float, int, dict[str, Any]]:
    """Return agreement drop, compute ops in integers and notes of int8; None for the raw head."""
    raw = load_manifest(folder / "raw")
    manifest = raw if layout is None else write_relaid(folder / layout, raw, layout)
    recipe = small_recipe(folder / f"recipe_{layout}")
    result = compress_model(manifest, recipe, str(folder / "images"), work=folder / f"work_{layout}")
    drop = result.verification.agreement.drop
    return float(drop), result.coverage.integer, result.passes[-1].notes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relaid")
    write_detector(folder / "raw")
    write_images(folder / "images", 40)
    return folder


@pytest.mark.parametrize("layout", ["columns", "objectness", "beside", "suppressed"])
def test_int8_loses_no_more_in_any_layout(tiny: Path, layout: str) -> None:
    """Pixels and scores in one tensor of 8 bits would lose objects: a step of 64 / 255 for scores."""
    expected, integer, _ = drop_of(tiny, None)
    drop, layers, notes = drop_of(tiny, layout)
    assert drop == pytest.approx(expected, abs=0.03)
    assert layers == integer  # convolutions are given up in no layout
    assert notes["concat_points"]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["columns", "beside", "suppressed"])
def test_a_trained_detector_has_the_same_accuracy_in_every_layout(
    tmp_path: Path, shared_dir: Path, layout: str
) -> None:
    """The layouts' files are made of the raw one, so their mAP is known: what the raw file has."""
    raw = load_manifest(NANO)
    manifest = write_relaid(tmp_path / layout, raw, layout, DETECTION_SETTINGS["nms_iou_threshold"])
    # A box of the decoder ssd counts under every class above the threshold, which gains a little.
    assert accuracy(manifest, shared_dir) == pytest.approx(raw_accuracy(shared_dir), abs=0.002)


@cache
def raw_accuracy(shared_dir: Path) -> float:
    figure = accuracy(load_manifest(NANO), shared_dir)
    assert figure > 0.3
    return figure


def accuracy(manifest: Manifest, shared_dir: Path) -> float:
    """Return mAP on the labeled images."""
    pipeline = open_pipeline(manifest)
    try:
        use_settings(pipeline, **DETECTION_SETTINGS)
        labeled = open_labeled(str(shared_dir / "data" / "coco64"), manifest)
        return evaluate(pipeline, labeled).figures["map"].value
    finally:
        pipeline.close()


def test_suppression_inside_is_refused_for_decoders_of_raw_boxes_and_end_to_end_is_named(tiny: Path) -> None:
    raw = load_manifest(tiny / "raw")
    manifest = write_relaid(tiny / "wrong", raw, "suppressed")
    wrong = manifest.model_copy(update={"output": raw.output})
    recipe = small_recipe(tiny / "recipe_wrong")
    with pytest.raises(ModelFileError, match="NonMaxSuppression .* decoder end_to_end"):
        compress_model(wrong, recipe, str(tiny / "images"), work=tiny / "work_wrong")
