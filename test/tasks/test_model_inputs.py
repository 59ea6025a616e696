# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model with inputs besides the image: earlier frames, constants, odometry and topics, never made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import ad_compressed_perception as adcp
from ad_compressed_perception.core.errors import (
    AdcpError,
    DataError,
    ManifestError,
    ModelFileError,
    ResultError,
)
from ad_compressed_perception.core.field_path import read_field
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.data.input_frames import open_model_frames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.image.frame_inputs import StampedValues
from ad_compressed_perception.tasks.inputs import InputPreparer, with_example_inputs
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.bags import stamps_of
from support.several_heads import (
    INPUTS,
    brightness_of,
    gray_image,
    odometry_message,
    steering_of,
    write_drive,
    write_inputs_planner,
)

MS = 1_000_000


def angle(result: Any) -> float:
    return float(result.steering_wheel_angle_rad)


def expected(index: int, speed_mps: float) -> float:
    gray = [round(brightness_of(one) * 255) / 255 for one in (index, index - 2)]
    return steering_of(gray[0], gray[1], speed_mps)


def test_a_model_is_called_with_earlier_images_and_values(tmp_path: Path) -> None:
    model = adcp.load(write_inputs_planner(tmp_path / "model"))
    images = [gray_image(index) for index in range(3)]
    result = model(images[2], previous=images[:2], inputs={"speed": 3.0})
    assert angle(result) == pytest.approx(expected(2, 3.0), abs=1e-4)
    with pytest.raises(ResultError, match="input 'previous': 2 earlier images are needed, 0"):
        model(images[2], inputs={"speed": 3.0})
    with pytest.raises(ResultError, match="input 'speed': no value came with the frame"):
        model(images[2], previous=images[:2])
    with pytest.raises(ManifestError, match="takes no input 'throttle'; values it takes: speed"):
        model(images[2], inputs={"throttle": 1.0})


def test_a_bag_gives_each_frame_the_newest_value_before_it(tmp_path: Path) -> None:
    """Odometry every 100 ms from 60 ms on, by its stamps; the second value comes with frame 4 exactly."""
    stamps = stamps_of(40)
    odometry = [(stamps[0] + (60 + 100 * k) * MS, 1.0 + k) for k in range(20)]
    odometry.append((stamps[4], 77.0))
    bag = write_drive(tmp_path / "bag", stamps, odometry)
    manifest = load_manifest(write_inputs_planner(tmp_path / "model"))
    frames = open_model_frames(manifest, f"{bag}:/camera/image")
    readable = frames.readable(range(len(frames)))
    assert readable == list(range(2, 40))  # the first two have too few frames before them
    assert "2 earlier images are needed" in " ".join(frames.account().sentences())
    pipeline = open_pipeline(manifest)
    for index in (2, 4, 5, 17, 39):
        (frame,) = frames.frames([index])
        newest = max((stamp, value) for stamp, value in odometry if stamp <= stamps[index])
        assert angle(pipeline.run(frame)[0]) == pytest.approx(expected(index, newest[1]), abs=1e-4), index
    pipeline.close()


def test_a_gap_and_a_step_back_begin_the_history_anew(tmp_path: Path) -> None:
    """At place 6 lies a gap of 1 s, at place 12 the recording begins again 10 s earlier."""
    stamps = stamps_of(18)
    stamps = [
        *stamps[:6],
        *(one + 1000 * MS for one in stamps[6:12]),
        *(one - 10_000 * MS for one in stamps[12:]),
    ]
    odometry = [(one, 1.0) for one in stamps]
    bag = write_drive(tmp_path / "bag", stamps, odometry)
    manifest = load_manifest(write_inputs_planner(tmp_path / "model"))
    frames = open_model_frames(manifest, str(bag))
    by_stamp = sorted(range(18), key=lambda index: stamps[index])  # bags are read in the order of time
    assert by_stamp[:6] == list(range(12, 18))
    left_out = {entry.index for entry in frames.read(range(18)) if hasattr(entry, "reason")}
    assert left_out == {0, 1, 6, 7, 12, 13}


def test_a_repeated_start_is_asked_for_by_the_manifest(tmp_path: Path) -> None:
    previous = {**INPUTS["previous"], "at_start": "repeat"}
    model = adcp.load(write_inputs_planner(tmp_path / "model", previous=previous))
    assert angle(model(gray_image(0), inputs={"speed": 3.0})) == pytest.approx(0.6, abs=1e-4)


def test_odometry_that_no_planner_uses_is_no_input_either(tmp_path: Path) -> None:
    """10 km/s is an error of unit or of computation: a network makes some plausible number of it."""
    stamps = stamps_of(3)
    bag = write_drive(tmp_path / "bag", stamps, [(stamps[0], 1e4)])
    manifest = load_manifest(write_inputs_planner(tmp_path / "model"))
    with pytest.raises(DataError, match=r"odometry with speed 10000 \(limit 100\) is not used"):
        open_model_frames(manifest, str(bag))


@pytest.mark.parametrize(
    ("dtype", "value", "line"),
    [
        ("int8", 130.0, "130 is beyond the range of int8"),  # a cast would make -126 of it
        ("uint8", -1.0, "-1 is beyond the range of uint8"),
        ("float16", 1e5, "100000 is beyond the range of float16"),
        ("int8", -128.0, ""),
        ("uint8", 255.0, ""),
        ("bool", 1.0, ""),
    ],
)
def test_a_value_that_the_tensor_cannot_hold_is_no_other_value(
    tmp_path: Path, dtype: str, value: float, line: str
) -> None:
    manifest = load_manifest(write_inputs_planner(tmp_path / "model"))
    specs = {"gray": [1, 1, 32, 32], "previous": [1, 2, 32, 32], "gain": [1]}
    tensors = [TensorSpec(name, tuple(shape), "float32") for name, shape in specs.items()]
    prepare = InputPreparer(manifest)
    prepare.bind([*tensors, TensorSpec("speed", (1, 1), dtype)])
    plain = with_example_inputs(Frame(gray_image(0), "BGR"), manifest)
    assert plain.inputs is not None
    frame = replace(plain, inputs=replace(plain.inputs, values={"speed": np.array([value / 0.1])}))
    if line:
        with pytest.raises(ResultError, match=line):
            prepare(frame)
    else:
        assert prepare(frame)[0]["speed"].item() == value


def test_old_values_and_missing_topics_are_named(tmp_path: Path) -> None:
    stamps = stamps_of(30)
    bag = write_drive(tmp_path / "bag", stamps, [(stamps[0] - 20 * MS, 1.0)])
    manifest = load_manifest(write_inputs_planner(tmp_path / "model"))
    frames = open_model_frames(manifest, str(bag))
    entries = list(frames.read([2, 20]))
    assert not hasattr(entries[0], "reason")
    assert "is 1.02 s older than the frame, max_age_s is 0.3" in str(entries[1])
    with pytest.raises(DataError, match="cannot be read"):
        frames.readable(range(30))
    other = write_inputs_planner(
        tmp_path / "other",
        speed={"source": "topic", "topic": "/steering", "type": "std_msgs/msg/Float32", "field": "data"},
    )
    with pytest.raises(DataError, match="has no topic /steering; of type std_msgs/msg/Float32 it has: none"):
        open_model_frames(load_manifest(other), str(bag))
    wrong = write_inputs_planner(
        tmp_path / "wrong",
        speed={"source": "topic", "topic": "/odometry", "type": "nav_msgs/Odometry", "field": "twist.speed"},
    )
    with pytest.raises(DataError, match="field 'twist.speed': .* has no 'speed'"):
        open_model_frames(load_manifest(wrong), str(bag))
    (tmp_path / "images").mkdir()
    import cv2

    cv2.imwrite(str(tmp_path / "images" / "0.png"), gray_image(0))
    with pytest.raises(DataError, match="is no bag"):
        open_model_frames(manifest, str(tmp_path / "images"))


@pytest.mark.parametrize(
    ("inputs", "error", "line"),
    [
        ({"speed": None}, ModelFileError, "the file's input 'speed' has no source in the manifest"),
        ({"throttle": {"source": "odometry_speed"}}, ModelFileError, "the manifest has an input 'throttle'"),
        ({"previous": {"source": "previous", "frames": 3}}, ModelFileError, "3 images of float32"),
        ({"gain": {"source": "constant", "value": [1.0, 2.0]}}, AdcpError, "2 numbers do not fit"),
        ({"gain": {"source": "constant"}}, ManifestError, "a constant has a value or a file"),
        ({"gain": {"source": "constant", "value": ["a"]}}, ManifestError, "is no finite number"),
        (
            {"gain": {"source": "constant", "file": "gain.npy"}},
            ManifestError,
            "for the inputs of adcp import",
        ),
        ({"speed": {"source": "radar"}}, ManifestError, "radar"),
        (
            {"speed": {"source": "topic", "topic": "/a", "type": "a/msg/B", "field": "x..y"}},
            ManifestError,
            "is no path of fields",
        ),
        ({"other": {"source": "image", "width": 3, "height": 3}}, ManifestError, "described twice"),
    ],
)
def test_a_source_that_does_not_fit_is_named(
    tmp_path: Path, inputs: dict[str, Any], error: type[Exception], line: str
) -> None:
    folder = write_inputs_planner(tmp_path / "model")
    path = folder / "model.yaml"
    data = yaml.safe_load(path.read_text())
    merged = {**data["inputs"], **inputs}
    data["inputs"] = {name: source for name, source in merged.items() if source is not None}
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(error, match=line):
        open_pipeline(load_manifest(folder))


def test_a_field_is_found_by_its_path() -> None:
    message = odometry_message(1, 4.5)
    assert read_field(message, "twist.twist.linear.x").tolist() == [4.5]
    assert read_field(message, "pose.covariance").shape == (36,)
    assert read_field(message, "pose.covariance[7]").tolist() == [0.0]
    for path in ("child_frame_id", "twist", "pose.covariance[36]"):
        with pytest.raises(DataError, match="field"):
            read_field(message, path)
    with pytest.raises(DataError, match="not finite"):
        read_field(odometry_message(1, float("nan")), "twist.twist.linear.x")


def test_values_are_found_by_stamp_whatever_order_they_came_in() -> None:
    log = StampedValues("/speed", 0.1)
    assert "no message on /speed yet" in str(log.at(5))
    for stamp in (30 * MS, 10 * MS, 20 * MS):
        log.add(stamp, np.array([stamp / MS]))
    assert "newer than the frame" in str(log.at(5 * MS))
    assert [float(log.at(at * MS)[0]) for at in (10, 15, 29, 30, 130)] == [10, 10, 20, 30, 30]  # type: ignore[arg-type]
    assert "0.101 s older" in str(log.at(131 * MS))
    log.forget_before(25 * MS)
    assert len(log) == 2
