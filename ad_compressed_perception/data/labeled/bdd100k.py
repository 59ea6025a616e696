# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""BDD100K detection labels (Scalabel): one JSON list of frames with their labels.

Format: https://doc.bdd100k.com/format.html. The last pixel belongs to a box, as in Scalabel's own conversion
to COCO (width = x2 - x1 + 1). Labels without ``box2d`` (lanes, drivable areas) are no objects. Crowds are
ignored, as there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.box_labels import (
    BoxLabels,
    LabeledBox,
    LabeledImage,
    file_of,
    first_finding,
    is_set,
    names_of,
)


class ScalabelBox(BaseModel):
    """Corners in pixels, the last one included."""

    x1: float = Field(allow_inf_nan=False)
    y1: float = Field(allow_inf_nan=False)
    x2: float = Field(allow_inf_nan=False)
    y2: float = Field(allow_inf_nan=False)


class ScalabelLabel(BaseModel):
    """An object; other keys are not needed."""

    category: str
    box2d: ScalabelBox | None = None
    score: float | None = None
    attributes: dict[str, Any] | None = None


class ScalabelFrame(BaseModel):
    """An image; ``labels`` is absent or null where it has no objects."""

    name: str
    labels: list[ScalabelLabel] | None = None


def frames_of(content: Any) -> list[Any] | None:
    """Return the frames of parsed JSON that looks like Scalabel; None for anything else."""
    frames = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(frames, list) or not frames:
        return None
    first = frames[0]
    return frames if isinstance(first, dict) and "name" in first and "image_id" not in first else None


def read_bdd100k(path: Path, frames: list[Any], images: Path) -> BoxLabels:
    """Return the labels of a file of frames.

    Args:
        path: of the file.
        frames: its parsed frames.
        images: folder of the images.

    Raises:
        DataError: a frame or a label is malformed; the message names it.
    """
    listed, without = [], 0
    for number, entry in enumerate(frames):
        try:
            frame = ScalabelFrame.model_validate(entry)
        except ValidationError as cause:
            raise DataError(f"{path}: frame {number}: {first_finding(cause, 'frame')}") from cause
        boxes = []
        for label in frame.labels or ():
            if label.box2d is None:
                without += 1
                continue
            box = (label.box2d.x1, label.box2d.y1, label.box2d.x2 + 1.0, label.box2d.y2 + 1.0)
            is_crowd = is_set((label.attributes or {}).get("crowd"))
            boxes.append(LabeledBox(box, label.category, is_ignored=is_crowd, score=label.score))
        listed.append(LabeledImage(file_of(images, frame.name), boxes, name=frame.name))
    notes = [f"{without} labels without a box were left out."] if without else []
    return BoxLabels(path, listed, names_of(listed), notes=notes)


def write_bdd100k(folder: Path, name: str, labels: BoxLabels) -> Path:
    """Write boxes, with their scores, as FOLDER/NAME.json and return the file."""
    frames = []
    for image in labels.images:
        entries = []
        for number, box in enumerate(image.boxes):
            left, top, right, bottom = box.box_xyxy
            entry: dict[str, Any] = {
                "id": str(number),
                "category": box.category,
                "box2d": {"x1": left, "y1": top, "x2": right - 1.0, "y2": bottom - 1.0},
            }
            if box.score is not None:
                entry["score"] = box.score
            if box.is_ignored:
                entry["attributes"] = {"crowd": True}
            entries.append(entry)
        frames.append({"name": image.name or image.path.name, "labels": entries})
    file = folder / f"{name}.json"
    file.write_text(json.dumps(frames, allow_nan=False), encoding="utf-8")
    return file
