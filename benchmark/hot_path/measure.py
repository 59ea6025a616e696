# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures cells: every target in turn, on the same frames, in an order drawn for each round."""

from __future__ import annotations

import math
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, groupby, islice
from pathlib import Path

from numpy.typing import NDArray

from benchmark.hot_path.arithmetic import Figures, Key, Ratio, figures, ratio, summed
from benchmark.hot_path.block import WARM_UP, Block, Floor, Target
from benchmark.hot_path.cells import Cell, default_model
from benchmark.hot_path.driver import Driver
from benchmark.hot_path.floor_apart import FloorApart
from benchmark.hot_path.frames import CameraFrame, camera_frames
from benchmark.hot_path.targets import RosTarget, start_hop, start_nodes

TARGETS = ("floor", "floor_loop", "floor_apart", "hop", "hop_bytes", "node", "composed", "tutorial")
"""All targets. The first two run in the driver's process; the third is for several tasks."""
REFERENCES: dict[str, tuple[str, ...]] = {
    "floor + hop": ("floor", "hop"),
    "floor + hop_bytes": ("floor", "hop_bytes"),
    "floor": ("floor",),
    "floor_loop": ("floor_loop",),
}
"""What targets are compared with; latencies of several targets are summed frame by frame."""


@dataclass(frozen=True)
class Pace:
    """How long to measure.

    Attributes:
        rounds: turns of every target.
        block_s: seconds of each turn.
        seed: of the order in each round.
    """

    rounds: int = 4
    block_s: float = 3.0
    seed: int = 1


@dataclass
class Measured:
    """A target in a cell.

    Attributes:
        problem: why there are no figures, or "".
        latency_ms: round and number of the frame to milliseconds; infinity where lost.
        cores: of each round.
        stages: of the frames that have them, by round and number.
        rss_mb, pss_mb: sums over its processes; NaN where they are not its own.
        foreign: answers to nothing.
    """

    problem: str = ""
    latency_ms: dict[Key, float] = field(default_factory=dict)
    cores: list[float] = field(default_factory=list)
    stages: dict[Key, dict[str, float]] = field(default_factory=dict)
    rss_mb: float = math.nan
    pss_mb: float = math.nan
    foreign: int = 0

    def add(self, number: int, block: Block) -> None:
        """Add a round's block without its first frames."""
        for index, latency_ms in enumerate(block.latency_ms[WARM_UP:]):
            self.latency_ms[number, index] = latency_ms
        for index, stages in enumerate(block.stages[WARM_UP:]):
            if stages:
                self.stages[number, index] = stages
        self.cores.append(block.cores)
        self.foreign += block.foreign

    @property
    def figures(self) -> Figures:
        """Percentiles over all rounds."""
        return figures(list(self.latency_ms.values()))

    @property
    def mean_cores(self) -> float:
        """Mean CPU time a second; NaN where unknown."""
        return statistics.fmean(self.cores) if self.cores else math.nan

    @property
    def status(self) -> str:
        """The problem, or whether frames are missing."""
        return self.problem or self.figures.status


@dataclass
class CellResult:
    """A cell with its targets."""

    cell: Cell
    variants: dict[str, str]
    targets: dict[str, Measured]

    def ratio(self, target: str, reference: str) -> Ratio:
        """Compare a target with one of REFERENCES or with another target; NaN where one was not measured."""
        names = (target, *REFERENCES.get(reference, (reference,)))
        found = [self.targets.get(name) for name in names]
        if any(each is None or each.problem for each in found):
            return Ratio()
        latencies = [each.latency_ms for each in found if each is not None]
        return ratio(latencies[0], summed(*latencies[1:]))


def measure(
    cells: Sequence[Cell],
    targets: Sequence[str],
    pace: Pace,
    images: Callable[[str], list[NDArray]],
    note: Callable[[str], None],
) -> Iterator[CellResult]:
    """Yield the result of each cell; cells that share processes should stand in a row.

    Args:
        cells: to measure.
        targets: some of TARGETS.
        pace: how long.
        images: returns the BGR images of a size.
        note: called with what is being done.

    Raises:
        AdcpError: a model cannot be loaded, or there is nothing to compare with.
    """
    driver = Driver()
    try:
        for _, group in groupby(cells, key=lambda cell: cell.group):
            yield from _measure_group(list(group), targets, pace, images, note, driver)
    finally:
        driver.close()


def _measure_group(
    cells: Sequence[Cell],
    names: Sequence[str],
    pace: Pace,
    images: Callable[[str], list[NDArray]],
    note: Callable[[str], None],
    driver: Driver,
) -> Iterator[CellResult]:
    first = cells[0]
    models = [default_model(task, first.variant) for task in first.task_names]
    variants = {task: model.variant for task, model in zip(first.task_names, models, strict=True)}
    frames = camera_frames(images(first.size), first.image_format)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ready: list[Target] = []
        for name in ("floor", "floor_loop"):
            if name in names:
                floor = Floor(models, paced=name == "floor")
                stack.callback(floor.close)
                floor.run(frames[:8], 100.0)
                ready.append(floor)
        if "floor_apart" in names and len(models) > 1:
            apart = FloorApart(models, frames[:8])
            stack.callback(apart.close)
            ready.append(apart)
        nodes: list[RosTarget] = []
        # The hops answer with a message of the package's node, so it has to run first.
        needed = {"node", *names} if {"hop", "hop_bytes"} & set(names) else set(names)
        for name in ("node", "composed", "tutorial"):
            if name in needed:
                note(f"{first.title}: starting {name}")
                nodes.append(start_nodes(name, driver, first, models, folder))
                stack.callback(nodes[-1].close)
        _warm_up(nodes, first, frames)
        answers = next((each.answers for each in nodes if each.name == "node" and not each.problem), {})
        hops = []
        for name in ("hop", "hop_bytes"):
            if name in names:
                (folder / name).mkdir()
                hops.append(start_hop(name, driver, first, answers, folder / name))
                stack.callback(hops[-1].close)
        _warm_up(hops, first, frames)
        ready += [each for each in (*hops, *nodes) if each.name in names]
        for cell in cells:
            yield CellResult(cell, variants, _measure_cell(cell, ready, frames, pace, note))


def _warm_up(targets: Sequence[RosTarget], cell: Cell, frames: Sequence[CameraFrame]) -> None:
    for each in targets:
        each.warm_up(frames, len(cell.task_names))


def _measure_cell(
    cell: Cell,
    targets: Sequence[Target],
    frames: Sequence[CameraFrame],
    pace: Pace,
    note: Callable[[str], None],
) -> dict[str, Measured]:
    measured = {each.name: Measured(problem=each.problem) for each in targets}
    order = random.Random(pace.seed)
    count = max(round(pace.block_s * cell.rate_hz), 1) + WARM_UP
    for number in range(pace.rounds):
        note(f"{cell.title}: round {number + 1} of {pace.rounds}")
        turn = list(islice(cycle(frames), number * 7, number * 7 + count))
        for target in order.sample(list(targets), len(targets)):
            one = measured[target.name]
            if one.problem:
                continue
            one.add(number, target.run(turn, cell.rate_hz))
            one.problem = target.problem
    for target in targets:
        memory = target.memory_mb()
        if memory is not None:
            measured[target.name].rss_mb, measured[target.name].pss_mb = memory
    return measured
