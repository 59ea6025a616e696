# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Noise of a variant's output against what the baseline's output changes from frame to frame.

The signal of an element is its deviation from its own mean over the frames, so that the part of an output
that no image changes (grids, anchors, a bias) hides nothing: a variant that returned the baseline's mean
output on every frame has as much noise as there is signal. Noise to signal is therefore 1 - R^2 of the
coefficient of determination (S. Wright, Correlation and Causation, Journal of Agricultural Research 20,
1921), and SQNR is its reciprocal in decibels.

The deviations are summed as they come, by the recurrence of B. Welford, Note on a Method for Calculating
Corrected Sums of Squares and Products, Technometrics 4(3), 1962: the n-th frame adds
(n - 1) / n (x_n - mean_{n-1})^2, and no frame's output needs to be kept. Of whole numbers (ids, indices,
counts) the mean is replaced by the most frequent value, which R. Boyer and J. Moore's majority vote follows
in the same way (MJRTY, 1981), and squares by the number of elements that differ.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.id_counts import IdCounts
from ad_compressed_perception.metrics.output_channels import Axes, spread_of_scales

_ROUNDING_SHARE = 0.01


class FrameNoise(NamedTuple):
    """Sums of one frame over the positions of each channel, (C,) each."""

    noise: NDArray[np.float64]
    signal: NDArray[np.float64]


class Range(NamedTuple):
    """What the baseline's channels hold over all frames, (C,) each.

    Attributes:
        low: smallest value.
        high: largest one.
        change: largest difference of an element from its mean so far.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    change: NDArray[np.float64]


class OutputNoise:
    """Adds up one output of fixed shape, frame by frame.

    Attributes:
        shape: of the output.
        is_whole: whether its elements are compared as whole numbers, equal or not.
        totals: (N, 5) of each frame: sums of b^2, v^2 and b v, largest |v - b|, elements that differ.
        ids: of whole numbers, how often each occurs.
    """

    def __init__(self, first: NDArray[Any], axes: list[Axes], *, is_whole: bool) -> None:
        """Take the shape of the first frame's output, which is still to be added.

        Args:
            first: the output.
            axes: of ``output_channels.channel_axes``.
            is_whole: compare elements as whole numbers.
        """
        self.shape, self.is_whole = first.shape, is_whole
        self._axes = [()] if is_whole else axes
        self._frames = 0
        # Numbers are laid out with the first candidate's axes in front: sums over long rows are fast.
        front = self._axes[0]
        self._order = (*front, *(axis for axis in range(first.ndim) if axis not in front))
        self._laid = [tuple(self._order.index(axis) for axis in axes) for axes in self._axes]
        laid_shape = first.shape if is_whole else tuple(first.shape[axis] for axis in self._order)
        front_shape = (1,) * len(front)
        self._position_shape = (*front_shape, *(first.shape[axis] for axis in self._order[len(front) :]))
        self._reference: NDArray[Any] = np.zeros(laid_shape, first.dtype if is_whole else np.float64)
        self._votes = np.zeros(first.shape if is_whole else (0,), np.int32)
        self._noise: list[list[FrameNoise]] = [[] for _ in self._axes]
        self._ranges: list[Range] = []
        self._weight = 0.0
        self.ids = IdCounts()
        self.totals: list[tuple[float, float, float, float, float]] = []

    def add(
        self,
        baseline: NDArray[Any],
        variant: NDArray[Any] | None,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """Add a frame; a variant without a result has lost all of it.

        Args:
            baseline: output, finite.
            variant: likewise, of the same shape; None where there is none.
            weights: (P,) how much each position counts, 0..1; 1 by default. Not used for whole numbers.
        """
        if self.is_whole:
            self._add_whole(baseline, variant)
            return
        b = np.ascontiguousarray(np.transpose(baseline, self._order), np.float64)
        w = np.ones(1) if weights is None else weights.reshape(self._position_shape)
        self._frames += 1
        self._weight += float(w.mean())
        apart = b - self._reference
        signal = apart * apart
        signal *= w * ((self._frames - 1) / self._frames)
        error = apart.copy() if variant is None else np.transpose(variant, self._order) - b
        noise = error * error
        noise *= w
        for place, axes in enumerate(self._laid):
            self._noise[place].append(
                FrameNoise(_reduced(np.add, noise, axes), _reduced(np.add, signal, axes))
            )
        self._widen(b, np.abs(apart) * (w if self._frames > 1 else 0.0))
        self._reference += apart / self._frames
        v = np.zeros_like(b) if variant is None else b + error
        self.totals.append(
            (
                float(np.vdot(b, b)), float(np.vdot(v, v)), float(np.vdot(b, v)),
                float(np.abs(error).max(initial=0.0)), float(np.count_nonzero(error)),
            )
        )  # fmt: skip

    def table(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return (C, P) an output's columns and rows, with the fewer ones as columns."""
        laid = np.asarray(np.transpose(values, self._order), np.float64)
        return laid.reshape(math.prod(self.shape[axis] for axis in self._axes[0]), -1)

    def _widen(self, values: NDArray[np.float64], apart: NDArray[np.float64]) -> None:
        found = [
            Range(_reduced(np.minimum, values, axes), _reduced(np.maximum, values, axes),
                  _reduced(np.maximum, apart, axes))
            for axes in self._laid
        ]  # fmt: skip
        self._ranges = [
            Range(
                np.minimum(old.low, new.low),
                np.maximum(old.high, new.high),
                np.maximum(old.change, new.change),
            )
            for old, new in zip(self._ranges or found, found, strict=True)
        ]

    def _add_whole(self, baseline: NDArray[Any], variant: NDArray[Any] | None) -> None:
        self._frames += 1
        self.ids.add(baseline, variant)
        is_same = baseline == self._reference
        changed = 0 if self._frames == 1 else baseline.size - int(np.count_nonzero(is_same))
        differing = baseline.size if variant is None else int(np.count_nonzero(variant != baseline))
        self._noise[0].append(FrameNoise(np.array([float(differing)]), np.array([float(changed)])))
        # An element's candidate is replaced when it has been outvoted.
        self._votes += np.where(is_same, 1, -1).astype(np.int32)
        outvoted = self._votes <= 0
        self._reference[outvoted] = baseline[outvoted]
        self._votes[outvoted] = 1
        low, high = (float(value) for value in (baseline.min(initial=0), baseline.max(initial=0)))
        if self._ranges:
            low, high = min(low, float(self._ranges[0].low[0])), max(high, float(self._ranges[0].high[0]))
        changes = changed > 0 or (bool(self._ranges) and self._ranges[0].change[0] > 0.0)
        self._ranges = [Range(np.array([low]), np.array([high]), np.array([float(changes)]))]
        self.totals.append((math.nan, math.nan, math.nan, math.nan, float(differing)))

    @property
    def channel_axes(self) -> Axes:
        """The axes of the channels: of the candidates the one whose channels differ most in scale."""
        return self._axes[self._chosen()]

    def ranges(self) -> Range:
        """Return what the baseline's channels hold."""
        return self._ranges[self._chosen()]

    def sums(self) -> NDArray[np.float64]:
        """Return (N, 2, C) noise and signal of each frame and channel."""
        return np.array([[one.noise, one.signal] for one in self._noise[self._chosen()]], np.float64)

    def static_errors(self) -> NDArray[np.float64]:
        """Return (C,) root mean square errors of the channels that never change, 0 for the others.

        Errors below a hundredth of the channel's own largest number, such as rounding of a grid, are 0.
        """
        ranges = self.ranges()
        elements = self._weight * math.prod(self.shape) / max(1, len(ranges.change))
        noise = self.sums()[:, 0].sum(axis=0)
        errors = np.sqrt(np.divide(noise, elements, out=np.zeros_like(noise), where=elements > 0.0))
        largest = np.maximum(np.abs(ranges.low), np.abs(ranges.high))
        return np.where((ranges.change <= 0.0) & (errors > _ROUNDING_SHARE * largest), errors, 0.0)

    def channel_name(self, channel: int) -> str:
        """Return a channel's place along its axes, such as "[4]" or "[2, 4]"; empty for the only one."""
        axes = self.channel_axes
        if not axes:
            return ""
        place = np.unravel_index(channel, [self.shape[axis] for axis in axes])
        return f"[{', '.join(str(int(one)) for one in place)}]"

    def _chosen(self) -> int:
        spreads = [spread_of_scales(one.high - one.low) for one in self._ranges]
        return int(np.argmax(spreads))


def _reduced(how: np.ufunc, values: NDArray[np.float64], axes: Axes) -> NDArray[np.float64]:
    """Return (C,) values reduced over all axes but these."""
    others = tuple(axis for axis in range(values.ndim) if axis not in axes)
    return np.asarray(how.reduce(values, axis=others), np.float64).reshape(-1)


def noise_share(noise: NDArray[np.float64], signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return noise / signal, at most 1; NaN where there is neither.

    Args:
        noise: sums of squared errors, of any shape.
        signal: sums of squared deviations, of the same shape.
    """
    shares = np.divide(noise, signal, out=np.full(np.shape(noise), np.inf), where=signal > 0.0)
    return np.where((noise <= 0.0) & (signal <= 0.0), np.nan, np.clip(shares, 0.0, 1.0))


def frames_of_signal(signal: NDArray[np.float64]) -> float:
    """Return on how many frames a channel's changes lie: (sum s)^2 / sum s^2, the participation ratio.

    N where each frame has as much, 1 where one frame has all of it.

    Args:
        signal: (N,) of each frame, 0 or more.
    """
    total = float(signal.sum())
    return total * total / float(signal @ signal) if total > 0.0 else 0.0


def decibels(noise_to_signal: float) -> float:
    """Return SQNR = 10 lg(signal / noise); inf without noise, NaN for NaN."""
    if math.isnan(noise_to_signal):
        return math.nan
    return math.inf if noise_to_signal <= 0.0 else -10.0 * math.log10(noise_to_signal)


def cosine(totals: NDArray[np.float64]) -> float:
    """Return the cosine of the angle between all of the baseline's and the variant's numbers; NaN for zeros.

    Args:
        totals: (5,) sums over frames of ``OutputNoise.totals``.
    """
    length = math.sqrt(totals[0] * totals[1])
    return float(totals[2]) / length if length > 0.0 else math.nan
