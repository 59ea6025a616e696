# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What became of every frame of a scenario, and whether that may be called a success; no ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ad_road_simulation.faults.kinds import LOUD
from ad_road_simulation.faults.log import Injection


@dataclass(frozen=True)
class FrameEvidence:
    """A frame that was sent.

    Attributes:
        stamp_ns: when it was sent.
        digest: of the models' input.
        results: how many results were published for it.
        whose: whose the first one is, see references; empty without one.
        is_named: whether the node named the model that made it.
        outcome, level: as its node reports; empty where it reports nothing.
        latency_ms: to its result; NaN without one.
    """

    stamp_ns: int
    digest: int
    results: int
    whose: str
    is_named: bool
    outcome: str
    level: str
    latency_ms: float


@dataclass
class Account:
    """Counts of one scenario.

    Attributes:
        injected: faults by kind.
        frames: frames that were sent.
        hit: frames with at least one fault in them.
        unassigned: faults that belong to no frame that was sent.
        without_result: of frames with a fault of a kind, by kind; "none": of frames without a fault.
        untrusted: results that are not those of the frame, by kind of its fault.
        whose: results by whose they are.
        levels: frames by the level that answered.
        outcomes: frames by outcome.
        repeated: frames with more than one result.
        misnamed: results under the name of another model.
        steps: changes of the guard's level.
        shortest_between_steps_s: between two steps of the guard; infinite with fewer than two.
        latency_ms: p50, p99 and maximum of frames with and without a fault.
        problems: why the figures prove nothing, or what is wrong.
    """

    injected: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    hit: int = 0
    unassigned: int = 0
    without_result: Counter[str] = field(default_factory=Counter)
    untrusted: Counter[str] = field(default_factory=Counter)
    whose: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    misnamed: int = 0
    steps: int = 0
    shortest_between_steps_s: float = float("inf")
    latency_ms: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def assign(
    frames: Sequence[FrameEvidence], faults: Iterable[Injection]
) -> tuple[dict[int, list[str]], list[Injection]]:
    """Return the kinds of faults of each frame, by its stamp, and the faults of no frame.

    A fault belongs to the newest frame of the same input that had been sent before it.
    """
    by_digest: dict[int, list[int]] = {}
    for frame in frames:
        by_digest.setdefault(frame.digest, []).append(frame.stamp_ns)
    stamps = {digest: np.sort(np.asarray(values, np.int64)) for digest, values in by_digest.items()}
    found: dict[int, list[str]] = {}
    lost = []
    for fault in faults:
        sent = stamps.get(fault.digest)
        place = int(np.searchsorted(sent, fault.time_ns, "right")) - 1 if sent is not None else -1
        if sent is None or place < 0:
            lost.append(fault)
        else:
            found.setdefault(int(sent[place]), []).append(fault.kind)
    return found, lost


def account(
    frames: Sequence[FrameEvidence],
    faults: Sequence[Injection],
    step_times_ns: Sequence[int],
    requested: Mapping[str, int],
) -> Account:
    """Return what became of the frames.

    Args:
        frames: that were sent, in order.
        faults: that were injected, from the log of the node's backend.
        step_times_ns: of the changes of the guard's level.
        requested: kind to the least number of faults without which the scenario proves nothing.
    """
    kinds, lost = assign(frames, faults)
    result = Account(
        injected=Counter(fault.kind for fault in faults),
        frames=len(frames),
        hit=len(kinds),
        unassigned=len(lost),
        repeated=sum(frame.results > 1 for frame in frames),
        steps=len(step_times_ns),
    )
    for frame in frames:
        kind = kinds.get(frame.stamp_ns, ["none"])[-1]
        result.outcomes[frame.outcome or "unreported"] += 1
        if not frame.results:
            result.without_result[kind] += 1
            continue
        result.levels[frame.level or "unreported"] += 1
        result.whose[frame.whose] += 1
        result.misnamed += not frame.is_named
        if not _is_trusted(frame):
            result.untrusted[kind] += 1
    if len(step_times_ns) > 1:
        result.shortest_between_steps_s = float(np.diff(np.sort(step_times_ns)).min()) / 1e9
    for name, chosen in (
        ("with a fault", [frame for frame in frames if frame.stamp_ns in kinds]),
        ("without", [frame for frame in frames if frame.stamp_ns not in kinds]),
    ):
        times = [frame.latency_ms for frame in chosen if frame.results]
        if times:
            p50, p99, most = np.percentile(times, [50, 99, 100]).tolist()
            result.latency_ms[name] = (p50, p99, most)
    result.problems = _problems(result, requested)
    return result


def _is_trusted(frame: FrameEvidence) -> bool:
    """Whether a result may be used: of a healthy model for this frame, joined to it, or reported as held."""
    if frame.whose == "held":
        return frame.level == "hold"
    return frame.whose in ("baseline", "variant", "joined")


def _problems(result: Account, requested: Mapping[str, int]) -> list[str]:
    problems = [
        f"{kind}: {result.injected[kind]} faults injected, {least} needed"
        for kind, least in requested.items()
        if result.injected[kind] < least
    ]
    if result.unassigned:
        problems.append(f"{result.unassigned} faults belong to no frame that was sent")
    if not result.frames:
        problems.append("no frame was sent")
    silent = result.outcomes["unreported"]
    if silent:
        problems.append(f"{silent} frames were sent, and the node reported nothing of them")
    loud = sum(result.without_result[kind] for kind in LOUD)
    if loud:
        problems.append(f"{loud} frames with an exception, NaN or a wrong shape have no result")
    if result.without_result["none"]:
        problems.append(f"{result.without_result['none']} frames without a fault have no result")
    if result.untrusted:
        problems.append(f"untrusted results were published: {dict(result.untrusted)}")
    if result.repeated:
        problems.append(f"{result.repeated} frames have more than one result")
    if result.misnamed:
        problems.append(f"{result.misnamed} results are under the name of another model")
    return problems
