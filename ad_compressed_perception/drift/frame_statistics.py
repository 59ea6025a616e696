# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A frame and its result as a few numbers: what drift is measured on. No frame is kept.

Pixels are subsampled, so that the cost hardly depends on the image's size: a thumbnail of at least 96 rows
and 128 columns for brightness and color, and 48 pairs of whole rows for what only neighboring pixels show
(sharpness).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.drift.result_statistics import ResultStatistics
from ad_compressed_perception.image.decode import Frame

ROWS: Final = 6
COLUMNS: Final = 8
"""Cells that an image is divided into."""

FIGURES: Final = (
    *("brightness", "contrast", "white", "black", "bright_share"),
    *("blue_green", "red_green", "color", "warmth", "warmth_near"),
    *("sharpness", "sharpness_near", "upright", "texture", "texture_near", "even_share", "motion"),
)
"""Figures of a whole image; logarithms are of base 2, of values of 0 to 255 plus 1.

brightness: mean logarithm of the luma. contrast: its standard deviation.
white, black: logarithm of the luma that 1 % of the pixels exceed, or stay below.
bright_share: pixels of 250 and more.
blue_green, red_green: logarithm of the ratio of channel means. color: mean of |red - blue| over the mean
luma.
warmth, warmth_near: logarithm of the ratio of pixels whose red is 20 above blue and of those the other way
round; in the lower half.
sharpness: logarithm of the ratio of differences between pixels 1 and 4 apart, which brightness and contrast
cancel out of; sharpness_near: in the lower third.
upright: logarithm of the ratio of differences to the right and downwards: rain streaks raise it, noise does
not.
texture, texture_near: logarithm of differences between pixels 4 apart.
even_share: neighboring pixels that differ by less than 2: low where the sensor is noisy.
motion: logarithm of the mean difference from the frame before; NaN without one.
"""

LATER_FIGURES: Final = (
    *("chroma_grain", "tint_slope", "grain", "falloff", "edge_row", "edge_spread"),
    *("haze", "saturated", "highlights", "shadows"),
)
"""Figures that references of schema adcp-drift/1 have not.

chroma_grain: logarithm of the ratio of the differences of neighboring pixels in blue less green to those in
red less green: of a camera and its encoder, whatever colors a place has.
tint_slope: by how much red less blue grows with luma: shade is bluer than what the sun lights.
grain: logarithm of the differences of neighboring pixels in the patches that have the least: the sensor's
noise.
falloff: logarithm of the luma of the corners less that of the middle.
edge_row, edge_spread: center and standard deviation of the rows that differences of pixels 4 apart are in, as
shares of the height: where a camera looks, and how wide.
haze: by how much the darkest channel of the darkest pixel of a cell is lighter against the cell's mean, in
the middle rows of cells (dark channel: He, Sun and Tang 2011, doi:10.1109/TPAMI.2010.168).
saturated: logarithm of the share of pixels with a channel of 254 and more.
highlights, shadows: logarithm of the luma that 5 % exceed over the median's; of the median's over that which
5 % stay below.
"""

PATCHES: Final = (9, 12)
"""Rows and columns of smaller cells, in which a spot on the lens fills at least one."""

BRIGHTNESS: Final = "cell_brightness"
"""Of each cell, logarithm of the mean luma."""

CHANGE: Final = "patch_change"
"""Of each patch, logarithm of the mean difference from the frame before, less the median of all patches."""

DETAIL: Final = "patch_detail"
"""Of each patch, logarithm of the differences of neighboring pixels, less those of patches to both sides.

A spot on the lens has less detail than what is beside it, whatever is there.
"""

CHANNEL_ROWS: Final = ("blue_row", "green_row", "red_row")
"""Of each row of cells, logarithm of the channel's mean."""

_COLORED = 20
_LEAST_DETAIL = 0.5
_LEAST_PIXELS = 16
_LOG = np.log2(np.arange(256) + 1.0)


@dataclass(frozen=True)
class FrameStatistics:
    """What is kept of one frame and its result.

    Attributes:
        names: of the figures; the same tuple for all frames of a reader.
        values: (len(names),) float32; NaN where a frame gives no such figure.
        size: width, height and channels of the image.
        repeated: whether the image is equal to the one before in every sampled pixel.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    size: tuple[int, int, int]
    repeated: bool = False


@lru_cache(maxsize=2)
def image_names(with_later: bool = True) -> tuple[str, ...]:
    """Return the names of all figures of an image, in order; those that adcp-drift/1 has come first."""
    cells = tuple(f"{BRIGHTNESS}_{row}_{column}" for row in range(ROWS) for column in range(COLUMNS))
    patches = tuple(f"{CHANGE}_{row}_{column}" for row in range(PATCHES[0]) for column in range(PATCHES[1]))
    rows = tuple(f"{name}_{row}" for name in CHANNEL_ROWS for row in range(ROWS))
    first = (*FIGURES, *cells, *patches, *rows)
    if not with_later:
        return first
    details = tuple(f"{DETAIL}_{row}_{column}" for row in range(PATCHES[0]) for column in range(PATCHES[1]))
    return (*first, *LATER_FIGURES, *details)


class StatisticsReader:
    """Computes the statistics of one stream of frames. One thread at a time."""

    def __init__(self, labels: tuple[str, ...] = ()) -> None:
        """Take the model's class names; their figures follow those of the image."""
        self._results = ResultStatistics(labels)
        self._names: tuple[str, ...] = ()
        self._before: NDArray[np.uint8] | None = None

    def compute(self, frame: Frame, result: Result | None) -> FrameStatistics:
        """Return a frame's statistics.

        Args:
            frame: of any color order and depth; not kept.
            result: of the model; None where it gave none: its figures are NaN.
        """
        pixels = frame.pixels
        height, width = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if min(height, width) < _LEAST_PIXELS:
            grown = [(0, max(0, _LEAST_PIXELS - side)) for side in (height, width)]
            pixels = np.pad(pixels, [*grown, (0, 0)][: pixels.ndim], mode="edge")
        small = _in_bgr(pixels[:: max(1, height // 96), :: max(1, width // 128)], frame.color)
        step = max(2, height // 48)
        lines = _green(pixels[:-1:step]), _green(pixels[1::step])
        chroma = _chroma_grain(pixels[: -1 : 2 * step], frame.color)
        before, self._before = self._before, small
        repeated = before is not None and before.shape == small.shape and np.array_equal(before, small)
        image = _image_values(small, lines, before, chroma)
        names, values = self._results.compute(result, width, height)
        if len(self._names) != len(image) + len(values):
            self._names = (*image_names(), *names)
        joined = np.concatenate([image, values]).astype(np.float32)
        return FrameStatistics(self._names, joined, (width, height, channels), repeated)


def _in_bgr(small: NDArray[Any], color: str) -> NDArray[np.uint8]:
    if small.dtype != np.uint8:
        small = (small >> 8).astype(np.uint8)
    if small.ndim == 2:
        return np.repeat(small[:, :, None], 3, axis=2)
    return np.ascontiguousarray(small[:, :, ::-1] if color == "RGB" else small)


def _green(lines: NDArray[Any]) -> NDArray[np.int16]:
    """Return rows of the green channel, which has most of the luma and most of a sensor's pixels."""
    one = lines if lines.ndim == 2 else lines[:, :, 1]
    return (one >> 8 if one.dtype != np.uint8 else one).astype(np.int16)


@lru_cache(maxsize=8)
def _edges(
    rows: int, columns: int, cells: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return first rows and columns of cells, and their numbers of pixels."""
    tops, lefts = np.arange(cells[0]) * rows // cells[0], np.arange(cells[1]) * columns // cells[1]
    counts = np.diff([*tops, rows])[:, None] * np.diff([*lefts, columns])
    return tops, lefts, np.maximum(counts, 1)


def _cells(values: NDArray[Any], cells: tuple[int, int] = (ROWS, COLUMNS)) -> NDArray[np.float64]:
    """Return the mean of each cell of (H, W) values."""
    tops, lefts, counts = _edges(values.shape[0], values.shape[1], cells)
    columns = np.add.reduceat(values, tops, 0, dtype=np.int32)
    return np.add.reduceat(columns, lefts, 1) / counts


def _image_values(
    small: NDArray[np.uint8],
    lines: tuple[NDArray[np.int16], NDArray[np.int16]],
    before: NDArray[np.uint8] | None,
    chroma_grain: float,
) -> NDArray[np.float64]:
    planes = [np.ascontiguousarray(small[:, :, channel]) for channel in range(3)]
    blue, green, red = (one.astype(np.int32) for one in planes)
    # Plane by plane: a reduction over an axis of three takes several times as long.
    least_channel = np.minimum(np.minimum(planes[0], planes[1]), planes[2])
    most_channel = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    luma = (29 * blue + 150 * green + 77 * red) >> 8
    upper, lower = lines
    fine, coarse = np.abs(upper[:, 1:] - upper[:, :-1]), np.abs(upper[:, 4:] - upper[:, :-4])
    down = np.abs(lower - upper[: len(lower)])
    colors = [_cells(one) for one in (blue, green, red)]
    cells = [_cells(one) for one in (luma, fine, coarse)]
    near = ROWS * 2 // 3
    fine_log, coarse_log, fine_near, coarse_near, down_log = np.log2(
        np.array([*(one[rows:].mean() for rows in (0, near) for one in cells[1:]), down.mean()]) + 0.05
    )
    blue_mean, green_mean, red_mean = (float(one.mean()) + 1.0 for one in colors)
    changes = np.full(PATCHES, np.nan)
    if before is not None and before.shape == small.shape:
        changes = _cells(np.abs(green - before[:, :, 1]), PATCHES)
    warm, bright = red - blue, np.log2(cells[0] + 1.0)
    figures = (
        *_tones(luma),
        *(np.log2(blue_mean / green_mean), np.log2(red_mean / green_mean)),
        float(np.abs(warm).mean()) / float(cells[0].mean() + 1.0),
        *(_warmth(warm), _warmth(warm[len(warm) // 2 :])),
        *(fine_log - coarse_log, fine_near - coarse_near, fine_log - down_log, coarse_log, coarse_near),
        *(
            float(np.count_nonzero(fine < 2)) / max(fine.size, 1),
            np.log2(float(changes.mean()) + 0.05),
        ),
    )
    moved = np.log2(changes + 0.05)
    fine_cells = _cells(fine, PATCHES)
    maps = [bright.ravel(), (moved - np.median(moved)).ravel()]
    rows = [np.log2(one.mean(axis=1) + 1.0) for one in colors]
    least = float(
        np.log2(np.partition(fine_cells.ravel(), fine_cells.size // 10)[fine_cells.size // 10] + 0.05)
    )
    later = (
        *(chroma_grain, _slope(warm, luma), least, _falloff(bright), *_edge_rows(coarse)),
        *(_haze(least_channel, bright), float(np.log2((most_channel >= 254).mean() + 0.003)), *_ranges(luma)),
    )
    # Differences below half a gray level are no detail: a saturated sky has as little as a spot on the lens.
    seen = np.log2(fine_cells + _LEAST_DETAIL)
    return np.concatenate(
        [np.array(figures), *maps, *rows, np.array(later), (seen - seen @ _beside(PATCHES[1])).ravel()]
    )


@lru_cache(maxsize=1)
def _beside(columns: int) -> NDArray[np.float64]:
    """Return what takes rows to the means of the patches 2 and 3 to both sides, (columns, columns)."""
    apart = np.abs(np.arange(columns)[:, None] - np.arange(columns))
    near = ((apart == 2) | (apart == 3)).astype(np.float64)
    return near / near.sum(axis=0)


def _haze(least_channel: NDArray[np.uint8], bright: NDArray[np.float64]) -> float:
    tops, lefts, _ = _edges(*least_channel.shape, (ROWS, COLUMNS))
    least = np.minimum.reduceat(np.minimum.reduceat(least_channel, tops, 0), lefts, 1)
    middle = slice(ROWS // 2 - 1, ROWS // 2 + 1)
    return float((np.log2(least[middle] + 1.0) - bright[middle]).mean())


def _ranges(luma: NDArray[np.int32]) -> tuple[float, float]:
    low, middle, high = (
        _LOG[min(int(one), 255)] for one in np.quantile(luma[::2, ::2], (0.05, 0.5, 0.95), method="nearest")
    )
    return float(high - middle), float(middle - low)


def _chroma_grain(rows: NDArray[Any], color: str) -> float:
    """Return chroma_grain of (R, W, 3) rows; 0 for gray ones."""
    if rows.ndim == 2:
        return 0.0
    channels = (rows >> 8 if rows.dtype != np.uint8 else rows).astype(np.int16)
    fine = [
        float(np.abs(np.diff(channels[:, :, one] - channels[:, :, 1], axis=1)).mean()) + 0.05
        for one in ((2, 0) if color == "RGB" else (0, 2))
    ]
    return float(np.log2(fine[0] / fine[1]))


def _slope(values: NDArray[np.int32], by: NDArray[np.int32]) -> float:
    """Return the slope of a least-squares line through every second row and column."""
    few, offset = values[::2, ::2], by[::2, ::2] - int(by.mean())
    # No matrix product: its library wakes threads for as many values.
    return float((offset * few).sum() - offset.sum() * few.mean()) / float((offset * offset).sum() + few.size)


def _falloff(bright: NDArray[np.float64]) -> float:
    corners = bright[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    return float(corners - bright[ROWS // 2 - 1 : ROWS // 2 + 1, COLUMNS // 2 - 1 : COLUMNS // 2 + 1].mean())


def _edge_rows(coarse: NDArray[np.int16]) -> tuple[float, float]:
    weights = coarse.mean(axis=1) + 0.05
    weights /= weights.sum()
    heights = (np.arange(len(weights)) + 0.5) / len(weights)
    center = float(weights @ heights)
    return center, float(np.sqrt(weights @ (heights - center) ** 2))


def _warmth(warm: NDArray[np.int32]) -> float:
    counts = [float(np.count_nonzero(one)) + 0.001 * warm.size for one in (warm > _COLORED, warm < -_COLORED)]
    return float(np.log2(counts[0] / counts[1]))


def _tones(luma: NDArray[np.int32]) -> tuple[float, ...]:
    """Return brightness, contrast, white, black and bright_share."""
    shares = np.bincount(luma.ravel(), minlength=256)[:256] / luma.size
    below = np.cumsum(shares)
    brightness = float(shares @ _LOG)
    contrast = float(np.sqrt(max(shares @ _LOG**2 - brightness**2, 0.0)))
    white, black = (float(_LOG[min(np.searchsorted(below, share), 255)]) for share in (0.99, 0.01))
    return brightness, contrast, white, black, float(1.0 - below[249])
