# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images with ground-truth label masks; ids are matched to a model's labels by a label map or by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.data.bad_frames import BadFrame
from ad_compressed_perception.data.frames import list_images, list_images_and_others, read_image_file
from ad_compressed_perception.data.labeled import cityscapes
from ad_compressed_perception.data.labeled.box_labels import twins_note
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame
from ad_compressed_perception.data.labeled.exif import rotation_hint, rotation_note
from ad_compressed_perception.data.labeled.label_map import (
    MAX_MASK_ID,
    LabelMap,
    load_label_map,
    normalized,
    shipped_label_maps,
    table_of_map,
    table_of_names,
)
from ad_compressed_perception.metrics.confusion import IGNORE

LABEL_MAP_NAME = "label_map.yaml"
NAMES_NAME = "labels.json"
"""A list of the names of the ids 0, 1, ...: enough where they are the model's labels too."""


def read_mask(path: Path) -> NDArray[Any]:
    """Read a mask as (H, W) integers, one id a pixel; a palette's indices are the ids, not its colors.

    Raises:
        DataError: the file cannot be read or has colors instead of ids.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, kind, ids = image.mode, image.format, np.asarray(image)
    except Exception as cause:  # Pillow raises what its many decoders raise
        raise DataError(f"not a readable mask: {path}: {one_line(cause)}") from cause
    if kind == "JPEG":
        raise DataError(f"mask {path} is a JPEG, whose compression changes ids: write masks as PNG")
    if ids.ndim != 2 or mode == "F":
        raise DataError(f"mask {path} is an image of mode {mode}: a mask has one channel, an id a pixel")
    if ids.dtype == bool:
        ids = ids.astype(np.uint8)
    if ids.size and (ids.min() < 0 or ids.max() > MAX_MASK_ID):
        raise DataError(f"mask {path} has ids outside 0..{MAX_MASK_ID}")
    return ids


def read_names(path: Path) -> list[str]:
    """Read the names of mask ids; raise DataError where the file is no list of different names."""
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as cause:
        raise DataError(f"cannot read {path}: {cause.strerror or cause}") from cause
    except ValueError as cause:
        raise DataError(f"{path} is no JSON file: {cause}") from cause
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or not 0 < len({normalized(name) for name in names}) == len(names) < IGNORE:
        raise DataError(f"{path} must be a list of different names, one for each mask id from 0 on")
    return list(names)


class MaskData(LabeledData):
    """Images and masks of the same names; the ground truth of a frame is (H, W) uint8 class indices."""

    task = "segmentation"

    def __init__(
        self,
        labels_path: Path,
        frames: str | None,
        model_labels: Sequence[str],
        label_map: LabelMap | None = None,
    ) -> None:
        """Pair images and masks.

        Args:
            labels_path: a folder with images/ and masks/, the masks' folder when ``frames`` is given, or a
                folder of Cityscapes.
            frames: the images' folder.
            model_labels: the model's labels.
            label_map: what the ids mean; a label_map.yaml or labels.json in the folder when None.

        Raises:
            DataError: no masks, no pair, no label map or names, or ones that do not match the model.
        """
        self.notes = []
        of_cityscapes = cityscapes.find_masks(labels_path)
        if of_cityscapes:
            self.describe = f"{labels_path}@{frames}" if frames else str(labels_path)
            self._pairs = cityscapes.pair(labels_path, of_cityscapes, frames)
        else:
            self._pair_by_name(labels_path, frames)
        self.notes += rotation_note([image for image, _ in self._pairs])
        self._of_id = np.zeros(MAX_MASK_ID + 1, np.uint8)
        self._known = np.ones(MAX_MASK_ID + 1, bool)
        self._is_binary = False
        if label_map is None and of_cityscapes:
            self._use_names(cityscapes.names_of(of_cityscapes), model_labels)
        else:
            chosen = label_map or self._own_map(labels_path)
            if chosen is None:
                self._use_names(dict(enumerate(read_names(labels_path / NAMES_NAME))), model_labels)
            else:
                self._use_map(chosen, model_labels)
        self.class_names = self.classes.names

    def _pair_by_name(self, labels_path: Path, frames: str | None) -> None:
        masks = labels_path if frames is not None else labels_path / "masks"
        images = Path(frames).expanduser() if frames is not None else labels_path / "images"
        if not masks.is_dir() or not images.is_dir():
            raise DataError(
                f"no masks in {labels_path}: a segmentation model is evaluated on a folder with images/ "
                "and masks/, or on MASKS@IMAGES"
            )
        self.describe = f"{masks}@{images}" if frames else str(labels_path)
        by_stem = {path.stem: path for path in list_images(masks)}
        image_paths, self.ignored_files = list_images_and_others(images)
        self._pairs = [(path, by_stem[path.stem]) for path in image_paths if path.stem in by_stem]
        if not self._pairs:
            raise DataError(
                f"no image in {images} has a mask of its name in {masks} "
                f"(for example {image_paths[0].name} and {next(iter(by_stem.values())).name})"
            )
        self.notes += twins_note([image for image, _ in self._pairs])
        if len(self._pairs) < len(image_paths):
            self.notes.append(f"{len(image_paths) - len(self._pairs)} images without a mask were left out.")

    def _use_map(self, chosen: LabelMap, model_labels: Sequence[str]) -> None:
        if not any(part.mask_ids for part in chosen.classes.values()):
            raise DataError("the label map names no mask_ids: segmentation needs classes.NAME.mask_ids")
        self.classes = table_of_map(chosen, model_labels, with_rest=True)
        count = len(self.classes.names)
        if count > IGNORE:
            raise DataError(f"the label map has more than {IGNORE - 1} classes")
        self._of_id[:] = count - 1
        for index, part in enumerate(chosen.classes.values()):
            self._of_id[part.mask_ids] = index
        self._of_id[chosen.ignore_ids] = IGNORE

    def _use_names(self, names: Mapping[int, str | None], model_labels: Sequence[str]) -> None:
        """Match the names of ids; ids without a name do not count."""
        ids = [number for number, name in names.items() if name is not None]
        named = [name for name in names.values() if name is not None]
        self.classes, of_id = table_of_names(named, model_labels)
        self._of_id[:] = IGNORE
        self._of_id[ids] = of_id
        self._known = np.zeros(MAX_MASK_ID + 1, bool)
        self._known[[*names, IGNORE]] = True
        self._is_binary = len(names) == 2

    def _own_map(self, folder: Path) -> LabelMap | None:
        if (folder / LABEL_MAP_NAME).is_file():
            return load_label_map(folder / LABEL_MAP_NAME)
        if (folder / NAMES_NAME).is_file():
            return None
        raise DataError(
            f"{folder} does not say what its mask ids mean: give a label map (a file, or one of "
            f"{', '.join(shipped_label_maps()) or 'none shipped'}) or put a {LABEL_MAP_NAME} or "
            f"{NAMES_NAME} there"
        )

    def __len__(self) -> int:
        """Number of images with a mask."""
        return len(self._pairs)

    def image_path(self, index: int) -> Path:
        """Return the image's file."""
        return self._pairs[index][0]

    def read(self, indices: Iterable[int]) -> Iterator[LabeledFrame | BadFrame]:
        """Read the images and masks; a pair of different sizes is bad."""
        for index in indices:
            image, mask = self._pairs[index]
            try:
                frame = read_image_file(image, stamp_ns=index)
                ids = read_mask(mask)
            except DataError as error:
                yield BadFrame(index, str(error))
                continue
            height, width = frame.pixels.shape[:2]
            if ids.shape != (height, width):
                reason = f"{mask} is {ids.shape[1]}x{ids.shape[0]} pixels, its image {width}x{height}"
                yield BadFrame(index, reason + rotation_hint(image))
                continue
            reason = self._why_unknown(ids)
            if reason:
                yield BadFrame(index, f"{mask} {reason}")
                continue
            yield LabeledFrame(frame, self._of_id[ids])

    def _why_unknown(self, ids: NDArray[Any]) -> str:
        """Return what is wrong with a mask's ids where their names are given; they would count nowhere."""
        present = np.flatnonzero(np.bincount(ids.reshape(-1)))
        unknown = present[~self._known[present]]
        if unknown.size:
            return f"has the id {unknown[0]}, which has no name; pixels that do not count are {IGNORE}"
        if self._is_binary and present.tolist() == [0, IGNORE]:
            return f"holds 0 and {IGNORE} only: of two names the ids are 0 and 1, and {IGNORE} does not count"
        return ""
