# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Journal of finished routes, one per line, from which an interrupted run is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import DataError
from ad_road_simulation.closed_loop.route_metrics import RouteResult

JOURNAL = "journal.jsonl"


class RouteJournal:
    """The file OUT/journal.jsonl; a line holds a route's conditions and its result.

    Routes driven under other conditions (another model file, length, weather, latency) stay in the file
    and are ignored.
    """

    def __init__(self, folder: Path) -> None:
        """Open the journal of a folder; the folder is created where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / JOURNAL

    def finished(self, conditions: Mapping[str, Any]) -> dict[int, RouteResult]:
        """Return the routes driven under exactly these conditions, by seed."""
        expected = json.loads(json.dumps(conditions))
        found = {}
        for line in self._lines():
            try:
                entry = json.loads(line)
                if entry["conditions"] == expected:
                    result = RouteResult.from_dict(entry["result"])
                    found[result.seed] = result
            # A line truncated by a full disk or a kill is ignored: its route is driven again.
            except (ValueError, KeyError, TypeError, DataError):
                continue
        return found

    def add(self, conditions: Mapping[str, Any], result: RouteResult) -> None:
        """Append a finished route."""
        line = json.dumps({"conditions": dict(conditions), "result": result.as_dict()}, allow_nan=False)
        with self.path.open("a+b") as stream:
            # Start a new line after a truncated one.
            if stream.seek(0, os.SEEK_END) > 0:
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else "\n" + line
            stream.write(line.encode() + b"\n")

    def _lines(self) -> list[str]:
        if not self.path.is_file():
            return []
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()
