# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names of classes where the user gives none: from the metadata, from a well-known list, or numbered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ad_compressed_perception.core.manifest import MANIFEST_NAME, load_manifest
from ad_compressed_perception.core.resources import config_folder

# Ids 1 to 90 of COCO's annotations; these were never annotated.
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
CITYSCAPES_19 = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle"),
    "bicycle",
)
VOC_20 = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)


@cache
def coco_80() -> tuple[str, ...]:
    """Return COCO's classes by contiguous ids, those of the reference model; empty where that is absent."""
    folder = config_folder("reference_models")
    if folder is None or not (folder / "yolox_nano" / MANIFEST_NAME).is_file():
        return ()
    return tuple(load_manifest(folder / "yolox_nano").labels)


def coco_90() -> tuple[str, ...]:
    """Return names of COCO's ids 1 to 90, with ``unused_ID`` for those that have no class."""
    names = iter(coco_80())
    return tuple(f"unused_{id_}" if id_ in _COCO_GAPS else next(names) for id_ in range(1, 91))


def proposed_labels(task: str, classes: int) -> tuple[tuple[str, ...], str]:
    """Return labels for so many classes, and where they are from.

    Args:
        task: the model's task.
        classes: how many its output has room for.

    Returns:
        The labels, and the name of a well-known list of this length; empty where they are numbered.
    """
    if task == "detection":
        if coco_80() and classes in (80, 90, 91):
            return {
                80: (coco_80(), "COCO's 80 classes"),
                90: (coco_90(), "COCO's ids 1 to 90"),
                91: (("background", *coco_90()), "COCO's ids 0 to 90"),
            }[classes]
        if classes == len(VOC_20):
            return VOC_20, "Pascal VOC's 20 classes"
    if task == "segmentation":
        if classes == len(CITYSCAPES_19):
            return CITYSCAPES_19, "Cityscapes' 19 training classes"
        if classes == len(VOC_20) + 1:
            return ("background", *VOC_20), "Pascal VOC's 20 classes and background"
        if classes == 2:
            return ("background", "foreground"), ""
    return tuple(f"class_{index}" for index in range(classes)), ""


def unique_labels(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return labels that differ, and those that occurred more than once.

    A repeated name gets a number: ``tv``, ``tv_2``; the first keeps its name. Lists such as LVIS or that of
    a merged data set repeat names, while results are reported and compared by name.
    """
    taken, made, repeated = set(labels), [], []
    seen: set[str] = set()
    for label in labels:
        name, number = label, 2
        while name in seen or (name != label and name in taken):
            name, number = f"{label}_{number}", number + 1
        if name != label and label not in repeated:
            repeated.append(label)
        seen.add(name)
        made.append(name)
    return made, repeated
