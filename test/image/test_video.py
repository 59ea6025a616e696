# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Packets of H.264 and H.265: the right image for each, or an error, never an image made of lost ones."""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.decode_once import decode_once
from ad_compressed_perception.image.video import MessageDecoder, VideoDecoder
from ad_compressed_perception.image.video_packets import PacketReader
from support.images import compressed_message
from support.videos import distance, packets_of

CODECS = ("h264", "hevc")
needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs PyAV, the extra [video]")


def outcome(decoder: VideoDecoder, packet: bytes, index: int) -> float | str:
    """Return the distance of a packet's image from the one that was encoded, or why there is none."""
    decoder.add(packet)
    try:
        return distance(decoder.image()[0], index)
    except ImageError as error:
        assert "\n" not in str(error)
        return str(error)


@needs_av
@pytest.mark.parametrize("codec", CODECS)
def test_every_packet_gives_its_own_image_at_once(codec: str) -> None:
    """A decoder that returns the image of an earlier packet would pair results with wrong stamps."""
    decoder = VideoDecoder(codec)
    assert all(outcome(decoder, packet, index) < 12 for index, packet in enumerate(packets_of(codec, 25)))


@needs_av
@pytest.mark.parametrize("codec", CODECS)
def test_a_lost_packet_costs_the_frames_up_to_the_next_keyframe(codec: str) -> None:
    """FFmpeg returns images made of earlier ones for H.264, 30 gray values off and without a word."""
    decoder = VideoDecoder(codec)
    found = {
        index: outcome(decoder, packet, index)
        for index, packet in enumerate(packets_of(codec, 25))
        if index != 13
    }
    assert [index for index, value in found.items() if isinstance(value, str)] == list(range(14, 20))
    assert "lost" in str(found[14]) and "no keyframe yet since" in str(found[15])
    assert all(value < 12 for value in found.values() if not isinstance(value, str))


@needs_av
@pytest.mark.parametrize("codec", CODECS)
def test_frames_before_the_first_keyframe_are_named(codec: str) -> None:
    decoder = VideoDecoder(codec)
    found = [outcome(decoder, packet, 4 + index) for index, packet in enumerate(packets_of(codec, 12)[4:])]
    assert found[:6] == ["before the stream's first keyframe"] * 6
    assert all(isinstance(value, float) and value < 12 for value in found[6:])


@needs_av
@pytest.mark.parametrize("codec", CODECS)
def test_chosen_frames_are_decoded_from_their_keyframe(codec: str) -> None:
    decoder = VideoDecoder(codec)
    for index, packet in enumerate(packets_of(codec, 25)):
        decoder.add(packet)
        if index in (3, 7, 19, 24):
            assert distance(decoder.image()[0], index) < 12


def test_streams_whose_parameters_come_once_or_by_themselves_are_read() -> None:
    """Encoders on cars send the parameters with the first keyframe, or as a packet of their own."""
    packets = packets_of("h264", 15)
    split = packets[0].index(b"\0\0\1\x65")  # the unit of the keyframe's image
    parameters, bare = packets[0][:split], packets[0][split:]
    decoder = VideoDecoder("h264")
    assert outcome(decoder, parameters, 0) == "it holds parameters of the stream and no image"
    assert float(outcome(decoder, bare, 0)) < 12
    second = packets[10][packets[10].index(b"\0\0\1\x65") :]
    for index, packet in enumerate([*packets[1:10], second, *packets[11:]], 1):
        assert float(outcome(decoder, packet, index)) < 12


@needs_av
def test_b_frames_are_an_error() -> None:
    """Their images come packets later: taken as they come, they would have the stamps of others."""
    decoder = VideoDecoder("h264")
    found = [outcome(decoder, packet, 0) for packet in packets_of("h264", 20, b_frames=2)]
    assert all(isinstance(value, str) for value in found)
    assert any("B-frames" in str(value) for value in found)


@pytest.mark.parametrize(("is_full", "white"), [(False, 255), (True, 235)])
def test_luma_235_is_white_unless_the_stream_has_the_full_range(is_full: bool, white: int) -> None:
    av = pytest.importorskip("av", reason="needs PyAV, the extra [video]")
    kind = "yuvj420p" if is_full else "yuv420p"
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, kind, Fraction(1, 20)
    context.options = {"tune": "zerolatency", "crf": "1"}
    planes = np.full((72, 64), 128, np.uint8)
    planes[:48] = 235
    frame = av.VideoFrame.from_ndarray(planes, format=kind)
    frame.pts = 0
    packet = b"".join(bytes(each) for each in [*context.encode(frame), *context.encode(None)])
    decoder = VideoDecoder("h264")
    decoder.add(packet)
    assert np.abs(decoder.image()[0].astype(int) - white).max() <= 1


@needs_av
def test_an_image_larger_than_allowed_is_refused_before_it_is_decoded() -> None:
    decoder = VideoDecoder("h264", max_pixels=1000)
    assert isinstance(outcome(decoder, packets_of("h264", 1)[0], 0), str)


def test_a_node_decodes_what_it_drops_and_shows_the_frame_it_takes() -> None:
    """Every packet is decoded when it arrives; its error is raised where its frame would be used."""
    decoder = MessageDecoder("/camera")
    received = [decoder.receive(compressed_message("h264", packet)) for packet in packets_of("h264", 9)[:9]]
    assert distance(decode_once(received[8], "/camera", 1 << 24).pixels, 8) < 12
    assert received[8].decode_ms > 0
    late = MessageDecoder("/camera").receive(compressed_message("h264", packets_of("h264", 9)[3]))
    with pytest.raises(ImageError, match=r"/camera: format 'h264', .* before the stream's first keyframe"):
        decode_once(late, "/camera", 1 << 24)


def test_without_pyav_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    message = compressed_message("h264", b"\0\0\0\1\x65abc")
    with pytest.raises(
        ImageError, match=r"need PyAV: pip install 'ad_compressed_perception\[video\]'"
    ) as error:
        MessageDecoder("/camera").decode(message)
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "av", SimpleNamespace())  # any folder of that name can be imported
    with pytest.raises(ImageError, match="need PyAV"):
        MessageDecoder("/camera").decode(message)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CODECS), st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_whatever_bytes_a_packet_has_it_is_read_or_refused(codec, units, is_long) -> None:
    """The first unit's kinds are those of parameters and images, so that all parsers see noise."""
    reader = PacketReader(codec)
    start = b"\0\0\0\1" if is_long else b"\0\0\1"
    for prefix in (b"", b"\x67\x64\0\x1f", b"\x41", b"\x65", b"\x42\x01", b"\x02\x01", b"\x26\x01"):
        data = b"".join(start + prefix + unit for unit in units)
        try:
            reader.read(data)
        except ImageError as error:
            assert "no Annex B packet" in str(error)


def test_frame_numbers_are_read_from_every_profile() -> None:
    """High profiles carry more before the bits of frame_num; a wrong offset would call each packet lost."""
    for profile in ("baseline", "main", "high"):
        reader = PacketReader("h264")
        packets = packets_of("h264", 40, gop=30, profile=profile, tune="zerolatency", preset="veryfast")
        read = [reader.read(packet) for packet in packets]
        assert [index for index, one in enumerate(read) if one.is_keyframe] == [0, 30]
        assert not any(one.lost for one in read)
        again = PacketReader("h264")
        assert [again.read(packet).lost for packet in (packets[0], packets[1], packets[3])][2]
