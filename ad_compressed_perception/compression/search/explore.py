# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""In which order candidates are tried, and which share of the time each kind may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ad_compressed_perception.compression.search.budget import Budget
from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.compression.search.choice import cull
from ad_compressed_perception.compression.search.facts import Facts
from ad_compressed_perception.compression.search.rounds import RUNGS, Rounds
from ad_compressed_perception.compression.search.space import (
    LEAST_TRAINING_MINUTES,
    children,
    mixed_roots,
    reactivated,
    roots,
    trained,
    with_bytes,
)
from ad_compressed_perception.compression.search.trial import Trial

_LEADERS = 2
_CONTESTANTS = 8
_TRAINING_SHARE = 0.5
# Shares of the time, training and the last rounds not counted, after which no root, child, mixed form begins.
_ROOTS, _CHILDREN, _MIXED = 0.45, 0.8, 1.0


@dataclass(frozen=True)
class Plan:
    """What a search wants.

    Attributes:
        budget: limits.
        baseline: the baseline's name.
        seed: of the order of equals and of training.
        minutes: for everything.
        train: whether candidates may be pruned and distilled.
    """

    budget: Budget
    baseline: str
    seed: int
    minutes: float
    train: bool


def explore(rounds: Rounds, facts: Facts, plan: Plan, left_out: dict[str, str]) -> None:
    """Try number formats, smaller images of what leads, mixed precision and training; then compare longer.

    Args:
        rounds: measures, and keeps the trials.
        facts: what there is to gain.
        plan: what is wanted.
        left_out: gets what is not tried, and why.
    """
    trains = _training_minutes(facts, plan, left_out)
    first = 0.35 if trains else 0.7

    def attempt(candidates: Sequence[Candidate], share: float) -> None:
        rounds.screen(candidates, share)
        cull(rounds.trials, plan.budget, plan.baseline)

    begun = roots(facts, plan.budget.size is not None, plan.seed)
    # Float forms share their files and decide what is worth shrinking: all of them first.
    attempt([candidate for candidate in begun if not candidate.form], _CHILDREN * first)
    attempt([candidate for candidate in begun if candidate.form], _ROOTS * first)
    tried: list[Trial] = []
    _shrink(rounds, facts, plan, tried, lambda some: attempt(some, _CHILDREN * first))
    # Found by measuring every layer, which takes long: what is quickly made comes first.
    attempt(mixed_roots(facts, plan.seed, plan.budget.drop or 0.01), _MIXED * first)
    _shrink(rounds, facts, plan, tried, lambda some: attempt(some, _MIXED * first))
    _note_unshrunk(rounds.trials, facts, tried, left_out)
    lead = _leaders(rounds.trials, plan.budget)[:1]
    if lead and "bytes" in facts.edits:
        attempt([with_bytes(lead[0].candidate, facts)], first)
    swaps = facts.trains and plan.train and "hard_swish" in facts.edits
    if lead and swaps:
        attempt([reactivated(lead[0].candidate, facts)], first)
    if lead and trains:
        attempt(_taught(rounds, lead[0], facts, trains, plan.seed), first + _TRAINING_SHARE)
    for count in RUNGS:
        rounds.deepen(count)
        cull(rounds.trials, plan.budget, plan.baseline)
    running = sorted((t for t in rounds.trials if t.state == "alive" and t.speed), key=_latency)
    rounds.contest(running[:_CONTESTANTS])


def _shrink(
    rounds: Rounds, facts: Facts, plan: Plan, tried: list[Trial], attempt: Callable[[list[Candidate]], None]
) -> None:
    """Try the leading roots on smaller images, those that were not before."""
    fresh = [t for t in _leaders(rounds.trials, plan.budget) if not t.candidate.parent and t not in tried]
    tried += fresh
    attempt([child for trial in fresh for child in children(trial.candidate, facts, plan.seed)])


def _note_unshrunk(
    trials: Sequence[Trial], facts: Facts, tried: Sequence[Trial], left_out: dict[str, str]
) -> None:
    if not any(name in facts.edits for name in ("fit", "resize", "coarse")):
        return
    for trial in trials:
        if trial.state == "alive" and not trial.candidate.parent and trial not in tried:
            left_out[f"{trial.name}, smaller"] = "others lead at the model's own input size"


def _taught(rounds: Rounds, lead: Trial, facts: Facts, minutes: float, seed: int) -> list[Candidate]:
    floats = [
        t for t in rounds.trials if t.state == "alive" and not t.candidate.form and not t.candidate.training
    ]
    leader = min(floats, key=_latency, default=lead)
    if leader.candidate.form:
        return []
    ms = facts.baseline_ms * rounds.builder.pixels_share(leader.candidate)
    return trained(leader.candidate, facts, ms, rounds.maker.frames.lessons, minutes, seed)


def _training_minutes(facts: Facts, plan: Plan, left_out: dict[str, str]) -> float:
    """Return the minutes for each candidate that trains; 0 where there is no time or no torch."""
    if not facts.trains:
        return 0.0
    if not plan.train:
        left_out["training"] = "not wanted (--no-train)"
        return 0.0
    count = 3 if "relu" in facts.edits else 2
    each = _TRAINING_SHARE * plan.minutes / count
    if each < LEAST_TRAINING_MINUTES:
        least = count * LEAST_TRAINING_MINUTES / _TRAINING_SHARE
        left_out["training"] = f"needs --minutes of at least {least:g}, there were {plan.minutes:g}"
        return 0.0
    return each


def _leaders(trials: Sequence[Trial], budget: Budget) -> list[Trial]:
    """Return the candidates worth a further change: the fastest, and the smallest where size is asked for."""
    running = sorted((t for t in trials if t.state == "alive" and t.speed), key=_latency)
    found = running[:_LEADERS]
    if budget.size is not None:
        found += [trial for trial in sorted(running, key=lambda t: t.size)[:1] if trial not in found]
    return found


def _latency(trial: Trial) -> float:
    assert trial.speed is not None
    return 1.0 / trial.speed.ratio
