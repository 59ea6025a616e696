# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""In which order candidates are tried, and which share of the time each kind may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ad_compressed_perception.compression.search.budget import Budget
from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.compression.search.choice import discard
from ad_compressed_perception.compression.search.facts import Facts
from ad_compressed_perception.compression.search.rounds import ROUND_FRAMES, Rounds
from ad_compressed_perception.compression.search.space import (
    LEAST_TRAINING_MINUTES,
    base_candidates,
    derived_candidates,
    mixed_precision_candidates,
    trained,
    with_bytes,
    with_hard_swish,
)
from ad_compressed_perception.compression.search.trial import Trial

_LEADERS = 2
_FINALISTS = 8
_TRAINING_SHARE = 0.5
# Shares of the time (without training and the last rounds) after which no base, derived or mixed-precision
# candidate is begun.
_BASE, _DERIVED, _MIXED = 0.45, 0.8, 1.0


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search.

    Attributes:
        budget: limits.
        baseline: the baseline's name.
        seed: of the order of equally cheap candidates and of training.
        minutes: for everything.
        train: whether candidates may be pruned and distilled.
    """

    budget: Budget
    baseline: str
    seed: int
    minutes: float
    train: bool


def explore(rounds: Rounds, facts: Facts, settings: SearchSettings, left_out: dict[str, str]) -> None:
    """Try number formats, smaller inputs of the leaders, mixed precision and training; then compare longer.

    Args:
        rounds: measures, and keeps the trials.
        facts: runtimes, edits and times found on this host.
        settings: settings of the search.
        left_out: receives what is not tried, and why.
    """
    trains = _training_minutes(facts, settings, left_out)
    first = 0.35 if trains else 0.7

    def attempt(candidates: Sequence[Candidate], share: float) -> None:
        rounds.screen(candidates, share)
        discard(rounds.trials, settings.budget, settings.baseline)

    base = base_candidates(facts, settings.budget.size is not None, settings.seed)
    # Float candidates share their files and decide which inputs to shrink: all of them first.
    attempt([candidate for candidate in base if not candidate.form], _DERIVED * first)
    attempt([candidate for candidate in base if candidate.form], _BASE * first)
    tried: list[Trial] = []
    _shrink(rounds, facts, settings, tried, lambda some: attempt(some, _DERIVED * first))
    # Mixed precision measures every layer, which takes long: candidates that are quick to build come first.
    attempt(mixed_precision_candidates(facts, settings.seed, settings.budget.drop or 0.01), _MIXED * first)
    _shrink(rounds, facts, settings, tried, lambda some: attempt(some, _MIXED * first))
    _note_unshrunk(rounds.trials, facts, tried, left_out)
    lead = _leaders(rounds.trials, settings.budget)[:1]
    if lead and "bytes" in facts.edits:
        attempt([with_bytes(lead[0].candidate, facts)], first)
    swaps = facts.trains and settings.train and "hard_swish" in facts.edits
    if lead and swaps:
        attempt([with_hard_swish(lead[0].candidate, facts)], first)
    if lead and trains:
        attempt(_training_candidates(rounds, lead[0], facts, trains, settings.seed), first + _TRAINING_SHARE)
    for count in ROUND_FRAMES:
        rounds.compare(count)
        discard(rounds.trials, settings.budget, settings.baseline)
    running = sorted((t for t in rounds.trials if t.state == "alive" and t.speed), key=_latency)
    rounds.time_interleaved(running[:_FINALISTS])


def _shrink(
    rounds: Rounds,
    facts: Facts,
    settings: SearchSettings,
    tried: list[Trial],
    attempt: Callable[[list[Candidate]], None],
) -> None:
    """Try the leading base candidates on smaller inputs, each once."""
    fresh = [t for t in _leaders(rounds.trials, settings.budget) if not t.candidate.parent and t not in tried]
    tried += fresh
    attempt([one for trial in fresh for one in derived_candidates(trial.candidate, facts, settings.seed)])


def _note_unshrunk(
    trials: Sequence[Trial], facts: Facts, tried: Sequence[Trial], left_out: dict[str, str]
) -> None:
    if not any(name in facts.edits for name in ("fit", "resize", "coarse")):
        return
    for trial in trials:
        if trial.state == "alive" and not trial.candidate.parent and trial not in tried:
            left_out[f"{trial.name}, smaller"] = "others lead at the model's own input size"


def _training_candidates(
    rounds: Rounds, lead: Trial, facts: Facts, minutes: float, seed: int
) -> list[Candidate]:
    floats = [
        t for t in rounds.trials if t.state == "alive" and not t.candidate.form and not t.candidate.training
    ]
    leader = min(floats, key=_latency, default=lead)
    if leader.candidate.form:
        return []
    ms = facts.baseline_ms * rounds.builder.pixels_share(leader.candidate)
    return trained(leader.candidate, facts, ms, rounds.maker.frames.training_images, minutes, seed)


def _training_minutes(facts: Facts, settings: SearchSettings, left_out: dict[str, str]) -> float:
    """Return the minutes for each candidate that trains; 0 where there is no time or no torch."""
    if not facts.trains:
        return 0.0
    if not settings.train:
        left_out["training"] = "not asked for"
        return 0.0
    count = 3 if "relu" in facts.edits else 2
    each = _TRAINING_SHARE * settings.minutes / count
    if each < LEAST_TRAINING_MINUTES:
        least = count * LEAST_TRAINING_MINUTES / _TRAINING_SHARE
        left_out["training"] = (
            f"needs {least:g} minutes for the search at least, there were {settings.minutes:g}"
        )
        return 0.0
    return each


def _leaders(trials: Sequence[Trial], budget: Budget) -> list[Trial]:
    """Return the candidates worth a further change: the fastest, and the smallest where size is limited."""
    running = sorted((t for t in trials if t.state == "alive" and t.speed), key=_latency)
    found = running[:_LEADERS]
    if budget.size is not None:
        found += [trial for trial in sorted(running, key=lambda t: t.size)[:1] if trial not in found]
    return found


def _latency(trial: Trial) -> float:
    assert trial.speed is not None
    return 1.0 / trial.speed.ratio
