# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks the recording of a replay's results against its report, read by rosbags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.highlevel import AnyReader

from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.report.schemas.agreement import DetectionFigures
from ad_compressed_perception.report.schemas.comparison import Report

RESULTS = {"detection": "detections", "segmentation": "mask", "planning": "trajectory"}


def read_all(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return topic to (log time, message) of a recording, with the definitions that it carries itself."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with AnyReader([folder]) as reader:
        for connection, time_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((time_ns, message))
    return found


def stamp_of(message: Any) -> int:
    stamp = message.header.stamp if hasattr(message, "header") else message.timestamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def check_recording(folder: Path, report: Report, stamps_ns: Sequence[int]) -> None:
    """Every count equals the report's, every stamp is a frame's, and what is drawn is what was found."""
    found = read_all(folder)
    for topic, messages in found.items():
        assert {time_ns for time_ns, _ in messages} <= set(stamps_ns), topic
        if not topic.endswith(("_ms", "/agreement")):
            assert [stamp_of(one) for _, one in messages] == [time_ns for time_ns, _ in messages], topic
    with BagReader(folder) as reader:
        image_topic = next(topic for topic in reader.image_topics if topic.startswith("/camera"))
        images = list(reader.image_messages(image_topic))
    assert len(images) == report.source.frames == len(found[image_topic])
    assert image_topic.endswith("/compressed")
    for _, one in found[image_topic]:
        assert cv2.imdecode(np.asarray(one.data), cv2.IMREAD_COLOR) is not None
    for task, one in report.tasks.items():
        for name, variant in one.variants.items():
            node = f"/{name}/{task}"
            assert len(found[f"{node}/{RESULTS[task]}"]) == variant.processed
            assert len(found[f"{node}/timing"]) == variant.received
            for stage in ("infer", "end_to_end"):
                values = [value.data for _, value in found[f"{node}/{stage}_ms"]]
                percentiles = variant.end_to_end_ms if stage == "end_to_end" else variant.stages_ms[stage]
                assert len(values) == percentiles.count
                assert max(values) == percentiles.max
        for name, comparison in one.comparison.items():
            assert len(found[f"/{name}/{task}/agreement"]) == comparison.pairs
        assert len(found[f"/{task}/side_by_side/compressed"]) == report.source.frames
        for _, drawing in found[f"/{task}/side_by_side/compressed"]:
            assert cv2.imdecode(np.asarray(drawing.data), cv2.IMREAD_COLOR).std() > 10.0
    for name, found_objects in (("baseline", "missed"), ("int8", "extra")):
        _check_boxes(found, name, report, found_objects)
    assert "/baseline/segmentation/annotations" not in found
    assert all(one.points[0].type == 3 for _, one in found["/int8/planning/annotations"])


def _check_boxes(found: dict[str, list[tuple[int, Any]]], name: str, report: Report, alone: str) -> None:
    """Each box is drawn where it is, under its label; the number of all is that of the agreement."""
    total = 0
    pairs = zip(found[f"/{name}/detection/detections"], found[f"/{name}/detection/annotations"], strict=True)
    for (_, result), (_, drawn) in pairs:
        assert len(drawn.points) == len(drawn.texts) == len(result.detections)
        total += len(result.detections)
        for detection, lines, text in zip(result.detections, drawn.points, drawn.texts, strict=True):
            assert lines.type == 2
            xs, ys = [point.x for point in lines.points], [point.y for point in lines.points]
            center = detection.bbox.center.position
            assert (max(xs) + min(xs)) / 2 == center.x and max(xs) - min(xs) == detection.bbox.size_x
            assert (max(ys) + min(ys)) / 2 == center.y and max(ys) - min(ys) == detection.bbox.size_y
            assert text.text.startswith(detection.results[0].hypothesis.class_id)
    agreement = report.tasks["detection"].comparison["int8"].agreement
    assert isinstance(agreement, DetectionFigures)
    assert total == agreement.matched + getattr(agreement, alone)
