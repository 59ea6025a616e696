# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Videos as sources of frames: packets on topics of three message types, and video files."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.video_messages import COMPRESSED_IMAGE, DEFINITIONS, VIDEO_TYPES
from ad_compressed_perception.data.video_reader import TOPIC, open_recording
from ad_compressed_perception.image.decode import decode_image
from ad_compressed_perception.image.video import MessageDecoder
from support.bags import PERIOD_NS, START_NS, raw_message, road_frames, stamps_of, write_messages
from support.images import png_of
from support.videos import distance, moving_image, packets_of, video_message, write_video_file

KINDS = (COMPRESSED_IMAGE, *VIDEO_TYPES)
CAMERA = "/camera/video"


def write_video_bag(
    path: Path,
    packets: list[bytes],
    kind: str = COMPRESSED_IMAGE,
    codec: str = "h264",
    *,
    skip: tuple[int, ...] = (),
) -> Path:
    """Write packets as a recording; those of ``skip`` are missing, as after a loss."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        definition = DEFINITIONS.get(kind)
        if definition is None:
            from rosbags.typesys import Stores, get_typestore

            connection = writer.add_connection(CAMERA, kind, typestore=get_typestore(Stores.ROS2_JAZZY))
        else:
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore

            store = get_typestore(Stores.ROS2_JAZZY)
            store.register(get_types_from_msg(definition, kind))
            connection = writer.add_connection(CAMERA, kind, typestore=store)
        for index, (stamp_ns, packet) in enumerate(zip(stamps_of(len(packets)), packets, strict=True)):
            if index not in skip:
                writer.write(connection, stamp_ns, video_message(kind, packet, stamp_ns, codec))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_frames_of_every_message_type_have_their_own_stamps(tmp_path: Path, kind: str, codec: str) -> None:
    bag = write_video_bag(tmp_path / "bag", packets_of(codec, 25), kind, codec)
    source = open_frames(str(bag))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == stamps_of(25) == source.stamps_ns()
    assert max(distance(frame.pixels, index) for index, frame in enumerate(frames)) < 12
    chosen = [2, 13, 24]  # evenly chosen ones need the packets since their keyframes
    assert max(distance(frame.pixels, i) for i, frame in zip(chosen, source.frames(chosen), strict=True)) < 12
    strided = open_frames(str(bag), stride=6)
    assert max(distance(frame.pixels, 6 * index) for index, frame in enumerate(strided)) < 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_gets_every_type_as_compressed_image(tmp_path: Path, kind: str) -> None:
    """Nodes and replay publish what they read; a node has no types of foxglove."""
    bag = write_video_bag(tmp_path / "bag", packets_of("h264", 3), kind)
    with BagReader(bag) as reader:
        assert reader.is_compressed(CAMERA)
        cdrs = [reader.image_cdr(CAMERA, cdr) for _, _, cdr in reader.messages([CAMERA])]
        images = [reader.image_message(CAMERA, cdr) for cdr in cdrs]
    assert [image.header.stamp.nanosec for image in images] == [stamp % 10**9 for stamp in stamps_of(3)]
    decoder = MessageDecoder(CAMERA)
    assert all(distance(decoder.decode(image).pixels, index) < 12 for index, image in enumerate(images))


def test_what_is_lost_is_counted_by_reason(tmp_path: Path) -> None:
    """A recording that begins within a group, and lost a packet later: 5 and 6 of 35 frames are none."""
    packets = packets_of("h264", 40)[5:]
    bag = write_video_bag(tmp_path / "bag", packets, skip=(18,))
    source = open_frames(str(bag), max_bad=BadFrameLimit("50%"))
    good = source.readable(range(len(source)))
    assert len(good) == 34 - 5 - 6
    reasons = source.account().bad
    assert sum(count for text, count in reasons.items() if "before the stream's first keyframe" in text) == 5
    assert sum(count for text, count in reasons.items() if "packets before it were lost" in text) == 6
    stamps = [frame.stamp_ns for frame in source.frames(good)]
    assert (START_NS + 19 * PERIOD_NS) not in stamps, "the first after the lost one"


def test_without_pyav_the_extra_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (stamp, video_message(COMPRESSED_IMAGE, b"\0\0\0\1\x65ab", stamp, "h264")) for stamp in stamps_of(4)
    ]
    bag = write_messages(tmp_path / "bag", {CAMERA: (COMPRESSED_IMAGE, rows)})
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        DataError, match=r"bag:/camera/video: H.264 and H.265 need PyAV: pip install"
    ) as error:
        open_frames(str(bag))
    assert "\n" not in str(error.value) and str(error.value).count("[video]") == 1


# Files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_file_is_a_source(tmp_path: Path, suffix: str) -> None:
    """Stamps are the container's: a frame each 50 ms from 0."""
    source = open_frames(str(write_video_file(tmp_path / f"drive{suffix}", 30)))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == source.stamps_ns()
    steps = np.diff([frame.stamp_ns for frame in frames]) / 1e6
    assert len(frames) == 30 and np.abs(steps - 50.0).max() <= 1.1 and frames[0].stamp_ns <= 50_000_000
    assert max(distance(frame.pixels, index) for index, frame in enumerate(frames)) < 12
    chosen = [1, 17, 29]
    assert max(distance(frame.pixels, i) for i, frame in zip(chosen, source.frames(chosen), strict=True)) < 12
    strided = open_frames(str(tmp_path / f"drive{suffix}"), stride=7, limit=3)
    assert [distance(frame.pixels, 7 * index) < 12 for index, frame in enumerate(strided)] == [True] * 3


def test_a_video_is_a_recording_for_what_publishes_one(tmp_path: Path) -> None:
    path = write_video_file(tmp_path / "drive.mp4", 12)
    with open_recording(path) as video:
        assert video.resolve_image_topic() == TOPIC
        assert (video.count(TOPIC), video.is_compressed(TOPIC)) == (12, False)
        rows = [video.deserialize(topic, cdr) for topic, _, cdr in video.messages([TOPIC])]
        with pytest.raises(DataError, match="has no topic /camera; its images are on /video"):
            video.resolve_image_topic("/camera")
    frames = [decode_image(row) for row in rows]
    assert frames[0].stamp_ns >= 1_000_000_000, "a stamp of 0 is one that was never set"
    assert max(distance(frame.pixels, index) for index, frame in enumerate(frames)) < 12


def test_a_video_that_is_cut_off_or_none_is_named(tmp_path: Path) -> None:
    path = write_video_file(tmp_path / "drive.avi", 60)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = open_frames(str(path), max_bad=BadFrameLimit("90%"))
    good = source.readable(range(len(source)))
    assert 20 <= len(good) < 60
    assert max(distance(frame.pixels, i) for i, frame in zip(good, source.frames(good), strict=True)) < 12
    path.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"video .*drive.avi cannot be opened"):
        open_frames(str(path))


def test_a_rotation_of_the_container_is_applied_and_named(tmp_path: Path) -> None:
    """Telephones write the images as the sensor lies, and how to turn them."""
    av = pytest.importorskip("av", reason="needs PyAV, the extra [video]")
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :32] = 255
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    matrix = np.array([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000], ">i4").tobytes()
    turned = np.array([0, 0x10000, 0, -0x10000, 0, 0, 48 * 0x10000, 0, 0x40000000], ">i4").tobytes()
    track = content.index(b"tkhd")
    place = content.index(matrix, track)  # ISO/IEC 14496-12, 8.3.2
    path.write_bytes(content[:place] + turned + content[place + len(matrix) :])
    source = open_frames(str(path))
    frame = next(iter(source))
    assert frame.pixels.shape == (64, 48, 3)
    top, bottom = frame.pixels[:28].mean(), frame.pixels[36:].mean()
    assert (top > 200 and bottom < 50) or (top < 50 and bottom > 200)
    assert any("rotated by" in note for note in source.account().notes)


# Other images ------------------------------------------------------------------------------------------


def test_dark_images_of_a_12_bit_camera_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting 12 bits in 16 are images of 16 gray values; nothing named it."""
    samples = np.random.default_rng(0).integers(0, 4096, (48, 64), np.uint16)
    messages = []
    for stamp in stamps_of(3):
        message = raw_message(road_frames(1)[0], stamp)
        message.encoding, message.step, message.data = (
            "mono16",
            128,
            np.frombuffer(samples.tobytes(), np.uint8),
        )
        messages.append((stamp, message))
    bag = write_messages(tmp_path / "bag", {CAMERA: ("sensor_msgs/msg/Image", messages)})
    source = open_frames(str(bag))
    assert next(iter(source)).pixels.max() < 4096
    assert any(
        "use 12 bits at most" in note and "ADCP_SAMPLE_BITS=12" in note for note in source.account().notes
    )
    monkeypatch.setenv("ADCP_SAMPLE_BITS", "12")
    source = open_frames(str(bag))
    np.testing.assert_array_equal(next(iter(source)).pixels, samples << 4)
    assert source.account().notes == []


def test_a_folder_of_depth_maps_is_no_folder_of_images(tmp_path: Path) -> None:
    """KITTI's and others' depth maps are gray 16-bit PNGs."""
    (tmp_path / "0.png").write_bytes(png_of(np.zeros((4, 4), np.uint16)))
    with pytest.raises(DataError, match="a gray 16-bit file, as of depth or labels"):
        list(open_frames(str(tmp_path)))


def test_files_of_macos_beside_images_are_no_images(tmp_path: Path) -> None:
    for name in ("000", "001"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), road_frames(1)[0])
        (tmp_path / f"._{name}.png").write_bytes(b"\0\5\x16\7")
    source = open_frames(str(tmp_path))
    assert len(source) == 2
    assert "2 files" in source.account().sentences()[0]


def test_of_a_camera_with_depth_the_camera_is_taken(tmp_path: Path) -> None:
    """An RGB-D camera has a camera_info for both: it had to be chosen by hand."""
    rows: dict[str, list[tuple[int, object]]] = {"/rgb/image": [], "/depth/image": []}
    for stamp in stamps_of(2):
        depth = raw_message(road_frames(1)[0], stamp)
        depth.encoding, depth.step, depth.data = "16UC1", 128, np.zeros(48 * 128, np.uint8)
        rows["/rgb/image"].append((stamp, raw_message(road_frames(1)[0], stamp)))
        rows["/depth/image"].append((stamp, depth))
    kind = "sensor_msgs/msg/Image"
    bag = write_messages(tmp_path / "bag", {topic: (kind, messages) for topic, messages in rows.items()})
    assert open_frames(str(bag)).describe.endswith(":/rgb/image")
    with pytest.raises(DataError, match="a depth map"):
        list(open_frames(f"{bag}:/depth/image"))


def test_a_video_file_is_named_with_its_topic_too(tmp_path: Path) -> None:
    """As replay and the player name it."""
    path = write_video_file(tmp_path / "drive.mp4", 3)
    assert len(open_frames(f"{path}:{TOPIC}")) == 3
    with pytest.raises(DataError):
        open_frames(f"{path}:/other")


def test_an_avi_with_dropped_frames_has_the_frames_that_are_there(tmp_path: Path) -> None:
    """Its header counts the times of dropped frames, too: as many frames as it counted were bad."""
    av = pytest.importorskip("av", reason="needs PyAV, the extra [video]")
    path = tmp_path / "drive.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for place, time in enumerate((0, 1, 2, 7, 8, 20)):
            frame = av.VideoFrame.from_ndarray(moving_image(place), format="bgr24")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = open_frames(str(path))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [50_000_000 * time for time in (0, 1, 2, 7, 8, 20)]
    assert max(distance(frame.pixels, index) for index, frame in enumerate(frames)) < 12
