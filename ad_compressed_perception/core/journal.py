# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finished results, a JSON line each, from which an interrupted run is resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """A file that lines are only appended to; a line that a kill or a full disk cut off is left out."""

    def __init__(self, path: Path) -> None:
        """Read what the file has; it is created, with its folder, by the first entry."""
        self.path = path
        self._entries: list[dict[str, Any]] = []
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                self._entries.append(entry)

    def entries(self, **values: Any) -> list[dict[str, Any]]:
        """Return the entries that have these values, the oldest first; numbers and lists as JSON has them."""
        expected = json.loads(json.dumps(values))
        return [
            entry
            for entry in self._entries
            if all(key in entry and entry[key] == value for key, value in expected.items())
        ]

    def append(self, **values: Any) -> None:
        """Append an entry; it is on the disk when this returns."""
        line = json.dumps(values)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            # A new line after one that was cut off.
            if stream.seek(0, os.SEEK_END) > 0:
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else "\n" + line
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._entries.append(json.loads(line))
