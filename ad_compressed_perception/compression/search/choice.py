# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which candidates are discarded after each round, which one wins, and the reasons of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ad_compressed_perception.compression.search.budget import Budget
from ad_compressed_perception.compression.search.frames import LEAST
from ad_compressed_perception.compression.search.pareto import Point, dominates, dominator, front
from ad_compressed_perception.compression.search.trial import Trial
from ad_compressed_perception.pass_api.terms import AcceptSpec


@dataclass(frozen=True)
class Choice:
    """The result of a search.

    Attributes:
        winner: the fastest candidate within the budget, or the most promising one where none is shown
            to be; None where every one is beyond it.
        is_shown: whether the winner's whole interval and all its figures are within the budget.
        front: names of the candidates that none dominates, the baseline among them, fastest first.
        nearest: the candidate that misses the budget least, where there is no winner.
        missed: which limits it misses, as text.
    """

    winner: Trial | None
    is_shown: bool
    front: tuple[str, ...]
    nearest: Trial | None = None
    missed: str = ""


def baseline_point(name: str) -> Point:
    """Return the baseline's point: no drop, its own time and size."""
    return Point(name, 0.0, 1.0, 1.0, 1.0)


def discard(trials: Sequence[Trial], budget: Budget, baseline: str, keep_share: float = 0.5) -> None:
    """Discard candidates that have lost already: successive halving that keeps the Pareto front.

    Discarded are candidates with frames without a result, those whose whole interval of the drop is beyond
    the budget, files that are too large, what the baseline dominates, and of the rest what another one
    dominates, unless it is among the fastest ``keep_share`` of them: a drop on few frames is uncertain.
    """
    for trial in _running(trials):
        drop = trial.drop
        assert drop is not None
        if drop.failed:
            trial.end("out", f"gave no result (NaN) on {drop.failed} of {drop.frames} frames")
        elif drop.low > budget.drop:
            trial.end("out", f"drop too large: {drop_text(trial)}, allowed {budget.drop:g}")
        elif label := lost_label(trial, budget):
            trial.end("out", label)
        elif budget.size is not None and trial.size > budget.size:
            trial.end("out", f"too large: size {trial.size:.3f}, allowed {budget.size:g}")
    running = _running(trials)
    base = baseline_point(baseline)
    points = {trial.name: trial.point(tail=False) for trial in running}
    members = front([*points.values(), base])
    fastest = sorted(running, key=lambda trial: points[trial.name].median)
    kept = {trial.name for trial in fastest[: math.ceil(keep_share * len(running))]}
    for trial in running:
        point = points[trial.name]
        if dominates(base, point):
            trial.end("out", f"no better than the baseline in anything: {figures_text(trial)}")
        elif trial.name not in kept:
            better = dominator(point, members)
            if better is not None:
                trial.end("out", f"dominated by {better.name}: {_versus(trial, trials, better.name)}")


def choose(trials: Sequence[Trial], budget: Budget, baseline: str) -> Choice:
    """Find the front and the winner; every other remaining candidate gets its reason."""
    running = _running(trials)
    base = baseline_point(baseline)
    points = {trial.name: trial.point(tail=True) for trial in running}
    members = front([*points.values(), base])
    names = tuple(member.name for member in members)
    shown = [trial for trial in running if not misses(trial, budget)]
    possible = [trial for trial in running if not misses(trial, budget, use_favorable_bound=True)]
    # The fastest may share its grid cell with a better one.
    best = [trial for trial in shown if trial.name in names] or shown
    winner = min(best, key=_speed, default=None) or min(possible, key=_doubt, default=None)
    for trial in running:
        if trial is not winner:
            trial.end("out", _why(trial, winner, budget, members, points[trial.name], trials))
    if winner is not None:
        why = "the fastest" if shown else "the least drop among those that may be"
        winner.end("winner", f"{why} within the budget: {figures_text(winner)}")
        return Choice(winner, bool(shown), names)
    measured = [trial for trial in trials if trial.is_measured]
    nearest = min(measured, key=lambda trial: _excess(trial, budget), default=None)
    if nearest is None:
        return Choice(None, False, names, None, "nothing could be measured")
    # On the few frames of the first round no interval is within the budget: that alone is no miss.
    missed = "; ".join(misses(nearest, budget, use_favorable_bound=True) or misses(nearest, budget))
    return Choice(None, False, names, nearest, missed)


def misses(trial: Trial, budget: Budget, *, use_favorable_bound: bool = False) -> list[str]:
    """Return the terms of the budget that a candidate does not keep, as text.

    Args:
        trial: measured.
        budget: its limits.
        use_favorable_bound: compare the lower end of the drop's interval with the limit.
    """
    drop, speed = trial.drop, trial.speed
    assert drop is not None and speed is not None
    found = []
    if drop.informative < LEAST and not use_favorable_bound:
        found.append(f"only {drop.informative} of {drop.frames} search frames are informative")
    if drop.failed or (drop.low if use_favorable_bound else drop.high) > budget.drop:
        found.append(f"drop {drop_text(trial)}, allowed {budget.drop:g}")
    if label := lost_label(trial, budget):
        found.append(label)
    if budget.p99_ms is not None and speed.p99_ms > budget.p99_ms:
        found.append(f"p99 {speed.p99_ms:.2f} ms, allowed {budget.p99_ms:g} ms")
    if budget.size is not None and trial.size > budget.size:
        found.append(f"size {trial.size:.3f}, allowed {budget.size:g}")
    if budget.least_speed is not None and speed.ratio < budget.least_speed:
        found.append(f"speed {speed.ratio:.3g}x, required {budget.least_speed:g}x or more")
    return found


def lost_label(trial: Trial, budget: Budget) -> str:
    """Return which label surely drops beyond the limit of its own that the verdict would set; "" for none."""
    assert trial.drop is not None
    limit = AcceptSpec(max_drop=budget.drop).label_limit
    name, low = trial.drop.worst_label, trial.drop.worst_label_low
    what = trial.drop.label_text.format(name)
    return f"{what} drops by {low:.3f} at least, allowed {limit:g}" if low > limit else ""


def drop_text(trial: Trial) -> str:
    """Return the drop with its interval and number of frames."""
    drop = trial.drop
    assert drop is not None
    ends = f"{round_to_3_digits(drop.low)} to {round_to_3_digits(drop.high)}"
    return f"{round_to_3_digits(drop.drop)} ({ends}, {drop.frames} frames)"


def round_to_3_digits(value: float) -> str:
    """Return a drop with three digits; what rounds to zero has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"


def figures_text(trial: Trial) -> str:
    """Return drop, speed and size in one line."""
    assert trial.drop is not None and trial.speed is not None
    return f"drop {round_to_3_digits(trial.drop.drop)}, {trial.speed.ratio:.2f}x, size {trial.size:.2f}"


def _why(
    trial: Trial,
    winner: Trial | None,
    budget: Budget,
    members: Sequence[Point],
    point: Point,
    trials: Sequence[Trial],
) -> str:
    missed = misses(trial, budget)
    if missed:
        return "; ".join(missed)
    better = dominator(point, members)
    if better is not None:
        return f"dominated by {better.name}: {_versus(trial, trials, better.name)}"
    assert winner is not None and winner.speed is not None and trial.speed is not None
    assert winner.drop is not None and trial.drop is not None
    gains = []
    if trial.drop.drop < winner.drop.drop:
        gains.append(f"drop {round_to_3_digits(trial.drop.drop)}")
    if trial.size < 0.98 * winner.size:
        gains.append(f"size {trial.size:.2f}")
    if trial.speed.p99_ms < winner.speed.p99_ms:
        gains.append(f"p99 {trial.speed.p99_ms:.2f} ms")
    kept = f" (on the front for {', '.join(gains)})" if gains else ""
    return f"slower: {trial.speed.ratio:.2f}x against {winner.speed.ratio:.2f}x{kept}"


def _versus(trial: Trial, trials: Sequence[Trial], name: str) -> str:
    other = next((one for one in trials if one.name == name), None)
    against = "drop 0, 1x, size 1" if other is None else figures_text(other)
    return f"{figures_text(trial)} against {against}"


def _running(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.state == "alive" and trial.is_measured]


def _speed(trial: Trial) -> float:
    assert trial.speed is not None
    return 1.0 / trial.speed.ratio


def _doubt(trial: Trial) -> float:
    assert trial.drop is not None
    return trial.drop.high


def _excess(trial: Trial, budget: Budget) -> float:
    """Return by what factor the worst figure misses its limit."""
    drop, speed = trial.drop, trial.speed
    assert drop is not None and speed is not None
    factors = [max(drop.high, 1e-4) / max(budget.drop, 1e-4)]
    factors += [speed.p99_ms / budget.p99_ms] if budget.p99_ms is not None else []
    factors += [trial.size / budget.size] if budget.size is not None else []
    factors += [budget.least_speed / speed.ratio] if budget.least_speed is not None else []
    return max(factors)
