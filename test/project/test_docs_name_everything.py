# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""docs/guides/compression.md names every pass and every shipped recipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ad_compressed_perception.compression.recipe import shipped_recipes
from ad_compressed_perception.core.registry import PASSES, own_plugins

DOCS = Path(__file__).parents[2] / "docs" / "guides" / "compression.md"


@pytest.mark.parametrize("kind", ["pass", "recipe"])
def test_all_are_named(kind: str) -> None:
    if not DOCS.is_file():
        pytest.skip("no docs beside the tests")
    named = set(re.findall(r"`([A-Za-z0-9_]+)`", DOCS.read_text(encoding="utf-8")))
    known = own_plugins(PASSES) if kind == "pass" else shipped_recipes()
    assert not sorted(set(known) - named)
