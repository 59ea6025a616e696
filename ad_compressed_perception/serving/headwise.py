# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the guard looks at, head by head: a result of a model with one task is that of a head called ""."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ad_compressed_perception.core.input_sources import TopicInput, history_of, topics_of
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import HeadResult, HeadResults, Result
from ad_compressed_perception.serving.continuity import Continuity
from ad_compressed_perception.serving.plausibility import Plausibility


def results_by_head(result: Result) -> Mapping[str, HeadResult]:
    """Return head to result."""
    return result if isinstance(result, HeadResults) else {"": result}


def contract_by_head(manifest: Manifest) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return head to task and labels: what subscribers read the results by."""
    if manifest.outputs is None:
        return {"": (manifest.task, tuple(manifest.labels))}
    return {name: (head.task, tuple(head.labels)) for name, head in manifest.outputs.items()}


def needs_of(manifest: Manifest) -> tuple[int, dict[str, TopicInput]]:
    """Return how many earlier frames and which topics a model's inputs need: with what frames must come."""
    return history_of(manifest.inputs), topics_of(manifest.inputs)


class HeadwisePlausibility:
    """A Plausibility for each head; its methods are theirs, and the first head in doubt is named."""

    def __init__(self, expected: Mapping[str, float] = MappingProxyType({})) -> None:
        """Begin without results; see Plausibility."""
        self._heads: dict[str, Plausibility] = defaultdict(lambda: Plausibility(expected))

    def judge(self, result: Result, stamp_ns: int, *, whole: bool = False) -> str:
        """Return what is doubtful of a result after the last published one."""
        return _first(
            (name, self._heads[name].judge(one, stamp_ns, whole=whole))
            for name, one in results_by_head(result).items()
        )

    def compare(self, one: Result, other: Result) -> str:
        """Return how two results of a frame differ by more than those of neighbors."""
        return _first((name, self._heads[name].compare(*pair)) for name, pair in _pairs(one, other))

    def contradicts(self, primary: Result, standby: Result) -> str:
        """Return how the standby contradicts a doubtful result."""
        return _first((name, self._heads[name].contradicts(*pair)) for name, pair in _pairs(primary, standby))

    def differs(self, one: Result, other: Result) -> str:
        """Return how two results of a frame differ by more than a doubtful change."""
        return _first((name, self._heads[name].differs(*pair)) for name, pair in _pairs(one, other))

    def accept(self, result: Result, stamp_ns: int, source: object) -> None:
        """Learn from a published result."""
        for name, one in results_by_head(result).items():
            self._heads[name].accept(one, stamp_ns, source)


class HeadwiseContinuity:
    """A Continuity for each head that plans."""

    def __init__(self) -> None:
        """Begin without paths."""
        self._heads: dict[str, Continuity] = defaultdict(Continuity)

    @property
    def switches(self) -> int:
        """How often another model's path was joined."""
        return sum(each.switches for each in self._heads.values())

    def join(self, result: Result, stamp_ns: int, source: object) -> Result:
        """Return the result to publish; the same object where no path was joined."""
        if not isinstance(result, HeadResults):
            return self._heads[""].join(result, stamp_ns, source)
        joined = {name: self._heads[name].join(one, stamp_ns, source) for name, one in result.items()}
        if all(joined[name] is one for name, one in result.items()):
            return result
        return HeadResults({name: one for name, one in joined.items() if not isinstance(one, HeadResults)})


def _pairs(one: Result, other: Result) -> list[tuple[str, tuple[Result, Result]]]:
    first, second = results_by_head(one), results_by_head(other)
    return [(name, (first[name], second[name])) for name in first if name in second]


def _first(found: Iterable[tuple[str, str]]) -> str:
    """Return the first doubt with its head; all heads are asked, since each counts its doubts."""
    doubts = [(name, text) for name, text in found if text]
    name, text = doubts[0] if doubts else ("", "")
    return f"head {name}: {text}" if name else text
