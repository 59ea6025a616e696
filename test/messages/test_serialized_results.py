# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results read from serialized bytes equal those of rclpy's messages, and no bytes do harm."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Path
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    Classification,
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.messages import classification, detection, planning, segmentation, serialized
from ad_compressed_perception.messages.received_image import read_image

LABELS = ("car", "person", "a longer label")
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=9)
NUMBER = st.floats(-1e3, 1e3)
HEADERS = st.builds(
    lambda sec, nanosec, frame: Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame),
    st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1), NAMES,
)  # fmt: skip


@st.composite
def paths(draw: st.DrawFn) -> Path:
    path = Path(header=draw(HEADERS))
    for _ in range(draw(st.integers(0, 4))):
        pose = PoseStamped(header=draw(HEADERS))
        pose.pose.position.x, pose.pose.position.y = draw(NUMBER), draw(NUMBER)
        pose.pose.orientation.z, pose.pose.orientation.w = draw(NUMBER), draw(NUMBER)
        path.poses.append(pose)
    return path


@st.composite
def detection_arrays(draw: st.DrawFn) -> Detection2DArray:
    message = Detection2DArray(header=draw(HEADERS))
    for _ in range(draw(st.integers(0, 3))):
        one = Detection2D(header=draw(HEADERS), id=draw(NAMES))
        one.bbox.center.position.x, one.bbox.center.position.y = draw(NUMBER), draw(NUMBER)
        one.bbox.center.theta, one.bbox.size_x, one.bbox.size_y = draw(NUMBER), draw(NUMBER), draw(NUMBER)
        for _ in range(draw(st.integers(1, 3))):
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id = draw(st.sampled_from(LABELS))
            result.hypothesis.score = draw(NUMBER)
            one.results.append(result)
        message.detections.append(one)
    return message


@st.composite
def classifications(draw: st.DrawFn) -> Classification:
    labels = draw(st.permutations(LABELS))[: draw(st.integers(0, 3))]
    results = [ObjectHypothesis(class_id=label, score=draw(NUMBER)) for label in labels]
    return Classification(header=draw(HEADERS), results=results)


@st.composite
def masks(draw: st.DrawFn) -> Image:
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    ids = draw(st.lists(st.integers(0, 2), min_size=height * width, max_size=height * width))
    return Image(
        header=draw(HEADERS), height=height, width=width, encoding="mono8", step=width, data=array("B", ids)
    )


@given(paths())
def test_a_path_is_the_one_of_rclpy(message: Path) -> None:
    parsed = serialized.path(serialize_message(message))
    assert (parsed.header.stamp.sec, parsed.header.stamp.nanosec) == (
        message.header.stamp.sec, message.header.stamp.nanosec
    )  # fmt: skip
    found, expected = planning.from_path(parsed), planning.from_path(message)
    assert np.array_equal(found.points_xy_m, expected.points_xy_m)
    assert np.array_equal(found.headings_rad, expected.headings_rad)


@given(detection_arrays())
def test_detections_are_those_of_rclpy(message: Detection2DArray) -> None:
    found = detection.from_message(serialized.detections(serialize_message(message)), LABELS)
    expected = detection.from_message(message, LABELS)
    assert np.array_equal(found.boxes_xyxy, expected.boxes_xyxy)
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(found.class_ids, expected.class_ids)


@given(classifications())
def test_a_classification_is_the_one_of_rclpy(message: Classification) -> None:
    """Strongest first in whatever order the message has them; what it lacks is unknown, not 0."""
    found = classification.from_message(serialized.classification(serialize_message(message)), LABELS)
    expected = classification.from_message(message, LABELS)
    assert np.array_equal(found.scores, expected.scores, equal_nan=True)
    assert np.array_equal(found.ranked, expected.ranked)
    assert (np.diff(found.scores[found.ranked]) <= 0).all()
    assert np.isnan(found.scores).sum() == len(LABELS) - len(message.results)


@given(masks())
def test_a_mask_is_the_one_of_rclpy(message: Image) -> None:
    found = segmentation.from_message(read_image(serialize_message(message)), LABELS)
    assert np.array_equal(found.label_ids, segmentation.from_message(message, LABELS).label_ids)


READERS = {
    "path": (serialized.path, planning.from_path),
    "detections": (serialized.detections, lambda message: detection.from_message(message, LABELS)),
    "classification": (
        serialized.classification,
        lambda message: classification.from_message(message, LABELS),
    ),
    "image": (read_image, lambda message: segmentation.from_message(message, LABELS)),
}


@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
def test_damaged_bytes_are_refused_in_one_line_or_read(kind: str, data: st.DataObject) -> None:
    """Serialized subscriptions get the bytes of strangers unchecked: cut, changed, or of another type."""
    parse, read = READERS[kind]
    messages: dict[str, st.SearchStrategy[Any]] = {
        "path": paths(),
        "detections": detection_arrays(),
        "classification": classifications(),
        "image": masks(),
    }
    message: Any = data.draw(messages[kind])
    good = serialize_message(message)
    cut = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(AdcpError) as cause:
        parse(good[:cut] if kind != "image" else good[: min(cut, len(good) - 8)])
    assert "\n" not in str(cause.value)
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(parse(bytes(changed)))
    except AdcpError as error:
        assert "\n" not in str(error)
