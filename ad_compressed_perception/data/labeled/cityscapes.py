# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: which mask belongs to which image, and what its ids mean.

Ids: https://github.com/mcordts/cityscapesScripts, helpers/labels.py. Masks ``*_labelIds.png`` have all ids,
``*_labelTrainIds.png`` the evaluated ones numbered from 0, 255 for the others.
"""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.errors import DataError

NAMES = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground"),
    *("road", "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge"),
    *("tunnel", "pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky"),
    *("person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
"""Of the ids 0, 1, ..."""
_NOT_EVALUATED = frozenset((*range(7), 9, 10, 14, 15, 16, 18, 29, 30))
TRAIN_NAMES = tuple(name for number, name in enumerate(NAMES) if number not in _NOT_EVALUATED)
"""Of the train ids 0, 1, ... 18."""
_IDS, _TRAIN_IDS = "_labelIds.png", "_labelTrainIds.png"
_IMAGES, _IMAGE_END = "leftImg8bit", "_leftImg8bit"
_PARTS = ("val", "test", "train")


def find_masks(labels: Path) -> list[Path]:
    """Return the masks of a Cityscapes folder: of its part val where it has parts; none for other folders.

    Both kinds of ids may lie beside each other: then those of all ids are taken.
    """
    if not labels.is_dir():
        return []
    fine = labels / "gtFine" if (labels / "gtFine").is_dir() else labels
    root = next((fine / part for part in _PARTS if (fine / part).is_dir()), fine)
    for end in (_IDS, _TRAIN_IDS):
        found = sorted(path for path in root.rglob(f"*{end}") if not path.name.startswith("."))
        if found:
            return found
    return []


def names_of(masks: list[Path]) -> dict[int, str | None]:
    """Return the name of each id of the masks; None where Cityscapes does not evaluate it."""
    if masks[0].name.endswith(_TRAIN_IDS):
        return dict(enumerate(TRAIN_NAMES))
    return {number: None if number in _NOT_EVALUATED else name for number, name in enumerate(NAMES)}


def pair(labels: Path, masks: list[Path], frames: str | None) -> list[tuple[Path, Path]]:
    """Return image and mask of every mask.

    Args:
        labels: the folder that was named.
        masks: of find_masks.
        frames: folder of the images, searched with its folders; None for leftImg8bit beside gtFine.

    Raises:
        DataError: there are no images, or a mask has none.
    """
    root = Path(frames).expanduser() if frames is not None else labels / _IMAGES
    if not root.is_dir():
        raise DataError(f"no images of Cityscapes in {root}: name their folder, as in MASKS@IMAGES")
    by_frame = {
        path.stem.removesuffix(_IMAGE_END): path
        for path in root.rglob("*")
        if path.suffix.lower() in (".png", ".jpg") and not path.name.startswith(".")
    }
    pairs = []
    for mask in masks:
        frame = mask.name
        for end in (_IDS, _TRAIN_IDS):
            frame = frame.removesuffix(end)
        for kind in ("_gtFine", "_gtCoarse"):
            frame = frame.removesuffix(kind)
        if frame not in by_frame:
            raise DataError(f"mask {mask} has no image {frame}{_IMAGE_END}.png in {root}")
        pairs.append((by_frame[frame], mask))
    return pairs
