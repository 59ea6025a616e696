# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A compressed image is decoded once in a process, and never given out for another one."""

from __future__ import annotations

from functools import lru_cache
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy")
from rclpy.serialization import serialize_message

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.decode import Frame, decode_image
from ad_compressed_perception.image.decode_once import decode_once
from ad_compressed_perception.messages.received_image import read_compressed_image, read_image
from support.models import draw_scene
from support.ros import image_message, jpeg_message

TOPIC, LARGEST = "/camera", 1 << 24


@lru_cache
def sent(scene: int, stamp_ns: int) -> bytes:
    return serialize_message(jpeg_message(draw_scene(scene), stamp_ns))


def received(scene: int, stamp_ns: int) -> Any:
    """Return a message as a node gets it: as bytes of its own."""
    return read_compressed_image(bytes(bytearray(sent(scene, stamp_ns))))


def test_nodes_of_a_process_share_one_decoding() -> None:
    """Three nodes take the same message at the same time; the pixels must be one array, not three."""
    frames: list[Frame] = []
    start = Barrier(3)

    def node(message: Any) -> None:
        start.wait(30)
        frames.append(decode_once(message, TOPIC, LARGEST))

    threads = [Thread(target=node, args=[received(0, 5)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert frames[0].pixels is frames[1].pixels is frames[2].pixels
    np.testing.assert_array_equal(frames[0].pixels, decode_image(received(0, 5)).pixels)
    with pytest.raises(ValueError, match="read-only"):  # one node must not draw into another's image
        frames[0].pixels[0, 0] = 0


def test_another_image_stamp_or_topic_is_another_frame() -> None:
    first = decode_once(received(0, 5), TOPIC, LARGEST)
    assert decode_once(received(0, 6), TOPIC, LARGEST).stamp_ns == 6  # the same pixels, a later stamp
    other = decode_once(received(1, 6), TOPIC, LARGEST)  # other pixels under the same stamp
    np.testing.assert_array_equal(other.pixels, decode_image(received(1, 6)).pixels)
    assert not np.array_equal(other.pixels, first.pixels)
    np.testing.assert_array_equal(decode_once(received(0, 5), "/rear", LARGEST).pixels, first.pixels)
    np.testing.assert_array_equal(decode_once(received(1, 6), TOPIC, LARGEST).pixels, other.pixels)


def test_a_refusal_is_repeated_and_no_older_frame_takes_its_place() -> None:
    decode_once(received(0, 7), TOPIC, LARGEST)
    for _ in range(2):  # the limit of one node is its own, and an error is not kept for the next
        with pytest.raises(ImageError, match="/camera"):
            decode_once(received(0, 7), TOPIC, 10)
    raw = image_message(draw_scene(0), 7)
    np.testing.assert_array_equal(decode_once(raw, TOPIC, LARGEST).pixels, draw_scene(0))
    viewed = decode_once(read_image(serialize_message(raw)), TOPIC, LARGEST)
    np.testing.assert_array_equal(viewed.pixels, draw_scene(0))
