# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The bag player as a launch file runs it: recorded bytes, clock, end, and errors."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.messages.timing import from_message
from ad_compressed_perception.nodes.qos import TIMING_QOS, image_qos
from support.bags import COMPRESSED_TOPIC, stamps_of, write_bag
from support.models import draw_scene, write_detector
from support.ros import Recorder, as_ns, node_process

pytestmark = pytest.mark.ros
FRAMES = 5


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def arguments(**values: object) -> list[str]:
    return [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]


def drive(tmp_path: Path, compressed: bool = True) -> Path:
    return write_bag(
        tmp_path / "drive", [draw_scene(index) for index in range(FRAMES)], compressed=compressed
    )


@pytest.mark.parametrize("compressed", [True, False], ids=["jpeg", "raw"])
def test_every_frame_is_published_as_it_was_recorded(
    tmp_path: Path, recorder: Recorder, compressed: bool
) -> None:
    bag = drive(tmp_path, compressed)
    topic = "/front/image/compressed" if compressed else "/front/image"
    recorder.listen(topic, CompressedImage if compressed else Image)
    given = ["-r", "__ns:=/front", *arguments(bag=bag, rate=20.0)]
    with node_process("bag_player", *given, log=tmp_path / "log") as player:
        recorder.wait_for(lambda: len(recorder.received[topic]) == FRAMES)
        assert player.wait() == 0
        assert f"{FRAMES} frames published" in player.log
    with BagReader(bag) as reader:
        recorded = [message for _, _, message in reader.image_messages(reader.resolve_image_topic())]
    for message, original, stamp_ns in zip(
        recorder.received[topic], recorded, stamps_of(FRAMES), strict=True
    ):
        assert as_ns(message.header.stamp) == stamp_ns
        assert bytes(message.data) == original.data.tobytes()


def test_a_recording_that_contradicts_itself_is_played_with_a_warning_and_half_a_one_is_an_error(
    tmp_path: Path,
) -> None:
    """Metadata that counts other messages is a warning; a chunk that cannot be read ends in status 1."""
    bag = drive(tmp_path)
    path = bag / "metadata.yaml"
    path.write_text(path.read_text().replace("message_count: 5", "message_count: 9"))
    given = arguments(bag=bag, rate=100.0, wait_for_subscribers=0)
    with node_process("bag_player", *given, log=tmp_path / "log") as player:
        assert player.wait() == 0
        assert "metadata.yaml counts 9 messages on" in player.log
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(60)]
    damaged = write_bag(tmp_path / "damaged", frames, compressed=False, zstd="storage")
    file = damaged / "damaged.mcap"
    content = bytearray(file.read_bytes())
    magic = b"\x28\xb5\x2f\xfd"  # RFC 8878: a zstd frame begins
    second = content.index(magic, content.index(magic) + 1)
    content[second : second + 4] = bytes(4)
    file.write_bytes(content)
    given = arguments(bag=damaged, rate=100.0, wait_for_subscribers=0)
    with node_process("bag_player", *given, log=tmp_path / "log") as player:
        assert player.wait() == 1
        assert "error: bag_player: 31 of 60 messages on /camera/image_raw were there" in player.log


def test_the_clock_goes_with_the_bag_and_the_loop_ends_with_sigint(
    tmp_path: Path, recorder: Recorder
) -> None:
    recorder.listen("/clock", Clock)
    recorder.listen("/image/compressed", CompressedImage)
    given = arguments(bag=drive(tmp_path), rate=5.0, loop="true", publish_clock="true")
    with node_process("bag_player", *given, log=tmp_path / "log") as player:
        recorder.wait_for(lambda: len(recorder.received["/image/compressed"]) > 2 * FRAMES)
        assert player.stop(signal.SIGINT) == 0
        assert "Traceback" not in player.log
    first, *_, last = stamps_of(FRAMES)
    times = [as_ns(message.clock) for message in recorder.received["/clock"]]
    # A tick overshoots the last frame by no more than one step of waiting.
    assert all(first <= time <= last + 100_000_000 for time in times)
    assert any(later < earlier for earlier, later in zip(times, times[1:], strict=False))


def test_a_node_on_simulated_time_takes_the_ages_from_the_recording_s_clock(
    tmp_path: Path, recorder: Recorder
) -> None:
    """As with ``ros2 bag play --clock``: the stamps are of another year, the ages are not.

    /clock reaches whoever asks for best effort, as nodes do, or for reliable.
    """
    best_effort: list[Clock] = []
    recorder.node.create_subscription(Clock, "/clock", best_effort.append, image_qos("best_effort", 1))
    recorder.listen("/clock", Clock)  # reliable
    recorder.listen("/detection/timing", DiagnosticArray, TIMING_QOS)
    timings = recorder.received["/detection/timing"]
    model = write_detector(tmp_path / "model")
    node = arguments(model=model, use_sim_time="true", transport="compressed")
    given = arguments(bag=drive(tmp_path), rate=0.5, publish_clock="true", loop="true")
    with (
        node_process("detection_node", *node, log=tmp_path / "node"),
        node_process("bag_player", *given, log=tmp_path / "log"),
    ):
        # The very first frame may come before the first clock: its age is unknown.
        recorder.wait_for(lambda: len(timings) > FRAMES)
        # The recorder may find the player's /clock later than the node does.
        recorder.wait_for(lambda: best_effort and recorder.received["/clock"])
    ages_ms = [from_message(message).timing.stages_ms.get("transport_age") for message in timings]
    known = [age for age in ages_ms if age is not None]
    assert known
    assert max(abs(age) for age in known) < 60_000.0
    assert best_effort and recorder.received["/clock"]


def test_it_waits_for_subscribers_and_stops_on_sigterm(tmp_path: Path) -> None:
    with node_process("bag_player", *arguments(bag=drive(tmp_path)), log=tmp_path / "log") as player:
        while "waiting for 1 subscriptions" not in player.log:
            assert player.process.poll() is None
        assert player.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "parameter 'bag' is empty"),
        ({"bag": "/absent"}, "no such bag: /absent"),
        ({"bag": "{drive}", "topic": "/nothing"}, f"has no topic /nothing; it has: {COMPRESSED_TOPIC}"),
        ({"bag": "{drive}", "rate": -1.0}, "rate"),
        ({"bag": "{drive}", "rate": "fast"}, "rate"),
        ({"bag": "{drive}", "qos_reliability": "certain"}, "qos_reliability"),
        ({"bagg": "{drive}"}, "unknown parameter 'bagg'"),
    ],
)
def test_wrong_parameters_are_one_line(tmp_path: Path, values: dict[str, object], message: str) -> None:
    bag = drive(tmp_path)
    given = arguments(**{name: str(value).format(drive=bag) for name, value in values.items()})
    with node_process("bag_player", *given, log=tmp_path / "log") as player:
        assert player.wait() == 1
        assert message in player.log
        assert player.log.startswith("error: ")
        assert player.log.count("\n") == 1
