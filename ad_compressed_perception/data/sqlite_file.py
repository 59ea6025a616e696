# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of rosbag2's sqlite3 storage: whole ones, cut ones, and those whose recorder was killed."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote

from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.data.storage import Channel, Message, Part, StorageError
from ad_compressed_perception.data.unpacked import copy_with_log

# What reading a damaged database raises: columns hold values of any type.
_BROKEN = (sqlite3.Error, TypeError, ValueError, OverflowError)
_MOST_FAILURES = 1000
"""Rows that cannot be read after which the rest of a damaged file is given up."""
_TAIL_BYTES = 32


class SqliteFile:
    """One .db3 file, open until ``close``; its attributes are those of StorageFile."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise StorageError where it is no readable recording."""
        self.path = path
        self.damage: list[str] = []
        self.warnings: list[str] = []
        self.counts: Counter[int] = Counter()
        self.start_ns = self.end_ns = 0
        self._rows: list[tuple[int, int, int]] | None = None  # (time, id, channel), where damaged
        self._cut_page, self._lost_bytes = b"", 0  # what there is of the last page, and what there is not
        log = path.with_name(f"{path.name}-wal")
        self._has_log = log.is_file() and log.stat().st_size > 0
        if self._has_log:
            # Messages of a killed recorder, which opening would move into the file: done in a copy.
            name = f"file:{quote(str(copy_with_log(path, log)))}"
            self.warnings.append(
                f"{log.name} holds messages that are not in the database yet, as its recorder was killed: "
                f"they "
                "are read from a copy."
            )
        else:
            name = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        try:
            self._database = sqlite3.connect(name, uri=True)
            # A file that is shorter than its header says is opened all the same.
            self._database.execute("PRAGMA writable_schema=ON")
            self.channels = self._read_channels()
        except _BROKEN as cause:
            raise StorageError(one_line(cause)) from cause
        try:
            self._check_size()
            self._count()
        except _BROKEN as cause:
            self._scan(cause)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def parts(self, chosen: Collection[int]) -> list[Part]:
        """Return the whole file as one part."""
        if not any(self.counts[each] for each in chosen):
            return []
        return [(self.start_ns, lambda: self._messages(frozenset(chosen)))]

    def _messages(self, chosen: frozenset[int]) -> Iterator[Message]:
        last = (-(1 << 63), -(1 << 63))  # (time, id) of the message before
        if self._rows is None:
            marks = ",".join("?" * len(chosen))
            try:
                for time_ns, row, channel, data in self._database.execute(
                    f"SELECT timestamp, id, topic_id, data FROM messages WHERE topic_id IN ({marks}) "
                    "ORDER BY timestamp, id",
                    tuple(chosen),
                ):
                    last = (int(time_ns), int(row))
                    yield Message(last[0], int(channel), _blob(data))
                return
            except _BROKEN as cause:  # the order is that of an index, which may be damaged alone
                self._scan(cause)
        for time_ns, row, channel in self._rows or ():
            if channel not in chosen or (time_ns, row) <= last:
                continue
            try:
                found = self._database.execute("SELECT data FROM messages WHERE id = ?", (row,)).fetchone()
            except _BROKEN as cause:
                self._note(f"{self.path.name} cannot be read to its end: {cause}")
                return
            yield Message(time_ns, channel, self._whole(found[0] if found else None))

    def _note(self, text: str) -> None:
        if text not in self.damage:
            self.damage.append(text)

    def _check_size(self) -> None:
        """Raise ValueError where the file is shorter than its header says."""
        (pages,), (size,) = (
            self._database.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        there = self.path.stat().st_size
        if self._has_log or there >= pages * size:
            return
        if there % size:
            with self.path.open("rb") as stream:
                stream.seek(there - there % size)
                self._cut_page = stream.read()
            self._lost_bytes = size - there % size
        raise ValueError(f"{there} bytes of {pages * size}")

    def _whole(self, data: object) -> bytes:
        """Return a message's bytes; none where SQLite has put zeros in the place of what the file lacks."""
        found = _blob(data)
        # Enough of the page to be found in its message only.
        seen = self._cut_page.rstrip(b"\0")
        tail = self._cut_page[max(len(seen) - _TAIL_BYTES, 0) :]
        place = found.find(tail) if seen else -1
        while place >= 0:
            lost = found[place + len(tail) : place + len(tail) + self._lost_bytes]
            if lost and not any(lost):
                self._note(f"{self.path.name} is cut off within a message, which is left out")
                return b""
            place = found.find(tail, place + 1)
        return found

    def _read_channels(self) -> list[Channel]:
        tables = {str(name) for (name,) in self._database.execute("SELECT name FROM sqlite_master")}
        if not {"topics", "messages"} <= tables:
            raise StorageError("it has no tables of topics and messages")
        definitions: dict[str, str] = {}
        if "message_definitions" in tables:
            definitions = {
                str(kind): str(text)
                for kind, encoding, text in self._database.execute(
                    "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
                )
                if encoding == "ros2msg"
            }
        rows = self._database.execute("SELECT id, name, type, serialization_format FROM topics ORDER BY id")
        return [
            Channel(int(key), str(topic), str(kind), str(encoding or "cdr"), definitions.get(str(kind), ""))
            for key, topic, kind, encoding in rows
        ]

    def _count(self) -> None:
        ends: list[int] = []
        for channel, count, first, last in self._database.execute(
            "SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages GROUP BY topic_id"
        ):
            self.counts[int(channel)] = int(count)
            ends += [int(first), int(last)]
        self.start_ns, self.end_ns = min(ends, default=0), max(ends, default=0)

    def _scan(self, cause: Exception) -> None:
        """List the messages that can be read, in a file that is cut off or damaged."""
        rows: list[tuple[int, int, int]] = []
        last = failures = 0
        while failures <= _MOST_FAILURES:
            try:
                for row, channel, time_ns, data in self._database.execute(
                    "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id", (last,)
                ):
                    last = int(row)
                    if isinstance(data, bytes) and isinstance(time_ns, int) and isinstance(channel, int):
                        rows.append((time_ns, last, channel))
                break
            except _BROKEN:
                failures += 1
                last += 1
        self._rows = sorted(rows)
        self.counts = Counter(channel for _, _, channel in rows)
        if rows:
            self.start_ns, self.end_ns = self._rows[0][0], self._rows[-1][0]
        self.warnings.append(
            f"{self.path.name} is cut off or damaged ({cause}): what is there is read, {len(rows)} messages "
            "(sqlite3 FILE .recover may find more)."
        )


def _blob(data: object) -> bytes:
    """Return a message's bytes; none where a row holds something else, which is no message of any type."""
    return data if isinstance(data, bytes) else b""
