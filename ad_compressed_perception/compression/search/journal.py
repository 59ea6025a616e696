# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of a search, written line by line, so that an interrupted search can be resumed.

A line is one JSON object with ``kind``, ``key`` (mostly a candidate's) and ``found`` (the measurement). Lines
are only appended. A last line that was cut off is ignored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NAME = "journal.jsonl"


class Journal:
    """The measurements of one search: same model, frames and host."""

    def __init__(self, path: Path) -> None:
        """Read the file; an incomplete line is removed from it."""
        self.path = path
        self._found: dict[tuple[str, str], dict[str, Any]] = {}
        whole = 0
        if path.is_file():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line)
                    self._found[(entry["kind"], entry["key"])] = entry["found"]
                except (ValueError, KeyError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
            if whole != path.stat().st_size:
                with path.open("r+b") as stream:
                    stream.truncate(whole)

    def __len__(self) -> int:
        """Return the number of different measurements."""
        return len(self._found)

    def find(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what was measured before; None where it was not."""
        return self._found.get((kind, key))

    def add(self, kind: str, key: str, found: dict[str, Any]) -> dict[str, Any]:
        """Append a measurement; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"kind": kind, "key": key, "found": found}, allow_nan=True) + "\n"
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        self._found[(kind, key)] = found
        return found
