# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What packets of H.264 and H.265 say of themselves, without decoding: keyframes, parameters, lost packets.

FFmpeg's H.264 decoder fills lost images with earlier ones and says nothing, so the frame numbers are read
here. Syntax: ITU-T H.264 (7.3.2.1.1 sequence parameter set, 7.3.3 slice header, 7.4.3 frame_num) and H.265
(7.3.1.2), Annex B of both: units that begin with 00 00 01.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ad_compressed_perception.core.errors import ImageError

_START = b"\0\0\1"
_READ_BYTES = 256
"""Of a unit; what is read here lies at its beginning."""
# Profiles whose parameter set says how colors are sampled.
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))


@dataclass(frozen=True)
class Packet:
    """What a packet holds.

    Attributes:
        is_keyframe: decoding can begin with it.
        has_image: it holds a part of an image; else it holds parameter sets at most.
        has_parameters: it holds the sequence's parameters.
        lost: how it shows that packets before it are missing; empty where it does not.
    """

    is_keyframe: bool
    has_image: bool
    has_parameters: bool
    lost: str = ""


class PacketReader:
    """Reads the packets of one stream in their order."""

    def __init__(self, codec: str) -> None:
        """Prepare for ``h264`` or ``hevc``."""
        self._is_h264 = codec == "h264"
        self._number_bits = 0  # of frame_num; 0: not known, or gaps are allowed
        self._has_planes = False
        self._last = -1  # frame number of the last image that others refer to

    def read(self, data: bytes) -> Packet:
        """Return what the next packet holds.

        Raises:
            ImageError: it is no Annex B packet.
        """
        is_keyframe = has_image = has_parameters = False
        lost = ""
        for unit in _units(data):
            kind = unit[0] & 0x1F if self._is_h264 else unit[0] >> 1 & 0x3F
            if kind in ((7,) if self._is_h264 else (33,)):
                has_parameters = True
                if self._is_h264:
                    self._read_parameters(unit)
            elif kind in (1, 5) if self._is_h264 else kind < 32:
                is_keyframe |= kind == 5 if self._is_h264 else 16 <= kind <= 23
                if self._is_h264 and not has_image:
                    lost = self._read_slice(unit, is_keyframe)
                has_image = True
        return Packet(is_keyframe, has_image, has_parameters, lost)

    def _read_parameters(self, unit: bytes) -> None:
        bits = _Bits(unit[1:])
        try:
            profile = bits.take(8)
            bits.take(16)
            bits.number()
            self._has_planes = False
            if profile in _HIGH_PROFILES:
                chroma = bits.number()
                self._has_planes = chroma == 3 and bool(bits.take(1))
                bits.number()
                bits.number()
                bits.take(1)
                if bits.take(1):
                    for index in range(8 if chroma != 3 else 12):
                        if bits.take(1):
                            bits.skip_scaling_list(16 if index < 6 else 64)
            number_bits = bits.number() + 4
            order = bits.number()
            if order == 0:
                bits.number()
            elif order == 1:
                bits.take(1)
                bits.number()
                bits.number()
                for _ in range(bits.number()):
                    bits.number()
            bits.number()
            self._number_bits = 0 if bits.take(1) or number_bits > 16 else number_bits
        except IndexError:  # the decoder says what is wrong with it
            self._number_bits = 0

    def _read_slice(self, unit: bytes, is_keyframe: bool) -> str:
        if not self._number_bits:
            return ""
        bits = _Bits(unit[1:])
        try:
            for _ in range(3):
                bits.number()
            if self._has_planes:
                bits.take(2)
            number = bits.take(self._number_bits)
        except IndexError:
            return ""
        last, following = self._last, (self._last + 1) % (1 << self._number_bits)
        if is_keyframe or unit[0] & 0x60:
            self._last = number
        if is_keyframe or number in (last, following):
            return ""
        return f"frame number {number} follows {last}" if last >= 0 else ""


def _units(data: bytes) -> Iterator[bytes]:
    """Yield the beginnings of a packet's units; raise ImageError where there are none."""
    place = data.find(_START)
    if not 0 <= place <= 1 or any(data[:place]):
        raise ImageError(
            "no Annex B packet: it does not begin with 00 00 01 (drivers that send AVCC are not read)"
        )
    while 0 <= place < len(data) - len(_START):
        yield data[place + len(_START) : place + len(_START) + _READ_BYTES].replace(b"\0\0\3", b"\0\0")
        place = data.find(_START, place + len(_START))


class _Bits:
    """Bits of a unit, the highest first; IndexError at its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def take(self, count: int) -> int:
        """Return the next bits as an unsigned number."""
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._place >> 3] >> (7 - (self._place & 7)) & 1
            self._place += 1
        return value

    def number(self) -> int:
        """Return an Exp-Golomb code's number (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise IndexError
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_scaling_list(self, size: int) -> None:
        """Skip a scaling list (7.3.2.1.1.1)."""
        last = following = 8
        for _ in range(size):
            if following:
                code = self.number()
                following = (last + ((code + 1) // 2 if code & 1 else -(code // 2))) % 256
            last = following or last
