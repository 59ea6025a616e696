# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Per-layer timing on this host of whole graphs with some channel groups narrowed.

Groups that share no layer are narrowed in one graph, so a few graphs cover all groups. Graphs are timed
interleaved for several rounds, and the least of a layer's medians is used: other load only adds time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from ad_compressed_perception.analysis.profile import noise_feeds
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.progress import Advance, no_advance

_SECONDS = 0.5
"""Approximate duration of one graph's inferences in one round."""
_SUFFIXES = ("_nchwc", "/WithoutBiases")


@dataclass(frozen=True)
class Runtime:
    """The runtime that graphs are timed on: a backend's name and its options."""

    backend: str
    options: Mapping[str, Any]


def independent_sets(layers: Mapping[str, Iterable[int]]) -> list[list[str]]:
    """Partition groups into sets whose members share no layer: first fit, in the order given.

    Args:
        layers: for each group the layers it affects.
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
    """Return the counts to measure: those nearest to even shares of the full width, and the least one.

    Args:
        counts: the allowed ones, fewer than ``full``.
        full: channels at full width.
        points: maximum number of counts.
    """
    shares = [full * index / (points + 1) for index in range(1, points + 1)]
    chosen = {min(counts), *(min(counts, key=lambda c: (abs(c - share), c)) for share in shares[1:])}
    return sorted(chosen, reverse=True)


def time_layers(
    paths: Sequence[Path], runtime: Runtime, *, rounds: int = 3, advance: Advance = no_advance
) -> list[dict[str, float]]:
    """Return the milliseconds of each graph's executed layers, timed interleaved.

    Times of layers of one name are added.

    Raises:
        BackendError: a graph does not load, or the runtime cannot time its layers.
    """
    least: list[dict[str, float]] = [{} for _ in paths]
    for number in range(rounds):
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
            advance(number * len(paths) + index + 1, rounds * len(paths))
    return least


def measured_speedup(before: Path, after: Path, runtime: Runtime, seconds: float = 2.0) -> float:
    """Return the ratio of the median inference times of two graphs, timed interleaved on noise inputs."""
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
    """Return the names of the graph's nodes or tensors that an executed layer's name consists of."""
    parts = []
    for part in layer.split(","):
        for suffix in _SUFFIXES:
            part = part.removesuffix(suffix)
        parts.append(part)
    return parts
