# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files with heads of several families are imported, run on a frame, compressed and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_compressed_perception.analysis.evaluate import evaluate
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.import_model import import_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import small_recipe, write_images
from support.detectors import HEADS, LARGE_BOXES, head_request
from support.labeled import SCENES, write_boxes
from support.models import draw_scene


@pytest.mark.parametrize("head", HEADS)
def test_a_file_is_imported_and_boxes_the_bright_squares(tmp_path: Path, head: str) -> None:
    file = tmp_path / "stranger.onnx"
    imported = import_model(file, tmp_path / "model", head_request(HEADS[head](file)))
    pipeline = open_pipeline(imported.manifest)
    found, _ = pipeline.run(Frame(draw_scene(0), "BGR"))
    assert {found.labels[i] for i in found.class_ids} == {"car", "sign"}  # blue and red
    # Every box's center lies on a square: blue at x 8..40, y 8..40; red at x 88..120, y 48..80.
    for (left, top, right, bottom), class_id in zip(found.boxes_xyxy, found.class_ids, strict=True):
        low_x, low_y = (8, 8) if class_id == 0 else (88, 48)
        assert low_x <= (left + right) / 2 <= low_x + 32
        assert low_y <= (top + bottom) / 2 <= low_y + 32
        assert right - left > 10


@pytest.mark.parametrize("head", ["yolo", "nanodet", "centernet", "grid"])
def test_a_file_is_compressed_to_8_bits_and_judged(tmp_path: Path, head: str) -> None:
    file = tmp_path / "stranger.onnx"
    model = import_model(file, tmp_path / "model", head_request(LARGE_BOXES[head](file))).manifest
    images = write_images(tmp_path / "images", 40)

    result = compress_model(model, small_recipe(tmp_path / "recipe"), str(images), work=tmp_path / "work")

    assert result.verdict.status == "accepted", result.verdict.reasons
    # One scale for pixels and scores would lose every object.
    assert result.verification.agreement.score > 0.9
    assert result.manifest.variant("small").figures["integer_coverage"] == 1.0


@pytest.mark.parametrize("head", HEADS)
def test_a_file_is_evaluated_on_labeled_images(tmp_path: Path, head: str) -> None:
    file = tmp_path / "stranger.onnx"
    model = import_model(file, tmp_path / "model", head_request(HEADS[head](file))).manifest
    data = open_labeled(str(write_boxes(tmp_path / "boxes", SCENES)), model)
    found = evaluate(open_pipeline(model), data)
    # Cells of 8 pixels are boxed exactly.
    assert found.figures["ap50"].value == pytest.approx(1.0)
    assert found.figures["map"].value > 0.75


def test_a_head_read_with_wrong_options_is_not_imported(tmp_path: Path) -> None:
    """A model whose boxes or scores mean something else gives boxes on every frame, and a verdict on them."""
    file = tmp_path / "stranger.onnx"
    decoder, options = HEADS["yolo with objectness"](file)
    for wrong, named in (
        ({"box_units": "pixels"}, "box_units: normalized"),
        ({"box_format": "xyxy"}, "box_format: xywh"),
        ({"scores": "logits"}, "scores"),
    ):
        with pytest.raises(ModelFileError, match=named):
            import_model(file, tmp_path / "model", head_request((decoder, {**options, **wrong})))
    decoder, options = HEADS["single map"](file)
    with pytest.raises(ModelFileError, match="activated"):
        import_model(file, tmp_path / "model", head_request((decoder, {**options, "activated": False})))
