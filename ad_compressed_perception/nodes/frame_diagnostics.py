# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics says of the frames of one camera: losses, failures, ages, rates and latencies."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from threading import Lock
from time import monotonic

import numpy as np

from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.monitor.frame_health import FrameHealth, Level, Problems, parse_budgets
from ad_compressed_perception.nodes.frame_selection import FrameSelection
from ad_compressed_perception.nodes.image_subscription import ImageSubscription
from ad_compressed_perception.nodes.node_latency import NodeLatency
from ad_compressed_perception.nodes.options import HealthOptions

_WINDOW = 200


class FrameDiagnostics:
    """Collects the events of a camera's frames; what no status could publish is in the next one."""

    def __init__(self) -> None:
        """Begin without frames."""
        self._lock = Lock()
        self._subscription: ImageSubscription | None = None
        self._selection: FrameSelection | None = None
        self._health = FrameHealth()
        self._active_s = 0.0
        self.latency = NodeLatency(monotonic())
        self._infer_ms: deque[float] = deque(maxlen=_WINDOW)
        self._end_to_end_ms: deque[float] = deque(maxlen=_WINDOW)
        self._failed = self._failed_reported = 0
        self._last_failure = ""
        self._negative_ages = self._negative_reported = 0
        self._unstamped = self._unstamped_reported = 0
        self._reporting = (0, 0, 0)

    def monitor(self, subscription: ImageSubscription, selection: FrameSelection | None = None) -> None:
        """Report on the frames of this subscription, and on those that are not selected, from now on."""
        with self._lock:
            self._health = FrameHealth()
        self._active_s = monotonic()
        self._subscription, self._selection = subscription, selection

    def stop_monitoring(self) -> None:
        """Report on no subscription."""
        self._subscription = None

    def note_age(self, age_ms: float) -> None:
        """Count an age that lies in the future."""
        if age_ms < 0.0:
            with self._lock:
                self._negative_ages += 1

    def note_frame(self, timing: FrameTiming) -> None:
        """Add a completed frame to the window."""
        self.latency.add(timing, monotonic())
        with self._lock:
            self._health.add_frame(timing, monotonic())
            self._unstamped += timing.stamp_ns == 0
            if timing.outcome == "processed":
                self._infer_ms.append(timing.stages_ms["infer"])
                self._end_to_end_ms.append(timing.end_to_end_ms)
            elif timing.outcome == "failed":
                self._failed += 1
                self._last_failure = timing.reason

    @property
    def is_monitoring(self) -> bool:
        """Whether there is a subscription."""
        return self._subscription is not None

    def new_events(self) -> Problems:
        """Return what was counted since the last status that was published; see reported()."""
        with self._lock:
            failed, negative, unstamped = self._failed, self._negative_ages, self._unstamped
        self._reporting = failed, negative, unstamped
        problems: Problems = []
        if new := failed - self._failed_reported:
            problems.append((Level.ERROR, f"{new} frames failed: {self._last_failure}"))
        if new := negative - self._negative_reported:
            problems.append((Level.WARN, f"{new} frames have a stamp in the future"))
        if new := unstamped - self._unstamped_reported:
            problems.append((Level.WARN, f"{new} frames have no stamp: how old they are is unknown"))
        return problems

    def reported(self) -> None:
        """Note that the status with the last new_events() was published."""
        self._failed_reported, self._negative_reported, self._unstamped_reported = self._reporting

    def time_values(self) -> dict[str, str]:
        """Return percentiles of the last frames."""
        with self._lock:
            windows = {
                "infer_ms": np.array(self._infer_ms),
                "end_to_end_ms": np.array(self._end_to_end_ms),
            }
        values = {}
        for name, window in windows.items():
            known = window[np.isfinite(window)]
            for percentile in (50, 95, 99):
                value = f"{np.percentile(known, percentile):.2f}" if known.size else "nan"
                values[f"{name}_p{percentile}"] = value
        return values

    def frames(
        self,
        options: HealthOptions,
        counters: FrameCounters,
        deadline_ms: float | None,
        speed_mps: float | None,
        more: Mapping[str, str],
    ) -> tuple[Problems, dict[str, str]]:
        """Return problems and figures of the subscription and its frames; nothing without a subscription.

        Args:
            options: limits.
            counters: of the camera's frames.
            deadline_ms: of its results; None: none.
            speed_mps: of the vehicle; None where it is not known.
            more: further values, after the counters.
        """
        subscription = self._subscription
        if subscription is None:
            return [], {}
        now_s = monotonic()
        silent_s = now_s - max(self._active_s, subscription.last_arrival_s)
        problems = subscription.problems(options.max_lost_share, silent_s)
        with self._lock:
            self._health.update(counters.counts, now_s)
            problems += self._health.problems(options)
            rate_hz, dropped = self._health.rate_hz, self._health.dropped_share
        values = {"received": str(counters.received)}
        values |= {outcome: str(count) for outcome, count in counters.counts.items()}
        values |= {
            "pending": str(counters.pending),
            "rate_hz": f"{rate_hz:.2f}",
            "dropped_share": f"{dropped:.3f}",
            **more,
        }
        if self._selection is not None:
            values |= {"every_nth": str(self._selection.every_nth)}
            values |= {"not_selected": str(self._selection.not_selected)}
            if problem := self._selection.problem:
                problems.append((Level.WARN, problem))
        self.latency.set_deadline(deadline_ms, now_s)
        budgets_ms = parse_budgets(options.stage_budgets_ms)
        values |= self.latency.values(now_s, counters.counts, budgets_ms, speed_mps)
        return problems, values | subscription.values()
