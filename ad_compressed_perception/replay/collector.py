# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Collects the data of a report's images during a replay: every timing, the results of a few frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.metrics.agreement import Agreement
from ad_compressed_perception.replay.frames import BagFrame
from ad_compressed_perception.replay.plan import BASELINE
from ad_compressed_perception.report.series import AGREEMENT_AXES, TaskSeries


@dataclass(frozen=True)
class FrameSnapshot:
    """One frame with the results of a task's variants, to be drawn side by side.

    Attributes:
        task: task name.
        kind: ``sample`` (chosen beforehand) or ``least_agreement`` (the frame with the least agreement).
        frame: the camera frame.
        results: variant name to result, the baseline first.
        timings: variant name to the frame's timing.
        agreement: compared variant's name to the value of the task's AgreementAxis.
    """

    task: str
    kind: Literal["sample", "least_agreement"]
    frame: BagFrame
    results: dict[str, Result]
    timings: dict[str, FrameTiming]
    agreement: dict[str, float]


@dataclass
class _Current:
    """Results of one task for the current frame, received so far."""

    stamp_ns: int = -1
    results: dict[str, Result] = field(default_factory=dict)
    timings: dict[str, FrameTiming] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)


class Collector:
    """Collects series and snapshots of a replay."""

    def __init__(
        self,
        variants: Mapping[str, Sequence[str]],
        sample_indices: Iterable[int],
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        """Create empty series.

        Args:
            variants: task, or head ``TASK.HEAD``, to its variants' names, the baseline first.
            sample_indices: indices of the frames to keep for side-by-side images.
            kinds: head to its task.
        """
        kinds = kinds or {}
        self.series = {
            task: TaskSeries(
                {name: [] for name in names},
                {name: [] for name in names if name != BASELINE},
                AGREEMENT_AXES[kinds.get(task, task)],
            )
            for task, names in variants.items()
        }
        self._order = variants
        self._sample_indices = frozenset(sample_indices)
        self._current = {task: _Current() for task in variants}
        self._samples: dict[str, list[FrameSnapshot]] = {task: [] for task in variants}
        self._least: dict[str, tuple[float, FrameSnapshot]] = {}

    def begin(self, task: str, frame: BagFrame) -> None:
        """Set a task's current frame; results of earlier frames that arrive later are not drawn."""
        if self._current[task].stamp_ns != frame.stamp_ns:
            self._current[task] = _Current(frame.stamp_ns)

    def note_timing(self, task: str, name: str, timing: FrameTiming) -> None:
        """Store the timing of a finished frame."""
        self.series[task].timings[name].append(timing)
        current = self._current[task]
        if current.stamp_ns == timing.stamp_ns:
            current.timings[name] = timing

    def on_pair(
        self,
        task: str,
        candidate: str,
        stamp_ns: int,
        baseline_result: Result,
        candidate_result: Result,
        agreement: Agreement,
    ) -> None:
        """Store the monitor's comparison of a pair of results."""
        value = self.series[task].axis.value(agreement)
        self.series[task].agreement[candidate].append((stamp_ns, value))
        current = self._current[task]
        if current.stamp_ns != stamp_ns:
            return
        current.results[BASELINE] = baseline_result
        current.results[candidate] = candidate_result
        current.agreement[candidate] = value

    def compared(self, task: str, stamp_ns: int) -> set[str]:
        """Return the candidates whose result of a frame was compared with the baseline's."""
        return set(self.agreements(task, stamp_ns))

    def results(self, task: str, stamp_ns: int) -> dict[str, Result]:
        """Return the results of a frame that were compared, by variant's name, the baseline first."""
        current = self._current[task]
        if current.stamp_ns != stamp_ns:
            return {}
        return {name: current.results[name] for name in self._order[task] if name in current.results}

    def agreements(self, task: str, stamp_ns: int) -> dict[str, float]:
        """Return the candidates whose result of a frame was compared, each with its agreement."""
        current = self._current[task]
        return dict(current.agreement) if current.stamp_ns == stamp_ns else {}

    def end_task(self, task: str, frame: BagFrame) -> None:
        """Decide, after all variants of a task processed a frame, whether its results are kept."""
        current = self._current[task]
        if current.stamp_ns != frame.stamp_ns or not current.results:
            return
        if frame.index in self._sample_indices:
            self._samples[task].append(self._snapshot(task, "sample", frame, current))
        best = self.series[task].axis.best
        distance = max(
            (abs(best - value) for value in current.agreement.values() if math.isfinite(value)),
            default=0.0,
        )
        if distance > 0.0 and (task not in self._least or distance > self._least[task][0]):
            self._least[task] = (distance, self._snapshot(task, "least_agreement", frame, current))

    def snapshots(self) -> list[FrameSnapshot]:
        """Return the kept frames of every task: the samples in order, then the least agreement."""
        kept: list[FrameSnapshot] = []
        for task, samples in self._samples.items():
            kept += samples
            if task in self._least:
                kept.append(self._least[task][1])
        return kept

    def _snapshot(
        self, task: str, kind: Literal["sample", "least_agreement"], frame: BagFrame, current: _Current
    ) -> FrameSnapshot:
        names = [name for name in self._order[task] if name in current.results]
        return FrameSnapshot(
            task,
            kind,
            frame,
            {name: current.results[name] for name in names},
            {name: current.timings[name] for name in names if name in current.timings},
            dict(current.agreement),
        )


def sample_indices(frames: int, samples: int) -> list[int]:
    """Return up to ``samples`` indices spread evenly over ``frames`` frames."""
    return sorted({int((index + 0.5) * frames / samples) for index in range(samples)}) if frames else []
