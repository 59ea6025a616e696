# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of primary and shadow over the last minute of frames, corrected for which ones were compared."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from threading import Lock
from typing import NamedTuple

import numpy as np

from ad_compressed_perception.core.results import Classification, Detections, Result, Trajectory
from ad_compressed_perception.metrics.agreement import SegmentationAgreement, agreement
from ad_compressed_perception.metrics.slack_estimate import ComparedFrames, SlackEstimate, slack_estimate
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.monitor.pair_parts import Pair, measure, pair_of

WINDOW_S = 60.0
_MOST_FRAMES = 8192


class _Compared(NamedTuple):
    """A compared frame; ``pair`` is None where the shadow gave no result that could be compared."""

    number: int
    weight: float
    pair: Pair | None


@dataclass(frozen=True)
class ShadowScore:
    """Agreement in the window.

    Attributes:
        estimate: over all frames.
        informative: compared frames with something to compare.
        failed: compared frames on which the shadow failed.
    """

    estimate: SlackEstimate = SlackEstimate()
    informative: int = 0
    failed: int = 0


class ShadowAgreement:
    """Collects frames and comparisons; its methods may be called from any thread.

    Frames are known by their number, which goes up by one from frame to frame.
    """

    def __init__(self, gate: Gate) -> None:
        """Measure as an accept gate does."""
        self._gate = gate
        self._lock = Lock()
        self._frames: deque[tuple[float, int, tuple[float, float]]] = deque(maxlen=_MOST_FRAMES)
        self._compared: deque[_Compared] = deque(maxlen=_MOST_FRAMES)
        self._labels: tuple[str, ...] = ()

    def note_frame(self, number: int, latency_ms: float, result: Result, now_s: float) -> None:
        """Note a frame that the primary answered.

        Args:
            number: of the frame.
            latency_ms: that the primary took.
            result: its result, whose content is known of all frames as well.
            now_s: monotonic seconds.
        """
        with self._lock:
            self._frames.append((now_s, number, (latency_ms, _content(result))))
            self._forget_old(now_s)

    def _forget_old(self, now_s: float) -> None:
        while self._frames and self._frames[0][0] <= now_s - WINDOW_S:
            self._frames.popleft()

    def note_pair(
        self, number: int, weight: float, stamp_ns: int, primary: Result, shadow: Result | None
    ) -> None:
        """Note a comparison; None for a frame on which the shadow failed.

        Raises:
            DataError: the results cannot be compared; then the shadow failed, too.
        """
        pair = None
        try:
            if shadow is not None:
                agreed = agreement(primary, shadow)
                pair = pair_of(stamp_ns, (primary, shadow), agreed, self._gate)
                if isinstance(agreed, SegmentationAgreement) and agreed.labels != self._labels:
                    with self._lock:
                        self._labels = agreed.labels
                        self._compared.clear()
        finally:
            with self._lock:
                self._compared.append(_Compared(number, weight, pair))

    def clear(self) -> None:
        """Drop everything: another model answers."""
        with self._lock:
            self._frames.clear()
            self._compared.clear()

    def score(self, now_s: float = -math.inf) -> ShadowScore:
        """Return the agreement over the window that ends at ``now_s``, by default at the last frame."""
        with self._lock:
            self._forget_old(now_s)
            frames, labels = list(self._frames), self._labels
            first = frames[0][1] if frames else 0
            while self._compared and self._compared[0].number < first:
                self._compared.popleft()
            last = first + len(frames)
            compared = [each for each in self._compared if each.number < last]
        pairs = [each.pair for each in compared if each.pair is not None]
        failed = len(compared) - len(pairs)
        if not pairs:
            return ShadowScore(_without_pairs(len(frames), failed), 0, failed)
        measured = measure(pairs, self._gate, labels)
        parts = np.zeros((len(compared), *measured.parts.shape[1:]))
        is_failed = np.array([each.pair is None for each in compared])
        parts[~is_failed] = measured.parts
        table = ComparedFrames(
            np.array([each.number - first for each in compared]),
            np.array([each.weight for each in compared]),
            parts,
            is_failed,
        )
        informative = int(measured.informative.sum())
        estimate = slack_estimate(np.array([each[2] for each in frames]), table, measured.shares)
        if not informative and not failed:  # two models that see nothing agree perfectly
            nothing = math.nan
            estimate = replace(estimate, score=nothing, interval=(nothing, nothing), uncorrected=nothing)
        return ShadowScore(estimate, informative, failed)


def _without_pairs(frames: int, failed: int) -> SlackEstimate:
    """Return the estimate where nothing was compared: frames that failed agree in nothing."""
    if not failed:
        return SlackEstimate(frames)
    return SlackEstimate(frames, failed, 0.0, uncorrected=0.0, cells=1)


def _content(result: Result) -> float:
    """Return how much there is on a frame, by its primary's result; 0 where that does not say."""
    if isinstance(result, Detections):
        return float(len(result.scores))
    if isinstance(result, Trajectory):
        return abs(result.curvature_per_m)
    return result.score if isinstance(result, Classification) else 0.0
