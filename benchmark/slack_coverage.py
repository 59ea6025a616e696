# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often the interval of a shadow's agreement holds the agreement over all frames.

    python -m benchmark.slack_coverage                   1,000 windows of each setting, some minutes
    python -m benchmark.slack_coverage --windows 100

Every window is a simulated drive: the difficulty of its frames is a first-order autoregressive series; harder
frames take the primary longer and agree less. ``ShadowSchedule`` chooses among them as in a node, with a
shadow that needs a third of the period, and ``slack_estimate`` estimates what all frames of the window
together have, which the simulation knows. "plain" is the error of the chosen frames alone. Prints Markdown;
the same seed gives the same figures. Exit status 1 where a setting covers less than 92 %.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.slack_estimate import ComparedFrames, SlackEstimate, slack_estimate
from ad_compressed_perception.serving.shadow_schedule import ShadowSchedule

PERIOD_S = 0.05
TARGET = 0.92
_SHADOW_S = 0.3 * PERIOD_S

Shares = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Setting:
    """A kind of window.

    Attributes:
        measure: paths (a frame agrees or not), objects (F1), or equal (every frame agrees).
        correlation: frames after which the correlation of difficulty has fallen to 1/e; 0: independent ones.
        slowing: how strongly the primary's time depends on difficulty.
        loss: logit of the share that disagrees at mean difficulty, and its slope.
        rate_hz: of the shadow, at most.
        window_s: length.
    """

    measure: str
    correlation: float
    slowing: float
    loss: tuple[float, float]
    rate_hz: float
    window_s: float


SETTINGS = [
    Setting(measure, correlation, slowing, loss, rate_hz, window_s)
    for measure, correlation, (slowing, loss), (rate_hz, window_s) in product(
        ("paths", "objects"),
        (0.0, 5.0, 20.0, 100.0),
        ((1.0, (-3.0, 1.5)), (3.0, (-1.0, 1.0)), (4.0, (-6.0, 4.0))),
        ((2.0, 60.0), (2.0, 10.0), (20.0, 60.0)),
    )
] + [Setting("equal", 20.0, 3.0, (0.0, 0.0), rate_hz, 60.0) for rate_hz in (0.2, 2.0, 20.0)]


def difficulty(frames: int, correlation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a stationary first-order autoregressive series of unit variance."""
    series = rng.standard_normal(frames)
    rho = math.exp(-1.0 / correlation) if correlation > 0.0 else 0.0
    series[1:] *= math.sqrt(1.0 - rho * rho)
    for place in range(1, frames):
        series[place] += rho * series[place - 1]
    return series


def f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K, 1) F1 of (K, 3) matched, missed and extra objects."""
    matched, missed, extra = counts.T
    total = 2.0 * matched + missed + extra
    return np.divide(2.0 * matched, total, out=np.full(len(total), np.nan), where=total > 0.0)[:, None]


def share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K, 1) shares of (K, 2) hits and frames."""
    return np.divide(sums[:, :1], sums[:, 1:], out=np.full((len(sums), 1), np.nan), where=sums[:, 1:] > 0.0)


def results(
    setting: Setting, hard: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], Shares, NDArray[np.float64]]:
    """Return what each frame contributes, how that makes an agreement, and the frames' numbers of objects."""
    lost = 1.0 / (1.0 + np.exp(-(setting.loss[0] + setting.loss[1] * hard)))
    none = np.zeros(len(hard))
    if setting.measure == "equal":
        return np.ones((len(hard), 2)), share, none
    if setting.measure == "paths":
        agrees = (rng.random(len(hard)) > lost).astype(np.float64)
        return np.stack([agrees, np.ones(len(hard))], axis=1), share, none
    objects = rng.poisson(3.0 * np.exp(0.4 * hard))
    matched, extra = rng.binomial(objects, 1.0 - lost), rng.binomial(objects, 0.5 * lost)
    return np.stack([matched, objects - matched, extra], axis=1).astype(np.float64), f1, objects.astype(float)


def choose(
    setting: Setting, primary_s: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the frames that the schedule lets the shadow run on, and the weight of each."""
    schedule: ShadowSchedule[int] = ShadowSchedule(
        "slack", max_rate_hz=setting.rate_hz, seed=int(rng.integers(1 << 31))
    )

    def shadow_s() -> float:
        return _SHADOW_S * math.exp(0.1 * rng.standard_normal())

    for place in range(-64, 0):  # the schedule knows both rates already
        schedule.time.arrived(place * PERIOD_S)
        schedule.time.ran(place * PERIOD_S, shadow_s())
    chosen: dict[int, float] = {}
    free_s = -math.inf
    for place, taken_s in enumerate(primary_s.tolist()):
        now_s = place * PERIOD_S + taken_s
        due = schedule.after_primary(place, 0, place * PERIOD_S, now_s, is_idle=now_s >= free_s)
        if due is not None:
            duration_s = shadow_s()
            free_s = now_s + duration_s
            schedule.time.ran(free_s, duration_s)
            chosen[due.item] = due.weight
    places = np.array(sorted(chosen), np.int64)
    return places, np.array([chosen[place] for place in places.tolist()])


def window(setting: Setting, rng: np.random.Generator) -> tuple[float, SlackEstimate]:
    """Simulate a window; return its true agreement and the estimate."""
    hard = difficulty(round(setting.window_s / PERIOD_S), setting.correlation, rng)
    noise = rng.standard_normal(len(hard))
    primary_s = np.minimum(0.6 * np.exp(0.25 * setting.slowing * hard + 0.1 * noise), 0.98) * PERIOD_S
    parts, shares, objects = results(setting, hard, rng)
    places, weights = choose(setting, primary_s, rng)
    known = np.stack([primary_s, objects], axis=1)
    compared = ComparedFrames(places, weights, parts[places], np.zeros(len(places), np.bool_))
    found = slack_estimate(known, compared, shares, seed=int(rng.integers(1 << 31)))
    return float(shares(parts.sum(axis=0)[None])[0, 0]), found


@dataclass(frozen=True)
class Coverage:
    """What was found in the windows of a setting; means over those with an interval.

    Attributes:
        with_interval: windows that had one.
        covered: share of them whose interval holds the true agreement.
        compared: frames.
        width: of the interval.
        bias: of the estimate.
        plain_bias: of the chosen frames alone.
    """

    with_interval: int
    covered: float
    compared: float
    width: float
    bias: float
    plain_bias: float


def coverage(setting: Setting, windows: int) -> Coverage:
    """Simulate windows of a setting."""
    rng = np.random.default_rng(zlib.crc32(repr(setting).encode()))
    rows = []
    for _ in range(windows):
        true_score, found = window(setting, rng)
        low, high = found.interval
        if not math.isnan(low):
            held = low - 1e-9 <= true_score <= high + 1e-9
            rows.append(
                (held, found.compared, high - low, found.score - true_score, found.uncorrected - true_score)
            )
    if not rows:
        return Coverage(0, *(math.nan,) * 5)
    return Coverage(len(rows), *np.mean(np.array(rows, np.float64), axis=0).tolist())


def main() -> int:
    """Simulate all settings; return 1 where one of them covers too little."""
    parser = argparse.ArgumentParser(description="Coverage of the agreement of a shadow that slack lets run.")
    parser.add_argument("--windows", type=int, default=1000, help="of each setting")
    options = parser.parse_args()
    print("| setting | windows with an interval | covered | compared | width | bias | plain |")
    print("|---|---|---|---|---|---|---|")
    worst = 1.0
    for setting in SETTINGS:
        found = coverage(setting, options.windows)
        name = (
            f"{setting.measure}, correlation {setting.correlation:g}, slowing {setting.slowing:g}, "
            f"loss {setting.loss[0]:g} {setting.loss[1]:+g} u, {setting.rate_hz:g} Hz, {setting.window_s:g} s"
        )
        print(
            f"| {name} | {found.with_interval} | {found.covered:.3f} | {found.compared:.0f} "
            f"| {found.width:.3f} | {found.bias:+.4f} | {found.plain_bias:+.4f} |",
            flush=True,
        )
        if found.with_interval:
            worst = min(worst, found.covered)
    print(f"\nLeast coverage: {worst:.3f} (target {TARGET}).")
    return int(worst < TARGET)


if __name__ == "__main__":
    sys.exit(main())
