# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of rosbag2's sqlite3 storage, read by rosbags, each by its own channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from ad_compressed_perception.data.storage import Channel, Message, Part, StorageError


class SqliteFile:
    """One .db3 file, open until ``close``; its attributes are those of StorageFile."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise StorageError where it is no readable recording."""
        from rosbags.interfaces import MessageDefinitionFormat
        from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

        self.path = path
        self.damage: list[str] = []
        self.warnings: list[str] = []
        self._reader = Sqlite3Reader(path)
        try:
            self._reader.open()
        except Exception as cause:  # rosbags lets database and unpacking errors through
            raise StorageError(" ".join(str(cause).split()) or type(cause).__name__) from cause
        self._connections = list(self._reader.connections)
        self.channels = [
            Channel(
                each.id,
                each.topic,
                each.msgtype,
                getattr(each.ext, "serialization_format", "cdr"),
                each.msgdef.data if each.msgdef.format == MessageDefinitionFormat.MSG else "",
            )
            for each in self._connections
        ]
        self.counts = Counter({each.id: each.msgcount for each in self._connections})
        self.start_ns = self._reader.metadata.start_time if self.counts.total() else 0
        self.end_ns = self._reader.metadata.end_time - 1 if self.counts.total() else 0
        # The database is opened as it is: what a killed recorder left beside it is not in it yet.
        log = path.with_name(f"{path.name}-wal")
        if log.is_file() and log.stat().st_size:
            self.damage.append(
                f"{log.name} holds messages that are not in the database yet, its recorder was killed: "
                f"sqlite3 {path.name} 'PRAGMA wal_checkpoint;' moves them there"
            )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def parts(self, chosen: Collection[int]) -> list[Part]:
        """Return the whole file as one part."""

        def read() -> Iterator[Message]:
            connections = [each for each in self._connections if each.id in chosen]
            try:
                for connection, time_ns, data in self._reader.messages(connections):
                    yield Message(int(time_ns), connection.id, bytes(data))
            except Exception as cause:
                raise StorageError(" ".join(str(cause).split()) or type(cause).__name__) from cause

        return [(self.start_ns, read)] if any(self.counts[each] for each in chosen) else []
