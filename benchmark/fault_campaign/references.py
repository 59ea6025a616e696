# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a healthy node publishes for each frame: results of baseline and variant, made without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.results import Result, Trajectory
from ad_compressed_perception.messages import detection, planning, segmentation
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_road_simulation.faults.log import digest_of
from benchmark.hot_path.frames import CameraFrame, camera_frames, images_of

BASELINE, VARIANT, HELD, JOINED, OTHER = "baseline", "variant", "held", "joined", "other"
"""Whose result a message is: of which model for its own frame, one published before, a path that joins that
one to a model's own, or none of these."""

_MOST_FILL = 3


@dataclass(frozen=True)
class Expected:
    """A frame and its results.

    Attributes:
        camera: the camera's message.
        digest: of the models' input, by which a log of faults names the frame.
        results: by whose they are, BASELINE or VARIANT.
    """

    camera: CameraFrame
    digest: int
    results: dict[str, Result]


@lru_cache(maxsize=8)
def expected_frames(folder: Path, variant: str, count: int, bag: Path | None) -> tuple[Expected, ...]:
    """Return frames of a drive that differ, each with the results of baseline and variant.

    Args:
        folder: of the model.
        variant: name of the compressed variant.
        count: of frames at most.
        bag: a recording; None renders the road camera's drive.
    """
    manifest = load_manifest(folder)
    pipelines = {
        name: open_pipeline(manifest, chosen, options={"threads": 1})
        for name, chosen in ((BASELINE, None), (VARIANT, variant))
    }
    size = "640x480" if bag is not None else "640x360"
    found: dict[int, Expected] = {}
    for camera in camera_frames(images_of(size, count, bag), "jpeg"):
        expected = _expected(camera, pipelines)
        found.setdefault(expected.digest, expected)
    for pipeline in pipelines.values():
        pipeline.close()
    return tuple(found.values())


def _expected(camera: CameraFrame, pipelines: dict[str, Pipeline]) -> Expected:
    frame = camera.decode()
    digests = {digest_of(pipeline.task.prepare(frame)[0]) for pipeline in pipelines.values()}
    assert len(digests) == 1, "baseline and variant have other inputs: faults cannot be assigned to frames"
    return Expected(
        camera, digests.pop(), {name: pipeline.run(frame)[0] for name, pipeline in pipelines.items()}
    )


def whose_result(
    task: str, message: bytes, stamp_ns: int, expected: Expected, before: Sequence[Expected], named: str = ""
) -> str:
    """Return whose result a message is, by its bytes.

    Args:
        task: of the node.
        message: the serialized result.
        stamp_ns: the frame's stamp.
        expected: the frame.
        before: frames sent before it, whose results may be held; the newest last.
        named: whose the node says it is: where both models give the same, as on an empty road, it is.
    """
    for name, result in sorted(expected.results.items(), key=lambda item: item[0] != named):
        if _equals(message, _serialize(task, result, stamp_ns)):
            return name
    for earlier in reversed(before):
        if any(_equals(message, _serialize(task, result, stamp_ns)) for result in earlier.results.values()):
            return HELD
    return OTHER


def distance_m(message: bytes, own: Result) -> float:
    """Return how far the farthest point of a published path is from that of a model's own."""
    path = planning.from_path(deserialize_message(message, planning.Path))
    assert isinstance(own, Trajectory)
    if path.points_xy_m.shape != own.points_xy_m.shape:
        return float("inf")
    return float(np.abs(path.points_xy_m - own.points_xy_m).max())


class Joins:
    """Recognizes paths that lead from those of one model to those of another.

    After a switch the published path is the model's own plus a part of what the path before had beyond it, a
    part that only fades. So its distance from the model's own is at most that of the path published before,
    or of that one's distance from its own model's. A faulty path is not within these.
    """

    def __init__(self) -> None:
        """Begin without paths."""
        self._previous = b""
        self._distance_m = 0.0

    def is_joined(self, message: bytes, own: Result) -> bool:
        """Whether a path, which is no model's own, may lead to the model's own."""
        if not self._previous:
            return False
        allowed_m = max(distance_m(self._previous, own), self._distance_m)
        return distance_m(message, own) <= allowed_m

    def note(self, message: bytes, own: Result, *, is_trusted: bool) -> None:
        """Note a published path; after one that is not trusted nothing counts as joined."""
        self._previous = message if is_trusted else b""
        self._distance_m = distance_m(message, own)


def _equals(received: bytes, made: bytes) -> bool:
    """Whether messages are equal but for the up to 3 bytes by which the middleware fills up to 32 bits."""
    return received[: len(made)] == made and len(received) - len(made) <= _MOST_FILL


def _serialize(task: str, result: Any, stamp_ns: int) -> bytes:
    stamp = ns_to_stamp(stamp_ns)
    if task == "planning":
        return planning.serialize_path(result, stamp, "base_link")
    header = Header(stamp=stamp, frame_id="camera")
    if task == "detection":
        return detection.serialize(result, header)
    return segmentation.serialize(result, header)
