# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images of the road camera with their ground truth, rendered once by all cores for several trainings."""

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
from ad_compressed_perception.training.models.image_buffer import Progress

MOST_BOXES = 40
"""Boxes kept of one image; the nearest ones first."""
SCENES_A_WORLD = 25
SOURCE = (640, 360)
"""(width, height) of what the camera gives."""
_DONE = "corpus.json"


@dataclass(frozen=True)
class SyntheticDatasetSpec:
    """What a corpus holds.

    Attributes:
        frames: images.
        seed: of the first world.
        sizes: (width, height) by kind of training.
    """

    frames: int
    seed: int
    sizes: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class SyntheticDataset:
    """The arrays of one kind.

    Attributes:
        images: (N, h, w, 3) uint8 BGR.
        boxes: (N, MOST_BOXES, 5) float32: label id (-1: none) and xyxy in pixels of ``images``.
        masks: (N, h, w) uint8 label ids, for segmentation; None otherwise.
        plans: (N, 14) float32, see driving.plan_vector.encode_plan.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8] | None
    plans: NDArray[np.float32]


def render_dataset(folder: Path, spec: SyntheticDatasetSpec, jobs: int, progress: Progress) -> None:
    """Render what is not there yet; a folder with the same spec is taken as it is.

    Args:
        folder: of the arrays.
        spec: what to render.
        jobs: processes.
        progress: told of every world.

    Raises:
        DataError: the disk has no room.
    """
    done = folder / _DONE
    written = json.loads(done.read_text()) if done.is_file() else None
    if written == json.loads(json.dumps(asdict(spec))):
        return
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    for kind, (width, height) in spec.sizes.items():
        _allocate(folder / f"{kind}_images.npy", (spec.frames, height, width, 3))
        if kind == "segmentation":
            _allocate(folder / f"{kind}_masks.npy", (spec.frames, height, width))
    boxes = np.full((spec.frames, MOST_BOXES, 5), -1.0, np.float32)
    plans: NDArray[np.float32] | None = None
    worlds = range(0, spec.frames, SCENES_A_WORLD)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(_render_world, folder, spec, first) for first in worlds]
        for count, future in enumerate(as_completed(pending), 1):
            first, some_boxes, some_plans = future.result()
            if plans is None:
                plans = np.zeros((spec.frames, some_plans.shape[1]), np.float32)
            boxes[first : first + len(some_boxes)] = some_boxes
            plans[first : first + len(some_plans)] = some_plans
            progress("rendering", count, len(worlds))
    np.save(folder / "boxes.npy", boxes)
    np.save(folder / "plans.npy", plans if plans is not None else np.zeros((0, 0), np.float32))
    done.write_text(json.dumps(asdict(spec)))


def open_dataset(folder: Path, kind: str, size: tuple[int, int]) -> SyntheticDataset:
    """Open the arrays of one kind; boxes are scaled to its images.

    The maps are copy on write: torch takes no array that cannot be written to.
    """
    boxes = np.load(folder / "boxes.npy")
    boxes[..., 1:] *= np.array([size[0] / SOURCE[0], size[1] / SOURCE[1]] * 2, np.float32)
    masks = None
    if kind == "segmentation":
        masks = np.load(folder / f"{kind}_masks.npy", mmap_mode="c")
    return SyntheticDataset(
        np.load(folder / f"{kind}_images.npy", mmap_mode="c"), boxes, masks, np.load(folder / "plans.npy")
    )


def jobs_here() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
            f"no room for {size / 1e9:.1f} GB in {path.parent} ({error.strerror}): lower road_camera.frames "
            "or give another --work folder"
        ) from error


def _render_world(
    folder: Path, spec: SyntheticDatasetSpec, first: int
) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """Render the scenes of one world into the arrays; return where they begin, their boxes and plans."""
    from ad_compressed_perception.driving.plan_vector import encode_plan
    from ad_road_simulation.renderer.renderer import Renderer
    from ad_road_simulation.world.camera import Camera
    from ad_road_simulation.world.sampling import training_samples
    from ad_road_simulation.world.scene import LABELS

    cv2.setNumThreads(1)
    count = min(SCENES_A_WORLD, spec.frames - first)
    tables = {kind: np.load(folder / f"{kind}_images.npy", mmap_mode="r+") for kind in spec.sizes}
    has_masks = "segmentation" in spec.sizes
    masks = np.load(folder / "segmentation_masks.npy", mmap_mode="r+") if has_masks else None
    renderer = Renderer(Camera(*SOURCE))
    boxes = np.full((count, MOST_BOXES, 5), -1.0, np.float32)
    plans = []
    for index, sample in enumerate(training_samples(spec.seed + first // SCENES_A_WORLD, count)):
        image = renderer.render(sample.scene)
        for kind, size in spec.sizes.items():
            tables[kind][first + index] = cv2.resize(image.image_bgr, size, interpolation=cv2.INTER_LINEAR)
        if masks is not None:
            assert image.mask is not None
            size = spec.sizes["segmentation"]
            masks[first + index] = cv2.resize(image.mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        nearest = sorted(image.boxes, key=lambda box: box.distance_m)[:MOST_BOXES]
        for place, box in enumerate(nearest):
            boxes[index, place] = LABELS.index(box.label), *box.xyxy
        reference = sample.reference
        plans.append(
            encode_plan(
                reference.curvature_per_m,
                reference.clear_distance_m,
                reference.must_stop,
                reference.may_proceed,
            )
        )
    return first, boxes, np.stack(plans)
