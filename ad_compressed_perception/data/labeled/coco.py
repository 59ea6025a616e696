# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""COCO: instances (ground truth) and results (detections) as JSON.

Format: https://cocodataset.org/#format-data and #format-results. A box is left, top, width, height.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.box_labels import (
    BoxLabels,
    LabeledBox,
    LabeledImage,
    are_shares,
    first_finding,
)

_Finite = Annotated[float, Field(allow_inf_nan=False)]

JSON_NAMES = ("instances.json", "_annotations.coco.json")


class CocoImage(BaseModel):
    """An image entry; other keys are not needed."""

    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class CocoAnnotation(BaseModel):
    """An object: its box is left, top, width, height in pixels."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class CocoRegion(BaseModel):
    """A region in which nothing counts; not part of COCO, but of sets made from others with such regions."""

    image_id: int
    bbox: tuple[float, float, float, float]


class CocoCategory(BaseModel):
    """A category's number and name."""

    id: int
    name: str


class CocoFile(BaseModel):
    """The parts of a COCO instances file that detection needs."""

    images: list[CocoImage] = Field(min_length=1)
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory] = Field(min_length=1)
    ignore_regions: list[CocoRegion] = Field(default_factory=list)


def parse_coco(path: Path, content: Any) -> CocoFile:
    """Return parsed JSON as a COCO instances file; raise DataError in one line where it is not one."""
    try:
        return CocoFile.model_validate(content)
    except ValidationError as cause:
        further = cause.error_count() - 1
        more = f" (and {further} more)" if further else ""
        raise DataError(f"{path} is no COCO file: {first_finding(cause, 'top level')}{more}") from cause


def read_coco(path: Path, content: Any, images: Path) -> BoxLabels:
    """Return the labels of a COCO instances file.

    Args:
        path: of the file.
        content: its parsed JSON.
        images: folder of the images.

    Raises:
        DataError: it is no COCO file, or an annotation is of an image or category that it does not list.
    """
    coco = parse_coco(path, content)
    names = {one.id: one.name for one in coco.categories}
    boxes: dict[int, list[LabeledBox]] = {image.id: [] for image in coco.images}
    regions: dict[int, list[tuple[float, float, float, float]]] = {image.id: [] for image in coco.images}
    if len(boxes) != len(coco.images):
        raise DataError(f"{path} lists two images under one id")
    for number, one in enumerate(coco.annotations):
        if one.image_id not in boxes:
            raise DataError(f"{path}: annotation {number} is of image {one.image_id}, which is not listed")
        if one.category_id not in names:
            raise DataError(f"{path}: annotation {number} is of unknown category {one.category_id}")
        boxes[one.image_id].append(
            LabeledBox(_xyxy(one.bbox), names[one.category_id], is_ignored=bool(one.iscrowd))
        )
    for number, region in enumerate(coco.ignore_regions):
        if region.image_id not in regions:
            raise DataError(
                f"{path}: ignore region {number} is of image {region.image_id}, which is not listed"
            )
        regions[region.image_id].append(_xyxy(region.bbox))
    listed = [
        LabeledImage(
            images / image.file_name,
            boxes[image.id],
            regions[image.id],
            image.width,
            image.height,
            image.id,
            image.file_name,
        )
        for image in coco.images
    ]
    ids = {one.name: one.id for one in reversed(coco.categories)}
    return BoxLabels(path, listed, list(dict.fromkeys(names.values())), ids)


def _xyxy(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, width, height = box
    return left, top, left + width, top + height


def coco_instances(labels: BoxLabels) -> dict[str, Any]:
    """Return ground truth as a COCO instances document; images and categories keep their numbers."""
    image_ids, category_ids = numbers_of(labels)
    annotations: list[dict[str, Any]] = []
    for image, image_id in zip(labels.images, image_ids, strict=True):
        every = [(box.box_xyxy, box.category, box.is_ignored) for box in image.boxes]
        # In COCO a region belongs to a category.
        every += [(region, name, True) for region in image.ignored_regions for name in labels.categories]
        for box, name, is_ignored in every:
            left, top, right, bottom = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[name],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(is_ignored),
                }
            )
    return {
        "images": [
            {
                "id": image_id,
                "file_name": image.name or image.path.name,
                "width": image.width,
                "height": image.height,
            }
            for image, image_id in zip(labels.images, image_ids, strict=True)
        ],
        "annotations": annotations,
        "categories": [{"id": category_ids[name], "name": name} for name in labels.categories],
    }


def coco_results(labels: BoxLabels) -> list[dict[str, Any]]:
    """Return detections as a COCO results document, under the numbers that coco_instances gives."""
    image_ids, category_ids = numbers_of(labels)
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[box.category],
            "bbox": [
                box.box_xyxy[0],
                box.box_xyxy[1],
                box.box_xyxy[2] - box.box_xyxy[0],
                box.box_xyxy[3] - box.box_xyxy[1],
            ],
            "score": box.score,
        }
        for image, image_id in zip(labels.images, image_ids, strict=True)
        for box in image.boxes
    ]


def numbers_of(labels: BoxLabels) -> tuple[list[int], dict[str, int]]:
    """Return the numbers of images and categories: those of the data, or counted from 1."""
    image_ids = [image.image_id for image in labels.images]
    numbers = [number for number in image_ids if number is not None]
    if len(set(numbers)) != len(image_ids):
        numbers = list(range(1, len(image_ids) + 1))
    known = labels.category_ids
    if set(labels.categories) <= set(known):
        return numbers, {name: known[name] for name in labels.categories}
    return numbers, {name: index for index, name in enumerate(labels.categories, start=1)}


def write_coco(folder: Path, name: str, labels: BoxLabels) -> Path:
    """Write detections as FOLDER/NAME.json and return the file."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(coco_results(labels), allow_nan=False), encoding="utf-8")
    return file


def write_coco_instances(folder: Path, labels: BoxLabels) -> Path:
    """Write ground truth as FOLDER/instances.json and return the file."""
    file = folder / JSON_NAMES[0]
    file.write_text(json.dumps(coco_instances(labels), allow_nan=False), encoding="utf-8")
    return file


def read_coco_results(path: Path, content: Any, labels: BoxLabels) -> Sequence[Sequence[LabeledBox]]:
    """Return the detections of each image of ``labels`` that a COCO results file holds.

    Raises:
        DataError: it is no list of results, one is of an image or a category that ``labels`` does not have,
            or all boxes are shares instead of pixels.
    """
    image_ids, category_ids = numbers_of(labels)
    names = {number: name for name, number in category_ids.items()}
    found: dict[int, list[LabeledBox]] = {number: [] for number in image_ids}
    if not isinstance(content, list):
        raise DataError(f"{path} is no COCO results file: a list of image_id, category_id, bbox, score")
    for number, entry in enumerate(content):
        try:
            result = CocoResult.model_validate(entry)
        except ValidationError as cause:
            raise DataError(f"{path}: result {number}: {first_finding(cause, 'entry')}") from cause
        if result.image_id not in found or result.category_id not in names:
            raise DataError(
                f"{path}: result {number} is of image {result.image_id} and category {result.category_id}, "
                "which the labels do not have"
            )
        found[result.image_id].append(
            LabeledBox(_xyxy(result.bbox), names[result.category_id], score=result.score)
        )
    if content and all(are_shares(box.box_xyxy) for boxes in found.values() for box in boxes):
        raise DataError(f"all boxes of {path} look like shares of the image's size: results are in pixels")
    return [found[number] for number in image_ids]


class CocoResult(BaseModel):
    """A detection."""

    image_id: int
    category_id: int
    bbox: tuple[_Finite, _Finite, _Finite, _Finite]
    score: float = Field(ge=0.0, le=1.0)
