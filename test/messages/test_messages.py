# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results are unchanged by conversion to a message and back; headers are copied."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Classification, Detection2DArray, ObjectHypothesis

from ad_compressed_perception.core.errors import DataError, ResultError
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.core.timing import OUTCOMES, STAGES, FrameTiming, NodeReport
from ad_compressed_perception.driving.odometry import Odometry
from ad_compressed_perception.driving.path_tracker import Pose
from ad_compressed_perception.messages import (
    classification,
    detection,
    odometry,
    planning,
    segmentation,
    timing,
)
from ad_compressed_perception.tasks.planning import arc_points
from support.road import straight_trajectory

HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="camera_front")
LABELS = ("car", "person")


def serialized(message: object) -> object:
    return deserialize_message(serialize_message(message), type(message))


def detections_of(result: Detections) -> Detection2DArray:
    return deserialize_message(detection.serialize(result, HEADER), Detection2DArray)


def path_of(result: Trajectory) -> Path:
    return deserialize_message(planning.serialize_path(result, HEADER.stamp, "base_link"), Path)


def test_detections_are_unchanged_and_classes_are_labels() -> None:
    boxes = np.array([[10, 20, 50, 40], [0.5, 0.25, 1.5, 8.0]], np.float32)
    original = Detections(boxes, np.array([0.9, 0.4], np.float32), np.array([1, 0], np.int64), LABELS)
    message = detections_of(original)
    assert message.header == HEADER
    assert [d.header for d in message.detections] == [HEADER, HEADER]
    assert message.detections[0].results[0].hypothesis.class_id == "person"
    assert message.detections[0].bbox.center.position.x == 30.0
    assert message.detections[0].bbox.size_y == 20.0
    back = detection.from_message(message, LABELS)
    np.testing.assert_allclose(back.boxes_xyxy, original.boxes_xyxy)
    np.testing.assert_allclose(back.scores, original.scores)
    assert back.class_ids.tolist() == [1, 0]
    with pytest.raises(ResultError, match="'person'"):
        detection.from_message(message, ("car",))


def test_a_message_without_detections() -> None:
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), LABELS)
    back = detection.from_message(detections_of(empty), LABELS)
    assert back.boxes_xyxy.shape == (0, 4)


def test_the_list_of_labels_keeps_its_order() -> None:
    labels = [f"label {i}" for i in range(12)]
    assert detection.labels_of(serialized(detection.label_info(labels, HEADER))) == tuple(labels)


def test_a_mask_is_unchanged_and_an_unknown_id_is_refused() -> None:
    ids = np.random.default_rng(0).integers(0, 2, (7, 5), np.uint8)
    message = deserialize_message(segmentation.serialize(LabelMask(ids, LABELS), HEADER), Image)
    assert (message.header, message.encoding, message.step) == (HEADER, "mono8", 5)
    np.testing.assert_array_equal(segmentation.from_message(message, LABELS).label_ids, ids)
    with pytest.raises(ResultError, match="label id 1"):
        segmentation.from_message(message, ("only",))


@given(st.floats(-0.05, 0.05), st.floats(0.0, 40.0))
def test_a_path_is_unchanged_and_the_command_has_its_curvature(curvature: float, speed_mps: float) -> None:
    points, headings = arc_points(curvature, 30.0, 10)
    original = Trajectory(points, headings, curvature, speed_mps)
    path = path_of(original)
    assert path.header.frame_id == "base_link"
    assert path.header.stamp == HEADER.stamp
    back = planning.from_path(path)
    np.testing.assert_allclose(back.points_xy_m, points)
    np.testing.assert_allclose(back.headings_rad, headings, atol=1e-12)
    written = planning.serialize_command(speed_mps, curvature, HEADER.stamp, "base_link")
    command = deserialize_message(written, TwistStamped)
    assert command.twist.linear.x == speed_mps
    assert command.twist.angular.z == pytest.approx(speed_mps * curvature)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_not_taken_from_a_message(value: float) -> None:
    """A monitor would compare them, and every comparison with NaN is false."""
    path = path_of(straight_trajectory(8.0))
    path.poses[3].pose.position.x = value
    with pytest.raises(ResultError, match="not finite"):
        planning.from_path(serialized(path))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e300])
def test_detections_and_classifications_are_finite_as_float32(value: float) -> None:
    """A message's numbers have 64 bits, those that are compared 32: -1e300 becomes infinite."""
    boxes = np.array([[10, 20, 50, 40]], np.float32)
    original = Detections(boxes, np.array([0.9], np.float32), np.array([1], np.int64), LABELS)
    message = detections_of(original)
    message.detections[0].bbox.center.position.y = value
    with pytest.raises(ResultError, match="not finite"):
        detection.from_message(serialized(message), LABELS)
    scored = Classification(results=[ObjectHypothesis(class_id=LABELS[0], score=value)])
    with pytest.raises(ResultError, match="has the score"):
        classification.from_message(serialized(scored), LABELS)


def test_odometry_is_unchanged_and_an_orientation_must_be_one() -> None:
    """An orientation that nobody set is (0, 0, 0, 0), which would pass as heading 0."""
    original = Odometry(12.0, Pose(3.0, -4.0, 2.5), 8.0, 0.3)
    message = serialized(odometry.to_message(original, Time(sec=12), "odom", "base_link"))
    back = odometry.from_message(message)
    assert back.pose.heading_rad == pytest.approx(2.5)
    assert replace(back, pose=original.pose) == original
    for w in (0.0, math.nan, 2.0):
        message.pose.pose.orientation.z = 0.0
        message.pose.pose.orientation.w = w
        with pytest.raises(DataError, match="orientation"):
            odometry.from_message(message)


finite = st.floats(-1e6, 1e6)
frame_counts = st.fixed_dictionaries({outcome: st.integers(0, 2**40) for outcome in OUTCOMES})


def with_counts(report: NodeReport, pending: int) -> NodeReport:
    """Return a report whose frames are all accounted for, but for the pending ones."""
    return replace(report, received=sum(report.counts.values()) + pending)


reports = st.builds(
    NodeReport,
    node=st.just("/baseline/detection"),
    task=st.just("detection"),
    model=st.text(max_size=8).filter(lambda text: "\x00" not in text),
    variant=st.just("fp32"),
    backend=st.just("onnxruntime"),
    requested_provider=st.just("CUDAExecutionProvider"),
    provider=st.just("CPUExecutionProvider"),
    precision=st.just("int8"),
    timing=st.builds(
        FrameTiming,
        stamp_ns=st.integers(0, 2**31 * 10**9 - 1),
        outcome=st.sampled_from(OUTCOMES),
        stages_ms=st.dictionaries(st.sampled_from(STAGES), finite),
        end_to_end_ms=finite,
        reason=st.sampled_from(["", "truncated JPEG"]),
    ),
    received=st.just(0),
    counts=frame_counts,
)


@given(st.builds(with_counts, reports, st.integers(0, 3)))
def test_a_report_is_unchanged_to_the_last_digit(report: NodeReport) -> None:
    try:
        message = serialized(timing.to_message(report))
    except UnicodeEncodeError:  # a lone surrogate is no text that a message could carry
        return
    assert timing.from_message(message) == report


def test_an_unknown_end_to_end_time_stays_unknown() -> None:
    completed = FrameTiming(5, "failed", {"queue_wait": 0.1}, math.nan, "why")
    report = NodeReport("/n", "t", "m", "v", "b", "p", "p", "x", completed, 1, dict.fromkeys(OUTCOMES, 0))
    assert math.isnan(timing.from_message(timing.to_message(report)).timing.end_to_end_ms)


@pytest.mark.parametrize(
    ("received", "counts"),
    [(-1, {}), (3, {"failed": -1}), (3, {"processed": 2, "failed": 2}), (0, {"dropped_busy": 1})],
)
def test_impossible_counts_are_refused(received: int, counts: dict[str, int]) -> None:
    """Failed before: they were taken over, and ended the monitor when it wrote its report."""
    completed = FrameTiming(5, "processed", {"infer": 0.1}, 0.1)
    every = {outcome: counts.get(outcome, 0) for outcome in OUTCOMES}
    report = NodeReport("/n", "t", "m", "v", "b", "p", "p", "x", completed, received, every)
    with pytest.raises(ResultError, match=f"{received} frames received"):
        timing.from_message(timing.to_message(report))


@pytest.mark.parametrize("stamp_ns", [-(2**80), -(2**31) * 10**9, -1, 0, 2**31 * 10**9 - 1, 2**80])
def test_a_stamp_beyond_32_bits_becomes_the_nearest_one(stamp_ns: int) -> None:
    """Failed before: the seconds were beyond what the message can hold, such as after a /clock of 2038."""
    nearest = min(max(stamp_ns, -(2**31) * 10**9), 2**31 * 10**9 - 1)
    assert timing.stamp_to_ns(timing.ns_to_stamp(stamp_ns)) == nearest


def test_a_foreign_diagnostic_message_is_refused() -> None:
    with pytest.raises(ResultError, match="not a timing message"):
        timing.from_message(DiagnosticArray())
