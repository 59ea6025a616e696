# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MCAP files, read by their own records (https://mcap.dev/spec): complete ones, cut ones, mixed ones.

rosbags reads complete files of the profile "ros2" whose channels are all ROS messages. Here every channel is
listed with its own encoding, so that a JSON or protobuf channel does not hide a camera, and a file without an
index (its recorder was killed) is scanned up to where it is cut off.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from ad_compressed_perception.data.storage import Channel, Message, Part, StorageError
from ad_compressed_perception.data.zstd import zstd_decompress

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER_BYTES = 9 + 20 + len(_MAGIC)
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = range(1, 7)
_CHUNK_INDEX, _STATISTICS, _DATA_END = 0x08, 0x0B, 0x0F
# What reading a damaged record raises: numbers in it are offsets, lengths and texts of any value.
_BROKEN = (StorageError, struct.error, ValueError, OverflowError, MemoryError)
_LARGEST_CHUNK = 4 << 30  # bytes; rosbag2 writes chunks below 1 MiB


@dataclass
class _Chunk:
    offset: int
    start_ns: int
    channels: frozenset[int] | None = None
    cut: bool = False


@dataclass
class McapFile:
    """One MCAP file, open until ``close``.

    Attributes:
        path: the file.
        channels: all of them, whatever their encoding.
        counts: channel id to its number of messages, by the file's index or, without one, as scanned.
        start_ns: log time of the first message.
        end_ns: log time of the last one.
        damage: what could not be read, in short phrases; reading messages may add to it.
        warnings: what is unusual, though all that is there can be read.
    """

    path: Path
    channels: list[Channel] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    start_ns: int = 0
    end_ns: int = 0
    damage: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the file and read or make its index; raise StorageError where it is no MCAP file."""
        self._chunks: list[_Chunk] = []
        self._loose: list[tuple[int, int, int]] = []  # (log time, offset, length) outside of chunks
        self._schemas: dict[int, tuple[str, str, bytes]] = {}
        self._stream: BinaryIO = self.path.open("rb")
        self._size = self.path.stat().st_size
        try:
            if self._stream.read(len(_MAGIC)) != _MAGIC:
                raise StorageError("it does not begin as an MCAP file")
            if not self._read_summary():
                self._scan()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def parts(self, chosen: Collection[int]) -> list[Part]:
        """Return the chunks that may hold messages of these channels, each with its first log time."""
        parts: list[Part] = [
            (chunk.start_ns, self._reader(chunk, frozenset(chosen)))
            for chunk in self._chunks
            if chunk.channels is None or chunk.channels & set(chosen)
        ]
        if self._loose:
            loose = sorted(self._loose, key=lambda entry: entry[0])
            parts.append((loose[0][0], lambda: self._loose_messages(loose, frozenset(chosen))))
        return parts

    def _reader(self, chunk: _Chunk, chosen: frozenset[int]) -> Callable[[], Iterator[Message]]:
        def read() -> Iterator[Message]:
            found = []
            try:
                for code, record in self._chunk_records(chunk):
                    if code == _MESSAGE:
                        channel, _, time_ns, _ = struct.unpack_from("<HIQQ", record)
                        if channel in chosen:
                            found.append(Message(time_ns, channel, bytes(record[22:])))
            except _BROKEN as error:
                self._note(f"a chunk of {self.path.name} at byte {chunk.offset}: {error}")
            yield from sorted(found, key=lambda message: message.time_ns)

        return read

    def _loose_messages(
        self, entries: list[tuple[int, int, int]], chosen: frozenset[int]
    ) -> Iterator[Message]:
        for time_ns, offset, length in entries:
            self._stream.seek(offset)
            record = self._stream.read(length)
            channel = struct.unpack_from("<H", record)[0]
            if channel in chosen:
                yield Message(time_ns, channel, record[22:])

    def _note(self, text: str) -> None:
        if text not in self.damage:
            self.damage.append(text)

    # The index ------------------------------------------------------------------------------------

    def _read_summary(self) -> bool:
        """Read the file's own index; return False where it has none that covers its messages."""
        size = self._size
        if size < len(_MAGIC) + _FOOTER_BYTES:
            return False
        self._stream.seek(size - _FOOTER_BYTES)
        end = self._stream.read(_FOOTER_BYTES)
        if end[0] != _FOOTER or end[-len(_MAGIC) :] != _MAGIC:
            return False
        start = struct.unpack_from("<Q", end, 9)[0]
        if not len(_MAGIC) <= start < size - _FOOTER_BYTES:
            return False
        self._stream.seek(start)
        statistics: Any = None
        try:
            for code, record in _records(self._stream.read(size - _FOOTER_BYTES - start)):
                self._take_definition(code, record)
                if code == _CHUNK_INDEX:
                    start_ns, _, offset, _, bytes_ = struct.unpack_from("<QQQQI", record)
                    pairs = struct.iter_unpack("<HQ", record[36 : 36 + bytes_])
                    channels = frozenset(channel for channel, _ in pairs) or None
                    self._chunks.append(_Chunk(offset, start_ns, channels))
                elif code == _STATISTICS:
                    statistics = struct.unpack_from("<QHIIIIQQ", record)
                    self.counts = Counter(dict(struct.iter_unpack("<HQ", record[46:])))
        except _BROKEN:
            statistics = None
        complete = (
            statistics is not None
            and statistics[5] == len(self._chunks)
            and bool(self._chunks or not statistics[0])
            and sum(self.counts.values()) == statistics[0]
            and self.counts.keys() <= {channel.id for channel in self.channels}
        )
        if complete:
            self.start_ns, self.end_ns = statistics[6], statistics[7]
        else:
            self._forget()
        return complete

    def _scan(self) -> None:
        """Make the index from all records, up to where the file is cut off or damaged."""
        size = self._size
        position = len(_MAGIC)
        times: list[int] = []
        ended = cut = False
        while position + 9 <= size and not ended:
            self._stream.seek(position)
            code, length = struct.unpack("<BQ", self._stream.read(9))
            cut = position + 9 + length > size
            if code == _CHUNK:
                times += self._scan_chunk(position, cut)
            elif not cut:
                try:
                    self._scan_record(code, position + 9, length, times)
                except _BROKEN as error:
                    self._note(f"a record of {self.path.name} at byte {position}: {error}")
            ended = cut or code in (_DATA_END, _FOOTER)
            position += 9 + length
        if not ended or cut:
            self.warnings.append(
                f"{self.path.name} has no end: its recorder was killed, or the file is cut off; what is "
                f"there is read, {self.counts.total()} messages (mcap recover writes a complete file)"
            )
        self.start_ns, self.end_ns = min(times, default=0), max(times, default=0)

    def _scan_record(self, code: int, offset: int, length: int, times: list[int]) -> None:
        if code == _MESSAGE and length >= 22:
            channel, _, time_ns = struct.unpack("<HIQ", self._stream.read(14))
            self._loose.append((time_ns, offset, length))
            self.counts[channel] += 1
            times.append(time_ns)
        elif code in (_SCHEMA, _CHANNEL):
            self._take_definition(code, memoryview(self._stream.read(length)))

    def _scan_chunk(self, offset: int, cut: bool) -> list[int]:
        """Count a chunk's messages and take its definitions; return the messages' log times."""
        chunk = _Chunk(offset, 0, cut=cut)
        times = []
        try:
            for code, record in self._chunk_records(chunk):
                self._take_definition(code, record)
                if code == _MESSAGE:
                    channel, _, time_ns = struct.unpack_from("<HIQ", record)
                    self.counts[channel] += 1
                    times.append(time_ns)
        except _BROKEN as error:
            if not cut:
                self._note(f"a chunk of {self.path.name} at byte {offset}: {error}")
        if times:
            chunk.start_ns = min(times)
            self._chunks.append(chunk)
        return times

    def _forget(self) -> None:
        self._chunks, self.channels = [], []
        self._schemas = {}
        self.counts = Counter()

    # Records --------------------------------------------------------------------------------------

    def _chunk_records(self, chunk: _Chunk) -> Iterator[tuple[int, memoryview]]:
        """Yield a chunk's records; raise StorageError where it is damaged."""
        self._stream.seek(chunk.offset)
        head = self._stream.read(9)
        if len(head) < 9 or head[0] != _CHUNK:
            raise StorageError("no chunk where the index names one")
        length = struct.unpack_from("<Q", head, 1)[0]
        body = memoryview(self._stream.read(min(length, self._size - chunk.offset)))
        if len(body) < 32:
            raise StorageError("cut off")
        _, _, size, crc, characters = struct.unpack_from("<QQQII", body)
        compression = bytes(body[32 : 32 + characters]).decode("ascii", "replace")
        start = 32 + characters + 8
        if size > _LARGEST_CHUNK:
            raise StorageError(f"claims {size} bytes")
        if chunk.cut:
            if not compression:  # what is there can be read
                yield from _records(body[start:])
            return
        data = _decompress(bytes(body[start:]), compression, size)
        if len(data) != size:
            raise StorageError(f"holds {len(data)} bytes instead of {size}")
        if crc and crc32(data) != crc:
            raise StorageError("its checksum is wrong")
        yield from _records(data)

    def _take_definition(self, code: int, record: memoryview) -> None:
        if code == _SCHEMA:
            (key,) = struct.unpack_from("<H", record)
            name, position = _string(record, 2)
            encoding, position = _string(record, position)
            (size,) = struct.unpack_from("<I", record, position)
            self._schemas[key] = (name, encoding, bytes(record[position + 4 : position + 4 + size]))
        elif code == _CHANNEL:
            key, schema = struct.unpack_from("<HH", record)
            topic, position = _string(record, 4)
            encoding, _ = _string(record, position)
            name, kind, definition = self._schemas.get(schema, ("", "", b""))
            if all(channel.id != key for channel in self.channels):
                text = definition.decode("utf-8", "replace") if kind == "ros2msg" else ""
                self.channels.append(Channel(key, topic, name, encoding, text))


def _records(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (code, content) of consecutive records; raise StorageError where the last one is cut off."""
    view = memoryview(data)
    position = 0
    while position < len(view):
        if position + 9 > len(view):
            raise StorageError("ends inside a record")
        code, length = struct.unpack_from("<BQ", view, position)
        position += 9 + length
        if position > len(view):
            raise StorageError("ends inside a record")
        yield code, view[position - length : position]


def _string(record: memoryview, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", record, position)
    end = position + 4 + length
    if end > len(record):
        raise StorageError("a text is longer than its record")
    return bytes(record[position + 4 : end]).decode("utf-8"), end


def _decompress(data: bytes, compression: str, size: int) -> bytes:
    if compression == "":
        return data
    if compression == "zstd":
        return zstd_decompress(data, size)
    if compression == "lz4":
        try:
            library = import_module("lz4.frame")  # comes with rosbags
            return bytes(library.LZ4FrameDecompressor().decompress(data, max_length=size + 1))
        except (ImportError, RuntimeError) as error:
            raise StorageError(f"lz4: {error}") from error
    raise StorageError(f"unknown compression {compression!r}")
