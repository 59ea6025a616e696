# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutants of recordings: MCAP and sqlite3 files and their metadata.yaml; opened and read as the tools do."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import open_frames
from dev.campaign.mutate_text import mutant
from support.bags import road_frames, write_bag

_FRAMES = 6
_bags: list[Path] = []


def prepare(folder: Path) -> None:
    """Write the recordings that are changed."""
    for storage in ("mcap", "sqlite3"):
        for compressed in (True, False):
            for zstd in (None, "file", "message"):
                target = folder / f"{storage}-{compressed}-{zstd}"
                if storage == "mcap" and zstd == "file":
                    continue
                write_bag(target, road_frames(_FRAMES), storage, compressed, zstd=zstd)
                _bags.append(target)


def case(pick: random.Random, number: int, folder: Path) -> str:
    """Read all frames of one mutant."""
    bag = folder / "bag"
    shutil.copytree(pick.choice(_bags), bag)
    _change(pick, bag)
    source = pick.choice(sorted(bag.iterdir())) if pick.random() < 0.2 and any(bag.iterdir()) else bag
    frames = open_frames(str(source))
    read = sum(1 for _ in frames)
    if read != len(frames):
        raise DataError(f"{read} of {len(frames)} frames")
    return "read"


def _change(pick: random.Random, bag: Path) -> None:
    metadata = bag / "metadata.yaml"
    storage = next(path for path in sorted(bag.iterdir()) if path != metadata)
    kind = pick.randrange(8)
    if kind < 3:
        metadata.write_bytes(mutant(pick, metadata.read_text(encoding="utf-8")))
    elif kind == 3:
        metadata.unlink()
    if kind in (2, 4, 5, 6):
        content = bytearray(storage.read_bytes())
        for _ in range(pick.choice((1, 3, 30))):
            content[pick.randrange(len(content))] = pick.randrange(256)
        storage.write_bytes(content)
    elif kind == 7:
        content = bytearray(storage.read_bytes())
        start = pick.randrange(len(content))
        end = min(len(content), start + pick.choice((1, 100, 10_000)))
        storage.write_bytes(
            pick.choice((content[:start], content[:start] + content[end:], content[:end] + content[start:]))
        )
