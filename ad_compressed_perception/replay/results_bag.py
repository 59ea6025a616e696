# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes images and results of a replay as a rosbag2 recording, one MCAP file, without ROS.

All channels are CDR with ros2msg definitions: ``ros2 bag play`` refuses a file that also holds protobuf
(rosbag2, SequentialReader::check_topics_serialization_formats), so boxes and paths over the image are
foxglove_msgs/ImageAnnotations, which Foxglove draws like the protobuf form that its SDK writes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.data.bag_types import typestore
from ad_compressed_perception.replay.annotations import annotations_of, register_foxglove_types
from ad_compressed_perception.replay.frames import BagFrame
from ad_compressed_perception.replay.plan import ReplayNode

FOLDER = "results"
RESULT_TYPES = {
    "detection": ("detections", "vision_msgs/msg/Detection2DArray"),
    "segmentation": ("mask", "sensor_msgs/msg/Image"),
    "planning": ("trajectory", "nav_msgs/msg/Path"),
    "classification": ("classification", "vision_msgs/msg/Classification"),
}
"""Task to the name of its result's topic and the type of its messages."""
_COMPRESSED = "sensor_msgs/msg/CompressedImage"
_ANNOTATIONS = "foxglove_msgs/msg/ImageAnnotations"
_TIMING = "diagnostic_msgs/msg/DiagnosticArray"
_LABELS = "vision_msgs/msg/LabelInfo"
_FLOAT = "std_msgs/msg/Float64"
_NANOSECONDS = 1_000_000_000


class ResultsBag:
    """A rosbag2 folder that is being written.

    Every message is at its frame's recording time, and each with a header or a time stamp has the frame's
    stamp. Topics are those of the nodes in the report: ``/VARIANT/TASK/detections`` and so on.

    Attributes:
        counts: topic to number of messages.
    """

    def __init__(self, folder: Path, image_topic: str) -> None:
        """Create the folder, which must not exist.

        Args:
            folder: of metadata.yaml and FOLDER.mcap, named after it.
            image_topic: of the images, without /compressed.

        Raises:
            OSError: it cannot be written.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self._store = typestore()
        register_foxglove_types(self._store)
        self.counts: Counter[str] = Counter()
        self._image_topic = f"{image_topic.removesuffix('/compressed')}/compressed"
        # Version 8 is read by ros2 bag of every distribution. Chunks are compressed, not the file: it stays
        # indexed, and masks of labels shrink to a hundredth.
        self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}
        self._writer.open()

    def close(self) -> None:
        """Write index and metadata.yaml; raise OSError where that fails."""
        self._writer.close()

    def add_compressed_image(self, frame: BagFrame) -> None:
        """Write a recorded CompressedImage as it is."""
        self._write(self._image_topic, _COMPRESSED, frame, frame.cdr)

    def add_jpeg(self, frame: BagFrame, frame_id: str, jpeg: bytes) -> None:
        """Write an image that was recorded raw, as JPEG under the same header."""
        self._write_jpeg(self._image_topic, frame, frame_id, jpeg)

    def add_side_by_side(self, task: str, frame: BagFrame, jpeg: bytes) -> None:
        """Write a drawing of a task's results on ``/TASK/side_by_side/compressed``."""
        self._write_jpeg(f"/{task}/side_by_side/compressed", frame, "", jpeg)

    def _write_jpeg(self, topic: str, frame: BagFrame, frame_id: str, jpeg: bytes) -> None:
        kind = self._store.types[_COMPRESSED]
        message = kind(self._header(frame.stamp_ns, frame_id), "jpeg", np.frombuffer(jpeg, np.uint8))
        self._write(topic, _COMPRESSED, frame, self._serialize(message, _COMPRESSED))

    def add_result(
        self, node: ReplayNode, side: int, frame: BagFrame, cdr: bytes, size: tuple[int, int] | None
    ) -> None:
        """Write a result as the node published it, and what can be drawn of it over the image.

        Args:
            node: which published it.
            side: its place among the task's variants, 0 is the baseline.
            frame: the frame that it is the result of.
            cdr: the serialized message.
            size: width and height of the image, pixels; None where they are unknown: no path is drawn.
        """
        topic, (name, kind) = node.topic, RESULT_TYPES[node.task]
        self._write(f"{topic}/{name}", kind, frame, cdr)
        if f"{topic}/label_info" not in self.counts and node.manifest.labels:
            self._add_labels(f"{topic}/label_info", frame, node.manifest.labels)
        message = self._store.deserialize_cdr(cdr, kind)
        drawn = annotations_of(node.task, message, self._time(frame.stamp_ns), size, side, self._store)
        if drawn is not None:
            self._write(f"{topic}/annotations", _ANNOTATIONS, frame, self._serialize(drawn, _ANNOTATIONS))

    def add_timing(self, node: ReplayNode, frame: BagFrame, timing: FrameTiming) -> None:
        """Write a frame's outcome and stages, and the two durations that are plotted most."""
        types = self._store.types
        pairs = {"outcome": timing.outcome, "reason": timing.reason}
        durations_ms = {**timing.stages_ms, "end_to_end": timing.end_to_end_ms}
        pairs |= {f"{stage}_ms": repr(float(value)) for stage, value in durations_ms.items()}
        level = 2 if timing.outcome == "failed" else 0
        values = [types["diagnostic_msgs/msg/KeyValue"](key, text) for key, text in pairs.items()]
        status = types["diagnostic_msgs/msg/DiagnosticStatus"](level, node.topic, timing.outcome, "", values)
        message = types[_TIMING](self._header(frame.stamp_ns), [status])
        self._write(f"{node.topic}/timing", _TIMING, frame, self._serialize(message, _TIMING))
        for key in ("infer", "end_to_end"):
            value = durations_ms.get(key, math.nan)
            if timing.outcome == "processed" and math.isfinite(value):
                self._add_number(f"{node.topic}/{key}_ms", frame, value)

    def add_agreement(self, node: ReplayNode, frame: BagFrame, value: float) -> None:
        """Write a frame's agreement with the baseline; NaN where there was nothing to compare."""
        self._add_number(f"{node.topic}/agreement", frame, value)

    def _add_labels(self, topic: str, frame: BagFrame, labels: Sequence[str]) -> None:
        types = self._store.types
        classes = [types["vision_msgs/msg/VisionClass"](*entry) for entry in enumerate(labels)]
        message = types[_LABELS](self._header(frame.stamp_ns), classes, 0.0)
        self._write(topic, _LABELS, frame, self._serialize(message, _LABELS))

    def _add_number(self, topic: str, frame: BagFrame, value: float) -> None:
        self._write(topic, _FLOAT, frame, self._serialize(self._store.types[_FLOAT](float(value)), _FLOAT))

    def _write(self, topic: str, kind: str, frame: BagFrame, cdr: bytes) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store)
        self._writer.write(self._connections[topic], max(0, frame.bag_time_ns), cdr)
        self.counts[topic] += 1

    def _serialize(self, message: Any, kind: str) -> bytes:
        return bytes(self._store.serialize_cdr(message, kind))

    def _time(self, stamp_ns: int) -> Any:
        return self._store.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, _NANOSECONDS))

    def _header(self, stamp_ns: int, frame_id: str = "") -> Any:
        return self._store.types["std_msgs/msg/Header"](self._time(stamp_ns), frame_id)
