# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measure the time from a packet to pixels of H.264 and H.265, beside JPEG of the same images.

``python benchmark/video_decode.py [BAG|FOLDER|VIDEO]``: encodes 200 of its images (or of noise that moves)
as a camera would, without B-frames and a keyframe a second, and decodes them as a node does. Needs the extra
``[video]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import to_bgr8
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.image.files import decode_file
from ad_compressed_perception.image.video import VideoDecoder, video_library

_COUNT = 200
_RATE_HZ = 20
_SIZES = ((640, 480), (1280, 720), (1920, 1080))


def images_of(source: str | None, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Return (H, W, 3) uint8 BGR images of a size, (width, height)."""
    if source is not None:
        frames = open_frames(source, limit=_COUNT)
        return [np.asarray(cv2.resize(to_bgr8(frame), size), np.uint8) for frame in frames]
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    still = cv2.GaussianBlur(noise, (0, 0), 4)
    return [np.ascontiguousarray(np.roll(still, 4 * index, axis=1)) for index in range(_COUNT)]


def packets_of(encoder: str, images: list[NDArray[np.uint8]]) -> list[bytes]:
    """Return a packet for each image."""
    av = video_library()
    context: Any = av.CodecContext.create(encoder, "w")
    context.height, context.width = images[0].shape[:2]
    context.pix_fmt, context.time_base, context.gop_size = "yuv420p", Fraction(1, _RATE_HZ), _RATE_HZ
    context.options = {"tune": "zerolatency", "preset": "veryfast", "x265-params": "log-level=none"}
    packets: list[bytes] = []
    for index, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts = index
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets


def measure(name: str, data: list[bytes], decode: Callable[[bytes], object]) -> None:
    """Print percentiles of the time of decoding each of ``data`` in their order."""
    times_ms = []
    for one in data:
        start_s = perf_counter()
        decode(one)
        times_ms.append((perf_counter() - start_s) * 1e3)
    p50, p99 = np.percentile(times_ms, (50, 99))
    print(
        f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {sum(map(len, data)) / len(data) / 1e3:.1f} kB a frame"
    )


def main() -> None:
    """Measure all sizes and codecs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="recording, folder of images or video file")
    source = parser.parse_args().source
    for size in _SIZES:
        images = images_of(source, size)
        label = f"{size[0]}x{size[1]}"
        jpegs = [encode_jpeg(image) for image in images]
        measure(f"{label} jpeg", jpegs, lambda data: decode_file(np.frombuffer(data, np.uint8)))
        for codec, encoder in (("h264", "libx264"), ("hevc", "libx265")):
            decoder = VideoDecoder(codec)

            def decode(data: bytes, decoder: VideoDecoder = decoder) -> None:
                decoder.add(data)
                decoder.image()

            measure(f"{label} {codec}", packets_of(encoder, images), decode)


if __name__ == "__main__":
    main()
