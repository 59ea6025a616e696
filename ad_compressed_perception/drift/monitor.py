# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compares live windows with the reference, and says what changed: world, camera or model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.drift.causes import Kind, cause
from ad_compressed_perception.drift.figures import ONE_FIGURE, RESULTS, Columns, WindowFigures
from ad_compressed_perception.drift.frame_statistics import FrameStatistics
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.drift.windows import BIN_S, MAX_GAP_S, Bins

__all__ = ["Alarm", "DriftMonitor", "Kind"]

RAISE_LOOKS: Final = 2
"""Looks, BIN_S apart, that must agree before an alarm begins or its kind changes."""

CLEAR_S: Final = 5.0
"""How long all figures must be below CLEAR_BELOW of their thresholds before an alarm ends."""

CLEAR_BELOW: Final = 0.8
_REPEATED_S = 1.0
_NAMED = 4


@dataclass(frozen=True)
class Alarm:
    """Something has changed.

    Attributes:
        kind: what most likely changed.
        statistic: the largest figure, divided by its own threshold.
        threshold: of the statistic, 1.
        moved: the figures beyond their thresholds, by name, each divided by its threshold; the largest first.
        since_stamp_s: stamp of the frame at which the alarm began.
        unexplained: figures of the image that are farthest off what the others lead to expect, standard
        deviations.
    """

    kind: Kind
    statistic: float
    threshold: float
    moved: dict[str, float]
    since_stamp_s: float
    unexplained: dict[str, float] = field(default_factory=dict)


class DriftMonitor:
    """Drift of one stream of frames and results. One thread at a time."""

    def __init__(
        self, reference: DriftReference, window_s: float = 0.0, false_alarms_per_hour: float = 0.1
    ) -> None:
        """Compare with the reference.

        Args:
            reference: of the manifest.
            window_s: length of the windows, one of the reference's; 0: all of its lengths at once.
            false_alarms_per_hour: how often something is alarmed while nothing has changed, of all kinds
            together;
                each figure of each length of window has an equal part of it.

        Raises:
            ManifestError: the reference has no such window.
        """
        self.looks = 0
        """How often something was compared; a monitor that compares nothing raises no alarm either."""
        windows = reference.chosen_windows(window_s)
        self._reference = reference
        self._names = tuple(reference.names)
        # Half of the rate is that of single figures, where a reference has their thresholds.
        share = 0.5 if windows[0].signed else 1.0
        part = share * false_alarms_per_hour / sum(len(one.tails) for one in windows)
        single = share * false_alarms_per_hour / len(windows)
        self._windows = [
            (
                round(one.window_s / BIN_S),
                {name: tail.threshold(part, one.window_s) for name, tail in one.tails.items()},
                one.signed.thresholds(single) if one.signed else None,
            )
            for one in windows
        ]
        self._repeated_s = max(_REPEATED_S, 1.5 * reference.longest_repeat_s)
        columns = Columns.of(self._names, tuple(reference.compared))
        self._joint_names = columns.joint_names
        self._figures = WindowFigures(
            columns,
            np.array(reference.center),
            np.array(reference.spread),
            reference.full_covariance(),
            np.array(reference.unexplained) if reference.unexplained else None,
        )
        self._bins = Bins(max(bins for bins, _, _ in self._windows))
        self._at: tuple[tuple[str, ...], list[int]] = ((), [])
        self._changed_s: float | None = None
        self._last_s = 0.0
        self._alarm: Alarm | None = None
        self._pending: tuple[Kind | None, int] = (None, 0)
        self._calm_since_s: float | None = None

    def add(self, statistics: FrameStatistics, stamp_s: float) -> list[Alarm]:
        """Add a frame; return the alarms that are raised now, none where nothing has changed.

        A stamp that runs backwards, or a gap of more than a second, begins the windows anew; an alarm stays
        until windows have been calm for CLEAR_S.
        """
        size = (self._reference.width, self._reference.height, self._reference.channels)
        # An image that is the same after a gap may have changed meanwhile, and back.
        is_new = not 0.0 <= stamp_s - self._last_s <= MAX_GAP_S
        if not statistics.repeated or self._changed_s is None or is_new:
            self._changed_s = stamp_s
        self._last_s = stamp_s
        repeated = (stamp_s - self._changed_s) / self._repeated_s
        if statistics.size != size or repeated >= 1.0:
            name = "size" if statistics.size != size else "repeated frame"
            self._bins.clear()
            self.looks += 1
            self._raise("camera", {name: max(repeated, 1.0)}, {}, stamp_s)
        elif self._bins.add(self._in_order(statistics), stamp_s):
            self._look(stamp_s)
        return [] if self._alarm is None else [self._alarm]

    def _in_order(self, statistics: FrameStatistics) -> NDArray[np.float32]:
        """Return the values in the order of the reference's names; NaN for those that the frame has not."""
        if statistics.names == self._names:
            return statistics.values
        if self._at[0] is not statistics.names:
            at = {name: index for index, name in enumerate(statistics.names)}
            self._at = (statistics.names, [at.get(name, len(at)) for name in self._names])
        return np.append(statistics.values, np.float32(np.nan))[self._at[1]]

    def _look(self, stamp_s: float) -> None:
        ratios, means = self._ratios()
        if means is None:
            return
        self.looks += 1
        # What results are expected is known for images like those of the reference only.
        if max(ratio for name, ratio in ratios.items() if name not in RESULTS) >= CLEAR_BELOW:
            ratios |= {name: 0.0 for name in RESULTS if name in ratios}
        unexplained = dict(zip(self._joint_names, self._figures.unexplained(means).tolist(), strict=True))
        is_mask = "label_edges" in self._reference.compared
        kind = cause(ratios, unexplained, float(self._figures.exchanged(means)), is_mask)
        pending, looks = self._pending
        self._pending = (kind, looks + 1 if kind == pending else 1)
        if kind is None:
            self._calm(max(ratios.values()), stamp_s)
            return
        self._calm_since_s = None
        is_other = self._alarm is None or self._alarm.kind != kind
        if is_other and self._pending[1] < RAISE_LOOKS:
            return
        named = sorted(unexplained, key=lambda name: -abs(unexplained[name]))[:_NAMED]
        self._raise(kind, ratios, {name: round(unexplained[name], 1) for name in named}, stamp_s)

    def _ratios(self) -> tuple[dict[str, float], NDArray[np.float64] | None]:
        """Return each figure over its threshold, the largest of all windows, and that window's means.

        No means where no window is complete.
        """
        ratios: dict[str, float] = {}
        strongest, chosen = -1.0, None
        for bins, limits, singles in self._windows:
            means = self._bins.mean(bins)
            figures = self._figures.compute(means)
            if not np.isfinite(figures["image"]):
                continue
            found = {name: float(np.nan_to_num(figures[name])) / limit for name, limit in limits.items()}
            if singles is not None:
                found[ONE_FIGURE] = float((self._figures.signed(means) / singles).max())
            for name, ratio in found.items():
                ratios[name] = max(ratio, ratios.get(name, 0.0))
                if name not in RESULTS and ratio > strongest:
                    strongest, chosen = ratio, means
        return ratios, chosen

    def _raise(
        self, kind: Kind, ratios: dict[str, float], unexplained: dict[str, float], stamp_s: float
    ) -> None:
        moved = {
            name: round(ratio, 3)
            for name, ratio in sorted(ratios.items(), key=lambda item: -item[1])
            if ratio >= 1.0
        }
        is_new = self._alarm is None or self._alarm.kind != kind
        since_s = stamp_s if is_new or self._alarm is None else self._alarm.since_stamp_s
        self._calm_since_s = None
        self._alarm = Alarm(kind, max(moved.values()), 1.0, moved, since_s, unexplained)

    def _calm(self, largest: float, stamp_s: float) -> None:
        if largest >= CLEAR_BELOW:
            self._calm_since_s = None
        elif self._calm_since_s is None or stamp_s < self._calm_since_s:
            self._calm_since_s = stamp_s
        elif stamp_s - self._calm_since_s >= CLEAR_S:
            self._alarm = None
