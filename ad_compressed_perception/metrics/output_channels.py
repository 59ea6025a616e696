# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The channels of a model's output: along which axes they lie, which belong together, which carry something.

Exporters join values of different meaning into one tensor: boxes in pixels, objectness and class scores. Over
such a tensor as a whole the pixels decide every figure, and scores that are all lost do not show. So errors
are measured channel by channel, and only channels of one kind are added up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Axes = tuple[int, ...]

MOST_CHANNELS = 4096
"""A tensor with more of them along its axes is measured as a whole."""

INFORMATIVE_SHARE = 0.1
"""A channel is informative from this share of the largest change in its kind."""

CONSTANT, SHARES = 0, 1
"""Kinds of channels: those that hold one value, and those within 0 to 1; numbers above are the others."""

_KIND_GAP = 4.0
# Of a run of so many channels or more, small ones are not judged by themselves: features, embeddings, bins.
_MANY, _FEW = 16, 8
# A column of scores is below this share of its largest one in half of the rows, of so many at least.
_SPARSE, _LEAST_ROWS = 0.25, 64
# So many rows, and so many times the columns, are rows for sure.
_LONG, _LONG_SIDES = 512, 4
_SMALL_SIDE = 8
# Rounding of a sigmoid's or a softmax's range.
_ROUNDING = 1e-6


def channel_axes(shape: Sequence[int], input_size: tuple[int, int], *, last: bool = False) -> list[Axes]:
    """Return the axes that may hold the channels; of several candidates the values decide.

    An axis of one element holds nothing. Two neighboring axes of the input's aspect ratio are an image's
    height and width, and all others are channels. A vector's elements are its channels. Of the two axes of a
    table either may be, unless one is so long that it can only be that of the rows.

    Args:
        shape: of the output.
        input_size: height and width of the model's input.
        last: whether channels come last where several pairs of axes look like height and width.

    Returns:
        At least one tuple of axes, the fewest channels first; an empty tuple is a single channel.
    """
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    if len(axes) < 2:
        return _limited(shape, [tuple(axes)])
    pairs = list(zip(axes, axes[1:], strict=False))
    images = [
        pair
        for pair in pairs
        if pair[1] == pair[0] + 1 and _is_image(shape[pair[0]], shape[pair[1]], input_size)
    ]
    if images:
        image = images[0] if last else images[-1]
        return _limited(shape, [tuple(axis for axis in axes if axis not in image)])
    axes.sort(key=lambda axis: shape[axis])
    is_long = len(axes) == 2 and shape[axes[1]] >= max(_LONG, _LONG_SIDES * shape[axes[0]])
    return _limited(shape, [(axis,) for axis in (axes[:1] if is_long else axes)])


def is_table(shape: Sequence[int], input_size: tuple[int, int]) -> bool:
    """Return whether an output is a table of rows and columns, and no image."""
    sides = [size for size in shape if size > 1]
    return len(sides) == 2 and max(sides) >= _LEAST_ROWS and not _is_image(sides[0], sides[1], input_size)


def score_columns(table: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the columns that hold scores of single rows: within 0 to 1, and far from their largest in most.

    Args:
        table: (C, P) columns of a table of P rows.
    """
    peaks = table.max(axis=1)
    is_share = (table.min(axis=1) >= 0.0) & (peaks <= 1.0 + _ROUNDING) & (peaks > 0.0)
    return np.flatnonzero(is_share & (np.median(table, axis=1) <= _SPARSE * peaks))


def _limited(shape: Sequence[int], found: list[Axes]) -> list[Axes]:
    return [axes for axes in found if math.prod(shape[axis] for axis in axes) <= MOST_CHANNELS] or [()]


def _is_image(height: int, width: int, input_size: tuple[int, int]) -> bool:
    high, wide = input_size
    if min(height, width) < _SMALL_SIDE:  # 4 x 5 numbers are hardly a square image whose sides were rounded
        return height * wide == width * high
    return abs(height * wide - width * high) <= max(high, wide)


def spread_of_scales(ranges: NDArray[np.float64]) -> float:
    """Return by how many powers of two the channels' ranges differ, as a standard deviation.

    Along the axis of a table that holds its columns the scales differ (pixels, scores); along that of its
    rows every one has all columns.

    Args:
        ranges: (C,) largest minus smallest value of each channel.
    """
    known = ranges[ranges > 0.0]
    return float(np.log2(known).std()) if known.size > 1 else 0.0


def kinds_of_channels(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (C,) the number of each channel's kind; errors are added up within a kind only.

    Channels whose values are all within 0 to 1 are one kind: probabilities and scores. The others are divided
    where their ranges, sorted, leave a gap of more than a factor of four: pixels, meters, logits; and where
    eight or more fall below INFORMATIVE_SHARE of their kind's largest, since x, y, width and height of boxes
    may lead from pixels to logits without a gap. Channels of one value are a kind of their own.

    Args:
        low: (C,) smallest value of each channel.
        high: (C,) largest one.
    """
    ranges = high - low
    kinds = np.full(len(low), CONSTANT, np.int64)
    is_share = (low >= 0.0) & (high <= 1.0 + _ROUNDING) & (ranges > 0.0)
    kinds[is_share] = SHARES
    others = np.flatnonzero(~is_share & (ranges > 0.0))
    others = others[np.argsort(-ranges[others], kind="stable")]
    kind, largest = SHARES + 1, math.inf
    for place, channel in enumerate(others):
        has_gap = place and ranges[others[place - 1]] > _KIND_GAP * ranges[channel]
        is_far = ranges[channel] < INFORMATIVE_SHARE * largest and len(others) - place >= _FEW
        if has_gap or is_far:
            kind += int(place > 0)
            largest = ranges[channel]
        kinds[channel] = kind
    return kinds


def informative_channels(kinds: NDArray[np.int64], changes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (C,) whether a channel is judged by itself, and not within its kind alone.

    A class that is never seen has scores near zero, and features some channels that are nearly silent: one
    step of eight bits may round such a channel away and change nothing. Where a kind holds few channels each
    has a meaning of its own, and every one that changes is judged.

    Args:
        kinds: of ``kinds_of_channels``.
        changes: (C,) largest change of an element from frame to frame.
    """
    informative = (changes > 0.0) & (kinds != CONSTANT)
    for kind in np.unique(kinds[kinds != CONSTANT]):
        members = kinds == kind
        if kind == SHARES or int(members.sum()) >= _MANY:
            informative &= ~members | (changes >= INFORMATIVE_SHARE * changes[members].max())
    return informative
