# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of a search, so that an interrupted search can be resumed."""

from __future__ import annotations

from typing import Any

from ad_compressed_perception.core.journal import Journal


class SearchJournal(Journal):
    """The measurements of one search (same model, frames and host) by kind and key, mostly a candidate's."""

    def find(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what was measured last; None where nothing was."""
        known = [entry["found"] for entry in self.entries(kind=kind, key=key) if "found" in entry]
        return known[-1] if known else None

    def add(self, kind: str, key: str, found: dict[str, Any]) -> dict[str, Any]:
        """Append a measurement and return it."""
        self.append(kind=kind, key=key, found=found)
        return found
