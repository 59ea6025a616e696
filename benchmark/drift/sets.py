# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sets of drives and changes: two that rules were adjusted on, and one that they were not.

No frame that a change is tried on, and no seed of a change, is in two sets. A recorded drive has other
blocks to judge in the held-out set; the sets also have what `changes.py` does not make: weather that the
simulation renders, and other real cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmark.drift.cache import Clip
from benchmark.drift.changes import CHANGES
from benchmark.drift.damaged_models import DAMAGES
from benchmark.drift.drives import BLOCK_S, RENDERED, blocks, record

ROUTE_S = 80.0
SCENE_S = 20.0
CHANGED_S = 10.0
BEFORE_S: Final = 12.0
"""Of unchanged driving before a change."""
REFERENCE_SEEDS: Final = range(100, 108)
SCENES: Final = {"crowd": "world", "other town": "world", "empty road": "world"}


@dataclass(frozen=True)
class Split:
    """What one set is made of.

    Attributes:
        unchanged: seeds of simulated routes that count false alarms, and that changes are made on.
        scene: first seed of the routes whose world is another one.
        change: first seed of the changes of simulated drives.
        recorded_change: the same of recorded ones.
        blocks: of a recorded drive, those that judge; the others make the reference.
        is_held_out: whether to add what `changes.py` does not make.
    """

    unchanged: range
    scene: int
    change: int
    recorded_change: int
    blocks: tuple[int, ...]
    is_held_out: bool


SETS: Final = {
    "tune": Split(range(200, 205), 300, 0, 0, (1, 3, 7, 9, 13), False),
    "checked": Split(range(400, 405), 500, 10, 0, (1, 3, 7, 9, 13), True),
    "held_out": Split(range(600, 603), 700, 20, 10, (2, 4, 6, 10, 12), True),
}


@dataclass(frozen=True)
class Changed:
    """A change, what it changes, the frames before it and those after it."""

    name: str
    kind: str
    before: Clip
    after: Clip


@dataclass(frozen=True)
class Drives:
    """Clips of one source; the reference's are unchanged, as those held out."""

    name: str
    reference: Sequence[Clip]
    held_out: Sequence[Clip]
    changed: Sequence[Changed]


def simulated(out: Path, split: Split, seeds: int, damages: bool) -> Drives:
    """Render the drives that are not there yet; a change begins within a route, another world does not."""
    usual = {
        seed: record(out / "sim", "usual", seed, ROUTE_S) for seed in (*REFERENCE_SEEDS, *split.unchanged)
    }
    changed = []
    seeds = min(seeds, len(split.unchanged))
    for name, (kind, _) in CHANGES.items():
        for number in range(seeds):
            folder, start_s = usual[split.unchanged[number]], 20.0
            after = Clip(folder, start_s, start_s + CHANGED_S, name, split.change + number)
            changed.append(Changed(name, kind, Clip(folder, start_s - BEFORE_S, start_s), after))
    worlds = {**SCENES, **(dict.fromkeys(RENDERED, "world") if split.is_held_out else {})}
    for name, kind in worlds.items():
        for number in range(seeds):
            before = Clip(usual[split.unchanged[number]], 20.0 - BEFORE_S, 20.0)
            after = Clip(record(out / "sim", name, split.scene + number, SCENE_S))
            changed.append(Changed(name, kind, before, after))
    for damage in DAMAGES if damages else ():
        for number in range(2):
            folder = usual[split.unchanged[number]]
            after = Clip(folder, 20.0, 40.0, model=damage)
            changed.append(Changed(f"model {damage}", "model", Clip(folder, 20.0 - BEFORE_S, 20.0), after))
    reference, held_out = ([Clip(usual[seed]) for seed in one] for one in (REFERENCE_SEEDS, split.unchanged))
    return Drives("simulated", reference, held_out, changed)


def recorded(folder: Path, others: Sequence[Path], split: Split, seeds: int) -> Drives:
    """Cut a recorded drive into blocks.

    Args:
        folder: images named by their stamps in nanoseconds.
        others: folders of images of other cameras, as they are fitted to this one's size.
        split: of SETS.
        seeds: of each change, up to the number of blocks that judge.
    """
    clips = {block: Clip(folder, block * BLOCK_S, (block + 1) * BLOCK_S, every=2) for block in blocks(folder)}
    held_out = [clips[block] for block in split.blocks]
    reference = [clip for block, clip in clips.items() if block not in split.blocks]
    changed = []
    for name, (kind, _) in CHANGES.items():
        for number, clip in enumerate(held_out[:seeds]):
            after = Clip(
                folder, clip.start_s, clip.start_s + CHANGED_S, name, split.recorded_change + number, 2
            )
            changed.append(Changed(name, kind, held_out[number - 1], after))
    for other in others if split.is_held_out else ():
        for number in range(min(seeds, 2)):
            start_s = number * CHANGED_S
            after = Clip(other, start_s, start_s + CHANGED_S, period_s=0.2)
            changed.append(Changed("real other camera", "camera", held_out[number], after))
    return Drives("recorded", reference, held_out, changed)
