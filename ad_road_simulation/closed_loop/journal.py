# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Journal of finished routes, one per line, from which an interrupted run is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.journal import Journal
from ad_road_simulation.closed_loop.route_metrics import RouteResult

JOURNAL = "journal.jsonl"


class RouteJournal(Journal):
    """The file OUT/journal.jsonl; a line holds a route's conditions and its result.

    Routes driven under other conditions (another model file, length, weather, latency) stay in the file
    and are ignored.
    """

    def __init__(self, folder: Path) -> None:
        """Open the journal of a folder."""
        super().__init__(folder / JOURNAL)

    def finished(self, conditions: Mapping[str, Any]) -> dict[int, RouteResult]:
        """Return the routes driven under exactly these conditions, by seed."""
        found = {}
        for entry in self.entries(conditions=conditions):
            try:
                result = RouteResult.from_dict(entry["result"])
                found[result.seed] = result
            except (ValueError, KeyError, TypeError, DataError):  # of another version: driven again
                continue
        return found

    def add(self, conditions: Mapping[str, Any], result: RouteResult) -> None:
        """Append a finished route."""
        self.append(conditions=dict(conditions), result=result.as_dict())
