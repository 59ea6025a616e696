# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files with heads of several families are imported, run on a frame, compressed and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.import_model import import_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.detectors import HEADS, head_request
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
