# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What fewer channels save on this host, measured: whole graphs with some groups narrowed, layer by layer.

Groups that share no layer are narrowed in one graph, so a few graphs serve all groups. Graphs take turns
for several rounds, and of a layer's medians the least counts: what else the machine does only adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from ad_compressed_perception.analysis.profile import noise_feeds
from ad_compressed_perception.backends import create_backend

Advance = Callable[[int, int], None]
_SECONDS = 0.5
"""Inferences of one graph in one round take about this long."""
_SUFFIXES = ("_nchwc", "/WithoutBiases")


@dataclass(frozen=True)
class Runtime:
    """Where graphs are timed: a backend's name and its options."""

    backend: str
    options: Mapping[str, Any]


def independent_sets(layers: Mapping[str, Iterable[int]]) -> list[list[str]]:
    """Part groups into sets whose members share no layer: first fit, in the order given.

    Args:
        layers: for each group the layers it touches.
    """
    sets: list[tuple[list[str], set[int]]] = []
    for name, touched in layers.items():
        own = set(touched)
        for members, used in sets:
            if not used & own:
                members.append(name)
                used |= own
                break
        else:
            sets.append(([name], own))
    return [members for members, _ in sets]


def some_counts(counts: Sequence[int], full: int, points: int = 3) -> list[int]:
    """Choose counts to measure: those nearest to even shares of the full width, the least among them.

    Args:
        counts: that are allowed, fewer than ``full``.
        full: channels at full width.
        points: how many at most.
    """
    wanted = [full * place / (points + 1) for place in range(1, points + 1)]
    chosen = {min(counts), *(min(counts, key=lambda c: (abs(c - share), c)) for share in wanted[1:])}
    return sorted(chosen, reverse=True)


def time_layers(
    paths: Sequence[Path], runtime: Runtime, *, rounds: int = 3, advance: Advance = lambda done, total: None
) -> list[dict[str, float]]:
    """Return each graph's executed layers with their milliseconds, the graphs taking turns.

    Layers of one name count as one.

    Raises:
        BackendError: a graph does not load, or the runtime cannot clock its layers.
    """
    least: list[dict[str, float]] = [{} for _ in paths]
    for turn in range(rounds):
        for index, path in enumerate(paths):
            session = create_backend(runtime.backend).load(path, runtime.options)
            try:
                feeds = noise_feeds(session.info.inputs)
                start = perf_counter()
                session.infer(feeds)
                runs = max(5, min(50, round(_SECONDS / max(perf_counter() - start, 1e-6))))
                times: dict[str, float] = {}
                for layer in session.profile(feeds, runs):
                    times[layer.record.name] = times.get(layer.record.name, 0.0) + layer.ms
            finally:
                session.close()
            for name, ms in times.items():
                least[index][name] = min(ms, least[index].get(name, ms))
            advance(turn * len(paths) + index + 1, rounds * len(paths))
    return least


def measured_speedup(before: Path, after: Path, runtime: Runtime, seconds: float = 2.0) -> float:
    """Return how much shorter the median inference is, the two graphs taking turns on noise."""
    sessions = [create_backend(runtime.backend).load(path, runtime.options) for path in (before, after)]
    try:
        feeds = [noise_feeds(session.info.inputs) for session in sessions]
        times: tuple[list[float], list[float]] = ([], [])
        begin = perf_counter()
        while len(times[0]) < 10 or perf_counter() - begin < seconds:
            for session, feed, durations in zip(sessions, feeds, times, strict=True):
                start = perf_counter()
                session.infer(feed)
                durations.append(perf_counter() - start)
    finally:
        for session in sessions:
            session.close()
    return median(times[0]) / median(times[1])


def names_in(layer: str) -> list[str]:
    """Return the names of the graph's nodes or tensors that an executed layer's name is made of."""
    parts = []
    for part in layer.split(","):
        for suffix in _SUFFIXES:
            part = part.removesuffix(suffix)
        parts.append(part)
    return parts
