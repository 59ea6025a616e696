# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic images with their ground truth, rendered once by all cores for several trainings."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.driving.plan_vector import LENGTH
from ad_compressed_perception.training.default_models.frame_source import find_source

MAX_BOXES = 40
"""Boxes kept of one image; the nearest ones first."""
FRAMES_PER_SEQUENCE = 25
"""Frames taken from one seed of the source; sequences are rendered side by side."""
_SPEC_NAME = "dataset.json"
_RENAMED_FILES = ("corpus.json", "*_pictures.npy")
"""Files of earlier versions: gigabytes that nothing reads any more."""


@dataclass(frozen=True)
class SyntheticDatasetSpec:
    """What a dataset holds.

    Attributes:
        source: registered name of the frame source.
        frames: number of images; 0: none, for trainings on real images alone.
        seed: of the first sequence; each sequence has the next one.
        sizes: (width, height) by kind of training.
    """

    source: str
    frames: int
    seed: int
    sizes: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class SyntheticDataset:
    """The arrays of one kind.

    Attributes:
        images: (N, h, w, 3) uint8 BGR.
        boxes: (N, MAX_BOXES, 5) float32: label id (-1: none) and xyxy in pixels of ``images``.
        masks: (N, h, w) uint8 label ids, for segmentation; None otherwise.
        plans: (N, LENGTH) float32, see plan_targets.encode_plan.
        source_size: (width, height) of the frames before they were resized, pixels.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8] | None
    plans: NDArray[np.float32]
    source_size: tuple[int, int]


def render_dataset(folder: Path, spec: SyntheticDatasetSpec, jobs: int, progress: Progress) -> None:
    """Render a dataset; a folder that holds one of the same spec stays as it is.

    Args:
        folder: of the arrays.
        spec: what to render.
        jobs: worker processes.
        progress: called after every sequence.

    Raises:
        DataError: the disk has no room.
        RecipeError: no such source is registered.
    """
    done = folder / _SPEC_NAME
    written = json.loads(done.read_text()) if done.is_file() else None
    if written == json.loads(json.dumps(asdict(spec))):
        return
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    old_spec, old_images = _RENAMED_FILES
    if (folder / old_spec).is_file():
        for path in (
            *folder.glob(old_images),
            folder / old_spec,
        ):  # the spec last: it marks the others as ours
            path.unlink()
    if spec.frames:
        find_source(spec.source)  # an unknown one is refused here, not in a worker process
        _render(folder, spec, jobs, progress)
    done.write_text(json.dumps(asdict(spec)))


def open_dataset(folder: Path, kind: str, size: tuple[int, int]) -> SyntheticDataset:
    """Open the arrays of one kind; boxes are scaled to its images.

    The maps are copy on write: torch takes no array that cannot be written to.
    """
    spec = json.loads((folder / _SPEC_NAME).read_text())
    if spec["frames"] == 0:
        return empty_dataset(size)
    width, height = find_source(spec["source"]).image_size
    boxes = np.load(folder / "boxes.npy")
    boxes[..., 1:] *= np.array([size[0] / width, size[1] / height] * 2, np.float32)
    masks = None
    if kind == "segmentation":
        masks = np.load(folder / f"{kind}_masks.npy", mmap_mode="c")
    images = np.load(folder / f"{kind}_images.npy", mmap_mode="c")
    return SyntheticDataset(images, boxes, masks, np.load(folder / "plans.npy"), (width, height))


def empty_dataset(size: tuple[int, int]) -> SyntheticDataset:
    """Return a dataset without images, for a training on real images alone."""
    return SyntheticDataset(
        images=np.zeros((0, size[1], size[0], 3), np.uint8),
        boxes=np.zeros((0, MAX_BOXES, 5), np.float32),
        masks=np.zeros((0, size[1], size[0]), np.uint8),
        plans=np.zeros((0, LENGTH), np.float32),
        source_size=size,
    )


def _render(folder: Path, spec: SyntheticDatasetSpec, jobs: int, progress: Progress) -> None:
    for kind, (width, height) in spec.sizes.items():
        _allocate(folder / f"{kind}_images.npy", (spec.frames, height, width, 3))
        if kind == "segmentation":
            _allocate(folder / f"{kind}_masks.npy", (spec.frames, height, width))
    boxes = np.full((spec.frames, MAX_BOXES, 5), -1.0, np.float32)
    plans = np.zeros((spec.frames, LENGTH), np.float32)
    sequences = range(0, spec.frames, FRAMES_PER_SEQUENCE)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(_render_sequence, folder, spec, first) for first in sequences]
        for count, future in enumerate(as_completed(pending), 1):
            first, some_boxes, some_plans = future.result()
            boxes[first : first + len(some_boxes)] = some_boxes
            plans[first : first + len(some_plans)] = some_plans
            progress("rendering", count, len(sequences))
    np.save(folder / "boxes.npy", boxes)
    np.save(folder / "plans.npy", plans)


def _allocate(path: Path, shape: Sequence[int]) -> None:
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=tuple(shape))
    size = path.stat().st_size
    del table
    try:
        with path.open("r+b") as file:
            # A disk that fills up under a memory map kills the process; asked first, it says so.
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DataError(
            f"no room for {size / 1e9:.1f} GB in {path.parent} ({error.strerror}): lower synthetic.frames "
            "or give another work folder"
        ) from error


def _render_sequence(
    folder: Path, spec: SyntheticDatasetSpec, first: int
) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """Store the frames of one sequence; return the index of its first frame, the boxes and the plans."""
    cv2.setNumThreads(1)
    count = min(FRAMES_PER_SEQUENCE, spec.frames - first)
    tables = {kind: np.load(folder / f"{kind}_images.npy", mmap_mode="r+") for kind in spec.sizes}
    has_masks = "segmentation" in spec.sizes
    masks = np.load(folder / "segmentation_masks.npy", mmap_mode="r+") if has_masks else None
    source = find_source(spec.source)(spec.seed + first // FRAMES_PER_SEQUENCE, has_masks)
    boxes = np.full((count, MAX_BOXES, 5), -1.0, np.float32)
    plans = []
    for index in range(count):
        frame = source.next()
        for kind, size in spec.sizes.items():
            tables[kind][first + index] = cv2.resize(frame.image_bgr, size, interpolation=cv2.INTER_LINEAR)
        if masks is not None:
            assert frame.mask is not None
            size = spec.sizes["segmentation"]
            masks[first + index] = cv2.resize(frame.mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        nearest = frame.boxes[:MAX_BOXES]
        boxes[index, : len(nearest)] = nearest
        plans.append(frame.plan)
    return first, boxes, np.stack(plans)
