# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detections to serialized vision_msgs and back; lists of labels to messages and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionClass

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.messages.cdr import EXAMPLE, CdrWriter

_POSE = (*(0.0,) * 6, 1.0, *(0.0,) * 36)
"""No geometry_msgs/PoseWithCovariance: zeros, and the quaternion of no rotation."""


def serialize(detections: Detections, header: Any) -> bytes:
    """Return a Detection2DArray in source pixels under the source's header; class_id is the label itself."""
    rows = zip(
        detections.boxes_xyxy.tolist(),
        detections.scores.tolist(),
        detections.class_ids.tolist(),
        strict=True,
    )
    message = CdrWriter(header.stamp, header.frame_id)
    message.numbers("I", len(detections.scores))
    for (left, top, right, bottom), score, class_id in rows:
        message.same_header()
        message.numbers("I", 1)  # hypotheses: class_id, score, pose
        message.text(detections.labels[class_id])
        message.numbers("d", score, *_POSE)
        center_x, center_y = (left + right) / 2.0, (top + bottom) / 2.0
        message.numbers("d", center_x, center_y, 0.0, right - left, bottom - top)
        message.text("")  # id
    return bytes(message)


def examples() -> dict[type, bytes]:
    """Return a message of each type that is written here, to compare with the installed types."""
    one = Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), ("car",))
    return {Detection2DArray: serialize(one, EXAMPLE)}


def from_message(message: Detection2DArray, labels: Sequence[str]) -> Detections:
    """Return the detections of a message, each with its best hypothesis.

    Raises:
        ResultError: a detection has no hypothesis, one whose label is not among ``labels``, or numbers
            that are not finite.
    """
    ids = {label: index for index, label in enumerate(labels)}
    boxes, scores, class_ids = [], [], []
    for detection in message.detections:
        if not detection.results:
            raise ResultError("a detection carries no hypothesis")
        best = max(detection.results, key=lambda result: result.hypothesis.score).hypothesis
        if best.class_id not in ids:
            raise ResultError(f"label {best.class_id!r} is not among {', '.join(labels)}")
        center, half_x, half_y = (
            detection.bbox.center.position,
            detection.bbox.size_x / 2.0,
            detection.bbox.size_y / 2.0,
        )
        boxes.append((center.x - half_x, center.y - half_y, center.x + half_x, center.y + half_y))
        scores.append(best.score)
        class_ids.append(ids[best.class_id])
    with np.errstate(over="ignore"):  # 1e300 is finite in the message and infinite here
        corners, confidences = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    if not (np.isfinite(corners).all() and np.isfinite(confidences).all()):
        raise ResultError("a detection has a box or score that is not finite")
    return Detections(
        corners.reshape(-1, 4),
        confidences,
        np.asarray(class_ids, np.int64),
        tuple(labels),
    )


def label_info(labels: Sequence[str], header: Header, threshold: float = 0.0) -> LabelInfo:
    """Return the list of labels with their numbers, for the latched topic."""
    classes = [VisionClass(class_id=index, class_name=label) for index, label in enumerate(labels)]
    return LabelInfo(header=header, class_map=classes, threshold=threshold)


def labels_of(message: LabelInfo) -> tuple[str, ...]:
    """Return the labels of a LabelInfo in the order of their numbers."""
    ordered = sorted(message.class_map, key=lambda entry: int(entry.class_id))
    return tuple(entry.class_name for entry in ordered)
