# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drives with what the default models gave on them, played to the code that a node answers frames by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.results import LabelMask, Result
from ad_compressed_perception.data.bag_frames import BagFrames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.guard import Guard, GuardSettings
from ad_compressed_perception.serving.ladder import LadderSettings
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import ModelIdentity
from ad_compressed_perception.tasks.pipeline import open_pipeline

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = {
    "planning": "prune_int8_onnxruntime",
    "segmentation": "int8_small",
    "detection": "int8_onnxruntime",
}
"""Accepted variants of the default models; the baseline is their standby."""
RATE_HZ = 20.0
_SAMPLES = 4096
_THIN = 8


@dataclass(frozen=True)
class Played:
    """A frame: what a model gave, and what is looked at of its input and outputs.

    Attributes:
        stamp_ns: source stamp.
        result: masks are thinned out.
        feeds: a part of the model's input.
        outputs: a part of each raw output.
    """

    stamp_ns: int
    result: Result
    feeds: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


def frames_of(bag: Path | None, count: int, seed: int = 7) -> Iterator[Frame]:
    """Yield the frames of a recorded drive; without one of a simulated drive of 20 Hz."""
    if bag is not None:
        for frame in BagFrames(bag, None, limit=count):
            if isinstance(frame, Frame):
                yield frame
        return
    from ad_road_simulation.recording.drive import driven_frames
    from ad_road_simulation.renderer.renderer import Renderer
    from ad_road_simulation.world.camera import Camera
    from ad_road_simulation.world.layout import RouteOptions

    for one in driven_frames(seed, count, RouteOptions(), Renderer(Camera(640, 480)), RATE_HZ):
        yield Frame(one.image_bgr.copy(), "BGR", one.stamp_ns)


def played(task: str, frames: Sequence[Frame]) -> tuple[list[Played], list[Played]]:
    """Return what variant and baseline of a task's default model give on frames."""
    manifest = load_manifest(ROOT / "models" / f"road_{task}")
    found = []
    for variant in (VARIANTS[task], manifest.baseline):
        pipeline = open_pipeline(manifest, variant, options={"threads": 1})
        found.append([_play(pipeline, frame) for frame in frames])
        pipeline.close()
    return found[0], found[1]


def _play(pipeline: Any, frame: Frame) -> Played:
    feeds, geometry = pipeline.task.prepare(frame)
    outputs = pipeline.session.infer(feeds)
    result = pipeline.task.decode(outputs, geometry)
    if isinstance(result, LabelMask):
        result = LabelMask(np.ascontiguousarray(result.label_ids[::_THIN, ::_THIN]), result.labels)
    return Played(frame.stamp_ns, result, _part(feeds), _part(outputs))


def _part(arrays: Any) -> dict[str, NDArray[Any]]:
    flat = {name: np.asarray(array).reshape(-1) for name, array in arrays.items()}
    return {name: array[:: (array.size // _SAMPLES) | 1].copy() for name, array in flat.items()}


class PlayedModel:
    """Takes the place of a ServedModel."""

    def __init__(self, variant: str) -> None:
        """Play what next() gives."""
        self.identity = ModelIdentity(model="played", variant=variant)
        info = SimpleNamespace(outputs=())
        self.pipeline = SimpleNamespace(session=SimpleNamespace(info=info), on_outputs=None)
        self.in_use, self.run_number, self.late_run = False, 0, 0
        self.frame: Played | None = None

    def run(self, frame: Any, settings: Any, before: Any) -> tuple[Result, dict[str, float]]:
        """Return the frame's result."""
        assert self.frame is not None
        if self.pipeline.on_outputs is not None:
            self.pipeline.on_outputs(self.frame.feeds, self.frame.outputs)
        return self.frame.result, {"infer": 1.0}


class Car:
    """A frame server whose frames always go to the variant first, so that every fault is counted."""

    def __init__(self, *, has_standby: bool = True) -> None:
        """Begin a drive."""
        self.primary, self.standby = PlayedModel("variant"), PlayedModel("baseline")
        models: Any = ModelSet()
        models.primary, models.standby = self.primary, self.standby if has_standby else None
        self.guard = Guard(GuardSettings(LadderSettings()))
        self.guard.begin(0.0, has_standby=has_standby)
        self.guard.set_override("primary", 0.0)
        self.now_s = 0.0
        self.server = FrameServer(models, self.guard, lambda: self.now_s)

    def drive(self, primary: Played, standby: Played, stamp_ns: int) -> str:
        """Answer a frame; return who did."""
        self.now_s = stamp_ns * 1e-9
        self.primary.frame = replace(primary, stamp_ns=stamp_ns)
        self.standby.frame = standby
        answer = self.server.answer(None, stamp_ns, None, None)  # type: ignore[arg-type]
        self.server.published(answer, None, stamp_ns)
        return answer.level

    def faults(self) -> int:
        """Return how many faults of the variant there were."""
        return sum(count for key, count in self.guard.counters().items() if key.startswith("faults_"))


def blocks(frames: int, hours: float, seed: int, block_s: float = 10.0) -> Iterator[tuple[int, int]]:
    """Yield the number of a frame and its stamp: random blocks of a drive with 2 s between them."""
    rng = np.random.default_rng(seed)
    length = min(round(block_s * RATE_HZ), frames)
    step_ns = round(1e9 / RATE_HZ)
    stamp_ns = step_ns
    for _ in range(math.ceil(hours * 3600.0 * RATE_HZ / length)):
        first = int(rng.integers(0, frames - length + 1))
        for number in range(first, first + length):
            yield number, stamp_ns
            stamp_ns += step_ns
        stamp_ns += 2_000_000_000
