# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The measurements of a search: each is made once, journaled, and not repeated when it is resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from ad_compressed_perception.compression.search.bench import Bench
from ad_compressed_perception.compression.search.builder import Builder
from ad_compressed_perception.compression.search.candidate import Candidate, RecipeMaker
from ad_compressed_perception.compression.search.evaluators import Evaluator
from ad_compressed_perception.compression.search.journal import SearchJournal
from ad_compressed_perception.compression.search.time_budget import OutOfTimeError, TimeBudget
from ad_compressed_perception.compression.search.trial import Trial
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.progress import Progress, no_advance
from ad_compressed_perception.report.schemas.search import Drop, Speed

SCREEN_FRAMES = 16
ROUND_FRAMES = (64, 10_000)
"""Search frames of the successive-halving rounds after the first; the last takes all there are."""

# Journal kind of the final interleaved timing.
_FINAL_TIMING = "final_timing"

# Seconds that a candidate is timed in the first round, and the finalists together: least, for a search of ten
# minutes, most.
_SCREEN_SECONDS, _FINAL_SECONDS = (0.3, 2.0, 4.0), (2.0, 20.0, 60.0)
_SCREEN_ROUNDS, _FINAL_ROUNDS = (16, 2000), (30, 5000)
# Share of the time that building one candidate may take.
_LONGEST = 0.2


class Rounds:
    """Measures candidates; a candidate that fails ends its own trial, nothing else."""

    def __init__(
        self,
        maker: RecipeMaker,
        builder: Builder,
        bench: Bench,
        evaluator: Evaluator,
        journal: SearchJournal,
        time_budget: TimeBudget,
        baseline_bytes: int,
        folder: Path,
        progress: Progress,
    ) -> None:
        """Store the parts of a search; recipes are written to ``folder``, steps reported to ``progress``."""
        self.maker, self.builder, self._bench, self._evaluator = maker, builder, bench, evaluator
        self._journal, self._time_budget = journal, time_budget
        self._baseline_bytes, self._folder, self._progress = baseline_bytes, folder, progress
        self.trials: list[Trial] = []

    def screen(self, candidates: Sequence[Candidate], until: float) -> list[Trial]:
        """Build each candidate, time it, and compare it on a few frames.

        Args:
            candidates: in this order.
            until: share of the time after which none is begun.
        """
        begun = []
        for number, candidate in enumerate(candidates):
            trial = Trial(candidate, candidate.key)
            self.trials.append(trial)
            begun.append(trial)
            known = self._journal.find("screen", trial.key) or self._journal.find("failed", trial.key)
            if known is None and self._time_budget.is_past(until):
                trial.end("not tried", "out of time: give more minutes; the same command resumes from here")
                continue
            self._progress(f"screen {candidate.name}", number, len(candidates))
            self._guard(trial, partial(self._screen, trial))
            self._progress(f"screen {candidate.name}", number + 1, len(candidates))
        return begun

    def compare(self, count: int) -> None:
        """Compare the remaining candidates on more frames, the fastest first, while there is time."""
        running = sorted((t for t in self.trials if t.state == "alive"), key=_latency)
        for trial in running:
            key = f"{trial.key}:{count}"
            if (
                self._journal.find("drop", key) is None
                and self._seconds(trial, count) > self._time_budget.left_s
            ):
                trial.notes.append("out of time for more frames")
                continue
            self._guard(trial, partial(self._compare, trial, count))

    def time_interleaved(self, trials: Sequence[Trial]) -> None:
        """Time the finalists and the baseline interleaved, so that their times are comparable."""
        if not trials:
            return
        key = " ".join(trial.key for trial in trials)
        found = self._journal.find(_FINAL_TIMING, key)
        if found is None:
            seconds = self._scaled(_FINAL_SECONDS)
            if self._time_budget.left_s < seconds:
                return
            self._progress("interleaved timing", 0, 1)
            with ExitStack() as stack:
                opened = [stack.enter_context(closing(self.builder.open(t.candidate))) for t in trials]
                speeds = self._bench.time_interleaved(opened, seconds, *_FINAL_ROUNDS)
            found = self._journal.add(
                _FINAL_TIMING, key, {"speeds": [speed.model_dump() for speed in speeds]}
            )
        for trial, speed in zip(trials, found["speeds"], strict=True):
            trial.speed = Speed(**speed)

    def _screen(self, trial: Trial) -> None:
        found = self._journal.find("screen", trial.key)
        if found is None:
            recipe = self.maker.write(trial.candidate, self._folder)
            seconds = self.builder.build(trial.candidate, recipe, self._watch(trial.candidate))
            stored = self.builder.path(trial.candidate).stat().st_size
            with closing(self.builder.open(trial.candidate)) as pipeline:
                (speed,) = self._bench.time_interleaved(
                    [pipeline], self._scaled(_SCREEN_SECONDS), *_SCREEN_ROUNDS
                )
                drop = self._evaluator.drop(pipeline, SCREEN_FRAMES, no_advance)
            found = self._journal.add(
                "screen",
                trial.key,
                {"seconds": seconds, "bytes": stored, "speed": speed.model_dump(), "drop": drop.model_dump()},
            )
        trial.build_seconds, trial.bytes = found["seconds"], found["bytes"]
        trial.size = trial.bytes / self._baseline_bytes
        trial.speed, trial.drop = Speed(**found["speed"]), Drop(**found["drop"])
        if not trial.drop.interval.is_known:
            trial.notes.append("nothing to compare on the first frames")

    def _compare(self, trial: Trial, count: int) -> None:
        key = f"{trial.key}:{count}"
        found = self._journal.find("drop", key)
        if found is None:
            recipe = self.maker.write(trial.candidate, self._folder)
            self.builder.build(trial.candidate, recipe, self._watch(trial.candidate))
            label = f"compare {trial.name}"
            with closing(self.builder.open(trial.candidate)) as pipeline:
                drop = self._evaluator.drop(pipeline, count, partial(self._progress, label))
            found = self._journal.add("drop", key, drop.model_dump())
        trial.drop = Drop(**found)

    def _guard(self, trial: Trial, step: Callable[[], None]) -> None:
        """Run a step; an error ends the candidate's own trial with the error as its reason."""
        failed = self._journal.find("failed", trial.key)
        if failed is not None:
            trial.end("failed", failed["reason"])
            return
        try:
            step()
        except OutOfTimeError as error:
            trial.end("not tried", one_line(error))
        except (AdcpError, MemoryError, ValueError, RuntimeError) as error:
            reason = one_line(error)
            self._journal.add("failed", trial.key, {"reason": reason})
            trial.end("failed", reason)

    def _watch(self, candidate: Candidate) -> Progress:
        """Return a progress callback that raises when building takes too long; training has its own limit."""
        begun_s, share = self._time_budget.elapsed_s, 1.0 if candidate.training_images else _LONGEST

        def watched(step: str, done: int, total: int) -> None:
            self._time_budget.check(begun_s, share)
            self._progress(step, done, total)

        return watched

    def _scaled(self, seconds: tuple[float, float, float]) -> float:
        """Return seconds between the first and the last value, the middle one for a search of ten minutes."""
        least, usual, most = seconds
        return min(most, max(least, usual * self._time_budget.total_s / 600.0))

    def _seconds(self, trial: Trial, count: int) -> float:
        """Return about how many seconds a comparison takes; baseline results may be cached already."""
        if trial.speed is None:
            return 0.0
        frames = min(count, self._evaluator.frames)
        return 1e-3 * frames * (trial.speed.p50_ms + trial.speed.baseline_p50_ms)


def _latency(trial: Trial) -> float:
    return trial.speed.p50_ms if trial.speed is not None else float("inf")
