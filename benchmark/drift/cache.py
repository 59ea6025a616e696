# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of changed and unchanged frames with results of models, computed once and stored.

Results are stored apart from the statistics: the models cost most of the time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.results import LabelMask, Result
from ad_compressed_perception.data.frames import read_image_file
from ad_compressed_perception.drift.frame_statistics import FrameStatistics, StatisticsReader
from ad_compressed_perception.drift.result_statistics import ResultStatistics
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.workspace.atomic_file import write_file
from benchmark.drift.changes import CHANGES
from benchmark.drift.damaged_models import DAMAGES, open_damaged
from benchmark.drift.drives import stamped

MODELS: Final = {
    "detection": ("models/road_detection", "int8_openvino_small"),
    "segmentation": ("models/road_segmentation", "int8_small"),
    "planning": ("models/road_planning", "prune_int8"),
}


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of a folder, changed or not.

    Attributes:
        folder: of the images.
        start_s, end_s: stamps, relative to the first image.
        change: name in CHANGES; empty: unchanged.
        seed: of the change.
        every: of so many frames one is taken.
        model: what gives the results: empty: the shipped variant; a damage; or a variant's name.
        period_s: of images without stamps, which are cut and scaled to 640x480; 0: they have stamps.
    """

    folder: Path
    start_s: float = 0.0
    end_s: float = 1e9
    change: str = ""
    seed: int = 0
    every: int = 1
    model: str = ""
    period_s: float = 0.0

    @property
    def name(self) -> str:
        """Name of the clip's files."""
        end = "end" if self.end_s >= 1e9 else f"{self.end_s:g}"
        change = self.change.replace(" ", "_")
        folder = self.folder.parent.name if self.period_s else self.folder.name
        return f"{folder}-{self.start_s:g}-{end}-{change}-{self.seed}-{self.every}"

    def frames(self) -> list[tuple[float, Frame]]:
        """Return stamps, in seconds, and frames."""
        change = CHANGES[self.change][1](self.seed) if self.change else None
        first, frames = None, []
        for stamp_s, path in stamped(self.folder, self.period_s)[:: self.every]:
            first = stamp_s if first is None else first
            if not self.start_s <= stamp_s - first < self.end_s:
                continue
            frame = read_image_file(path)
            if self.period_s:
                frame = Frame(fit(frame.pixels), "BGR")
            frames.append((stamp_s, Frame(change(frame.pixels), "BGR") if change else frame))
        return frames


def fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the middle of an image with an aspect of 4 to 3, in 640x480, (480, 640, 3) BGR."""
    image = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    height, width = image.shape[:2]
    wide, high = min(width, height * 4 // 3), min(height, width * 3 // 4)
    top, left = (height - high) // 2, (width - wide) // 2
    return np.asarray(cv2.resize(image[top : top + high, left : left + wide], (640, 480)), np.uint8)


def small_mask(result: Result) -> Result:
    """Return a mask in the size that statistics are taken from; other results as they are."""
    if not isinstance(result, LabelMask):
        return result
    rows, columns = (
        max(1, side // grid) for side, grid in zip(result.label_ids.shape, (60, 80), strict=True)
    )
    return LabelMask(np.ascontiguousarray(result.label_ids[::rows, ::columns]), result.labels)


def open_models(model: str) -> Callable[[str], Pipeline]:
    """Return what opens a task's model: the shipped variant, another one, or a damaged baseline."""

    def open_one(task: str) -> Pipeline:
        folder, variant = MODELS[task]
        if model in DAMAGES:
            return open_damaged(load_manifest(Path(folder)), model)
        return open_pipeline(load_manifest(Path(folder)), model or variant)

    return open_one


def clip_results(clip: Clip, cache: Path, task: str) -> list[Result]:
    """Return a task's results of a clip, from the cache where they are there."""
    path = cache / "results" / f"{clip.name}-{clip.model or 'shipped'}-{task}.pickle"
    if not path.exists():
        pipeline = open_models(clip.model)(task)
        write_file(path, pickle.dumps([small_mask(pipeline.run(frame)[0]) for _, frame in clip.frames()]))
        pipeline.close()
    found: list[Result] = pickle.loads(path.read_bytes())
    return found


def clip_statistics(clip: Clip, cache: Path, task: str) -> list[tuple[float, FrameStatistics]]:
    """Return stamps and statistics of a clip, those of images from the cache where they are there.

    An unchanged clip is cut from the statistics of its whole folder.

    Args:
        clip: of a changed image the results are not computed: what is expected of them is known for images
            like the reference's only, and the monitor leaves them out.
        cache: folder.
        task: of MODELS; another name: no results.
    """
    whole = replace(clip, start_s=0.0, end_s=1e9)
    if clip != whole and not clip.change and not clip.model and not clip.period_s:
        every = clip_statistics(whole, cache, task)
        return [one for one in every if clip.start_s <= one[0] - every[0][0] < clip.end_s]
    path = cache / "images" / f"{clip.name}.pickle"
    if not path.exists():
        reader = StatisticsReader()
        write_file(
            path, pickle.dumps([(stamp_s, reader.compute(frame, None)) for stamp_s, frame in clip.frames()])
        )
    images: list[tuple[float, FrameStatistics]] = pickle.loads(path.read_bytes())
    if task not in MODELS or clip.change or clip.period_s:
        return images
    found = clip_results(clip, cache, task)
    results = ResultStatistics(tuple(getattr(found[0], "labels", ())))
    joined = []
    for (stamp_s, image), result in zip(images, found, strict=True):
        names, values = results.compute(result, *image.size[:2])
        values = np.concatenate([image.values, values]).astype(np.float32)
        joined.append((stamp_s, replace(image, names=(*image.names, *names), values=values)))
    return joined
