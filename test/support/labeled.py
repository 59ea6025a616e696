# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small labeled data sets on which the tiny models of support.models are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

CELL = 8
"""Side of the squares that the tiny detector boxes exactly, pixels."""
COLORS = {"car": (255, 190, 190), "person": (190, 255, 190), "sign": (190, 190, 255)}


def write_boxes(folder: Path, scenes: list[list[tuple[str, int, int]]], **changes: Any) -> Path:
    """Write COCO data of 64x64 black images with bright cells, and return the folder.

    Args:
        folder: gets instances.json and images/.
        scenes: for each image its objects: (category, column, row) of an 8x8 cell.
        changes: top-level entries of the file to replace.
    """
    (folder / "images").mkdir(parents=True)
    categories = [{"id": 7 + index, "name": name} for index, name in enumerate(COLORS)]
    numbers = {one["name"]: one["id"] for one in categories}
    images, annotations = [], []
    for index, objects in enumerate(scenes):
        image = np.zeros((64, 64, 3), np.uint8)
        images.append({"id": index, "file_name": f"{index}.png", "width": 64, "height": 64})
        for name, column, row in objects:
            left, top = CELL * column, CELL * row
            image[top : top + CELL, left : left + CELL] = COLORS[name]
            box = [left, top, CELL, CELL]
            annotations.append({"image_id": index, "category_id": numbers[name], "bbox": box})
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
    document = {"images": images, "annotations": annotations, "categories": categories, **changes}
    (folder / "instances.json").write_text(json.dumps(document))
    return folder


SCENES = [[("car", 1, 1), ("person", 5, 5)], [("sign", 3, 6)], [("car", 6, 1)], []]

LABEL_MAP: dict[str, Any] = {
    "classes": {
        "cold": {"mask_ids": [4], "labels": ["blue", "green"]},
        "warm": {"mask_ids": [9, 200], "labels": ["red"]},
    },
    "ignore_ids": [255],
}


def write_masks(folder: Path, count: int = 3, label_map: dict[str, Any] | None = LABEL_MAP) -> Path:
    """Write images of a blue left and a red right half with the fitting masks; return the folder."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :32, 0] = 200
        image[:, 32:, 2] = 200
        mask = np.full((48, 64), 4, np.uint8)
        mask[:, 32:] = 9
        mask[0] = 255
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{index}.png"), mask)
    if label_map is not None:
        (folder / "label_map.yaml").write_text(yaml.safe_dump(label_map))
    return folder


def steering_images(count: int) -> list[NDArray[np.uint8]]:
    """Return 32x32 BGR images whose left half grows brighter: the tiny planner steers 0 to 1 rad."""
    images = []
    for index in range(count):
        image = np.zeros((32, 32, 3), np.uint8)
        image[:, :16] = round(255 * index / max(1, count - 1) / 2)
        images.append(image)
    return images


def true_angle(index: int, count: int) -> float:
    """Return the angle of the tiny planner on such an image: 2 rad for a white left half."""
    return 2.0 * round(255 * index / max(1, count - 1) / 2) / 255


def write_csv(path: Path, rows: list[tuple[int, float]]) -> Path:
    """Write a steering log of (stamp in ns, angle in rad) and return it."""
    lines = ["stamp_ns,steering_angle_rad", *(f"{stamp},{angle}" for stamp, angle in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
