# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes camera topics of H.264 and H.265 packets, by PyAV (extra ``[video]``), imported here only.

A packet is decoded with those since its keyframe: a stream is a state, where an image file is not. A packet
that is lost costs the frames up to the next keyframe; they are errors, never images made of what was left.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.image.decode import Frame, decode_image
from ad_compressed_perception.image.encodings import Color
from ad_compressed_perception.image.files import MAX_PIXELS
from ad_compressed_perception.image.format_text import parse_format
from ad_compressed_perception.image.video_packets import PacketReader

_OLDEST = 16
_BEFORE_KEYFRAME = "before the stream's first keyframe"


class NoVideoDecoderError(ImageError):
    """PyAV is not installed, or does not load."""


def video_library() -> Any:
    """Return PyAV; raise NoVideoDecoderError where it is not usable."""
    try:
        library = import_module("av")
        # FFmpeg 7 and older return images of H.265 made of others where packets are lost.
        if int(library.__version__.partition(".")[0]) < _OLDEST:
            raise ImportError(f"version {library.__version__}, {_OLDEST} or newer is needed")
        return library
    except Exception as error:  # a wheel for another system fails with more than ImportError
        raise NoVideoDecoderError(
            "H.264 and H.265 need PyAV: pip install 'ad_compressed_perception[video]' "
            f"(or: pip install 'av>=16'): {one_line(error)}"
        ) from error


class VideoDecoder:
    """One stream's packets, added in their order, to images of those that are asked for."""

    def __init__(self, codec: str, max_pixels: int = MAX_PIXELS) -> None:
        """Open a decoder.

        Args:
            codec: ``h264`` or ``hevc``.
            max_pixels: largest width times height.

        Raises:
            NoVideoDecoderError: PyAV is not usable.
            ImageError: it has no decoder of this codec.
        """
        self._av = video_library()
        self.codec = codec
        self._max_pixels = max_pixels
        try:
            self._context = self._av.CodecContext.create(codec, "r")
        except Exception as error:
            raise ImageError(f"PyAV has no decoder of {codec or 'this video'}: {one_line(error)}") from error
        # Threads that work on several frames would return each of them some packets later.
        self._context.thread_count = 1
        self._context.flags |= 1 << 19  # AV_CODEC_FLAG_LOW_DELAY
        self._context.options = {"max_pixels": str(max_pixels), "err_detect": "explode"}
        self._count = 0
        self._reader = PacketReader(codec)
        self._waiting_packets: list[bytes] = []
        self._parameters = b""
        self._problem = ""
        self._waits_for_keyframe = _BEFORE_KEYFRAME

    def add(self, data: bytes) -> None:
        """Take the next packet; it is decoded when an image that needs it is asked for."""
        try:
            packet = self._reader.read(data)
        except ImageError as error:
            self._lose(str(error))
            return
        if packet.has_parameters:
            self._parameters = b"" if packet.has_image else self._parameters + data
        self._problem = ""
        if packet.is_keyframe:
            self._waits_for_keyframe = ""
            self._waiting_packets = [self._parameters + data]
            self._parameters = b""
        elif not packet.has_image:
            self._problem = "it holds parameters of the stream and no image"
        elif packet.lost and not self._waits_for_keyframe:
            self._lose(f"packets before it were lost ({packet.lost})")
        elif not self._waits_for_keyframe:
            self._waiting_packets.append(data)

    def image(self) -> tuple[NDArray[Any], Color]:
        """Return the image of the packet that was added last.

        Returns:
            (H, W, 3) uint8 BGR by the stream's own color matrix and range (BT.601 and 16..235 where it names
            none), or (H, W) uint8 GRAY.

        Raises:
            ImageError: it has none: before the first keyframe, after lost packets up to the next keyframe,
            damaged,
                or one that needs later packets (B-frames).
        """
        if self._problem or self._waits_for_keyframe:
            raise ImageError(self._problem or self._waits_for_keyframe)
        packets, self._waiting_packets = self._waiting_packets, []
        frame = None
        try:
            for data in packets:
                self._count += 1
                packet = self._av.Packet(data)
                packet.pts = self._count
                # A frame of another packet is one that was reordered.
                frame = next((each for each in self._context.decode(packet) if each.pts == self._count), None)
        except Exception as error:  # PyAV raises errors of FFmpeg's and Python's own
            why = getattr(error, "strerror", None) or one_line(error)
            self._lose(f"it is damaged, or packets before it were lost ({self.codec}: {why})")
            raise ImageError(self._problem) from error
        if frame is None or frame.is_corrupt:
            self._context.flush_buffers()
            self._lose("the decoder gives no image: packets before it were lost, or it has B-frames")
            raise ImageError(self._problem)
        if frame.width * frame.height > self._max_pixels:
            raise ImageError(f"{frame.width}x{frame.height} pixels where {self._max_pixels} are allowed")
        return self._pixels(frame)

    def _lose(self, reason: str) -> None:
        self._problem = reason
        self._waiting_packets = []
        self._waits_for_keyframe = f"no keyframe yet since {reason}"

    def _pixels(self, frame: Any) -> tuple[NDArray[Any], Color]:
        if frame.format.name in ("gray", "gray8"):
            return frame.to_ndarray(format="gray"), "GRAY"
        return np.asarray(frame.to_ndarray(format="bgr24")), "BGR"


@dataclass(frozen=True)
class VideoImage:
    """A message of a video, decoded when it arrived.

    Attributes:
        header: of the message.
        format: of the message.
        data: the packet.
        decoded: its frame, or why there is none.
        decode_ms: how long decoding took.
    """

    header: Any
    format: str
    data: Any
    decoded: Frame | ImageError
    decode_ms: float

    def frame(self) -> Frame:
        """Return the frame; raise ImageError where there is none."""
        if isinstance(self.decoded, ImageError):
            raise self.decoded
        return self.decoded


class MessageDecoder:
    """Image messages of one topic, taken in the order of their arrival, to frames; videos among them."""

    def __init__(self, topic: str, max_pixels: int = MAX_PIXELS, sample_bits: int = 0) -> None:
        """Prepare; see decode_image for the arguments."""
        self._topic, self._max_pixels, self._sample_bits = topic, max_pixels, sample_bits
        self._decoder: VideoDecoder | None = None

    def skip(self, message: Any) -> None:
        """Take a message whose frame is not needed; of a video, later ones may need its packet."""
        parsed = parse_format(getattr(message, "format", None))
        if parsed.kind == "video":
            self._open(parsed.codec).add(bytes(message.data))

    def decode(self, message: Any) -> Frame:
        """Return a message's frame.

        Raises:
            NoVideoDecoderError: a video without PyAV.
            ImageError: as decode_image and VideoDecoder.image.
        """
        parsed = parse_format(getattr(message, "format", None))
        if parsed.kind != "video":
            return decode_image(message, self._topic, self._max_pixels, self._sample_bits)
        try:
            decoder = self._open(parsed.codec)
            decoder.add(bytes(message.data))
            pixels, color = decoder.image()
        except NoVideoDecoderError:
            raise
        except ImageError as error:
            text = f"{self._topic}: format {message.format[:40]!r}, {len(message.data)} bytes: {error}"
            raise ImageError(text) from error
        stamp = message.header.stamp
        return Frame(pixels, color, int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec))

    def receive(self, message: Any) -> Any:
        """Return a message as it is; of a video, decoded at once, since later ones need it, a VideoImage."""
        text = getattr(message, "format", None)
        if text is None or parse_format(text).kind != "video":
            return message
        start_s = perf_counter()
        decoded: Frame | ImageError
        try:
            decoded = self.decode(message)
        except ImageError as error:
            decoded = error
        decode_ms = (perf_counter() - start_s) * 1e3
        return VideoImage(message.header, message.format, message.data, decoded, decode_ms)

    def _open(self, codec: str) -> VideoDecoder:
        if self._decoder is None or self._decoder.codec != codec:
            self._decoder = VideoDecoder(codec, self._max_pixels)
        return self._decoder
