# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a drift reference from the statistics of a recording; on the development host."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pydantic import ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.drift.figures import (
    ALARMS,
    IMAGE,
    RESULTS,
    Array,
    Columns,
    WindowFigures,
)
from ad_compressed_perception.drift.frame_statistics import FrameStatistics, image_names
from ad_compressed_perception.drift.reference import (
    MAX_REPEAT_S,
    ROOT,
    DriftReference,
    DriveSpread,
    GumbelTail,
    SignedSpread,
    WindowTails,
    block_s,
    upper,
)
from ad_compressed_perception.drift.windows import BIN_S, Bins

MIN_DURATION_S: Final = 60.0
WINDOWS_S: Final = (2.0, 8.0, 20.0)
"""Short windows show large changes soon, long ones small changes."""
_SPREAD_S: Final = 4.0
"""Window whose means give center, spread and covariance."""
_PART_S: Final = 30.0
"""Length of the parts that are left out, where drives are as long."""
_LEAST_PARTS: Final = 6
_FOLDS: Final = 20
_MIN_FOLDS: Final = 4
_CLASSES: Final = 3
_LEAST_SPREAD: Final = 0.02
_LEAST_DETAIL_SPREAD: Final = 0.13
_WIDE: Final = ("warmth", "warmth_near")
_WIDE_SPREAD: Final = 0.3
"""Logarithms of small counts, which have a wide range."""
_LEAST_SHARE: Final = 0.02
"""Least spread of a figure of results, as a share of its mean: constant ones are compared too."""
_ROUNDING: Final = 1e-6
_SHRUNK: Final = 0.3
_PRIOR_DEGREES: Final = 20
"""Weight of the spread of all figures beside a figure's own, in degrees of freedom."""
_RESULT_DEGREES: Final = 5
"""The same for figures of results: traffic differs from drive to drive in a way of its own."""
_IQR: Final = math.log(math.log(4.0) / math.log(4.0 / 3.0))
"""Interquartile range of the standard Gumbel distribution."""
_MIN_KNOWN: Final = 0.5


class ReferenceBuilder:
    """Collects the statistics of one camera, in the order of their stamps; of several drives as well."""

    def __init__(self, model_sha256: str, camera: str = "", labels: tuple[str, ...] = ()) -> None:
        """Name what is recorded: the model file that gives the results, the camera, the class names."""
        self._model_sha256, self._camera, self._labels = model_sha256, camera, labels
        self._runs: list[Bins] = []
        self._stamps: list[float] = []
        self._longest_repeat_s = 0.0
        self._changed_s = 0.0
        self._last: FrameStatistics | None = None

    def add(self, statistics: FrameStatistics, stamp_s: float) -> None:
        """Add a frame.

        Raises:
            DataError: it is of another size than the frames before.
        """
        if self._last is not None and statistics.size != self._last.size:
            raise DataError(
                f"frames of {_size(self._last)} and {_size(statistics)}: a drift reference is of one camera"
            )
        is_new = not self._stamps or not 0.0 <= stamp_s - self._stamps[-1] <= 2 * BIN_S
        if is_new or (self._last is not None and len(statistics.names) != len(self._last.names)):
            self._runs.append(Bins(None))
        if is_new or not statistics.repeated:
            self._changed_s = stamp_s
        self._longest_repeat_s = max(self._longest_repeat_s, stamp_s - self._changed_s)
        self._last = statistics
        self._stamps.append(stamp_s)
        self._runs[-1].add(statistics.values, stamp_s)

    def build(self) -> DriftReference:
        """Return the reference.

        Raises:
            DataError: fewer than MIN_DURATION_S seconds of frames were added, the image stood still, or the
                results never changed: what is broken would be usual for good.
        """
        runs = [run.all_means() for run in self._runs]
        names = self._last.names if self._last is not None else ()
        runs = [run for run in runs if len(run) * BIN_S >= _SPREAD_S and run.shape[1] == len(names)]
        duration_s = sum(len(run) for run in runs) * BIN_S
        if duration_s < MIN_DURATION_S or self._last is None:
            raise DataError(
                f"{duration_s:.0f} s of consecutive frames: a drift reference needs {MIN_DURATION_S:.0f} s"
            )
        if self._longest_repeat_s > MAX_REPEAT_S:
            raise DataError(
                f"the same image for {self._longest_repeat_s:.0f} s: a drift reference needs images that "
                f"change (at most {MAX_REPEAT_S:.0f} s)"
            )
        means = np.concatenate(runs)
        compared = _compared(names, means)
        results = means[:, [names.index(name) for name in compared]]
        if compared and (np.nanstd(results, axis=0) <= _ROUNDING * np.abs(np.nanmean(results, axis=0))).all():
            raise DataError(
                "results are the same in all frames: learn from a drive in which the model has something to "
                "answer, and check that it works"
            )
        columns = Columns.of(names, compared)
        parts = list(_parts(runs))
        is_predicted = _is_predicted(columns, parts)
        center, spread, covariance = _fit(columns, [part for _, part in parts], is_predicted)
        scales = _unexplained(columns, parts, is_predicted)
        drive_s = duration_s / len({fold for fold, _ in parts})
        maxima = _maxima(columns, parts, is_predicted, scales)
        by_length = {one: each.by_name for one, each in maxima.items()}
        steps_s = np.diff(self._stamps)
        try:
            return DriftReference(
                model_sha256=self._model_sha256,
                camera=self._camera[:256],
                **dict(zip(("width", "height", "channels"), self._last.size, strict=True)),
                labels=list(self._labels[:100]),
                frames=len(self._stamps),
                duration_s=round(duration_s, 3),
                period_s=round(float(np.median(steps_s[steps_s > 0.0])), 6),
                correlation_s=round(float(np.mean([_correlation_s(run[:, 0]) for run in runs])), 3),
                longest_repeat_s=round(self._longest_repeat_s, 3),
                names=list(names),
                compared=list(compared),
                center=_rounded(center),
                spread=_rounded(spread),
                covariance=_rounded(upper(covariance)),
                unexplained=_rounded(scales),
                windows=[
                    WindowTails(
                        window_s=one, tails=by_name, signed=_signed_spread(maxima[one].signed, drive_s)
                    )
                    for one, by_name in tails(by_length, drive_s, len(runs) >= _MIN_FOLDS).items()
                ],
            )
        except ValidationError as error:  # what no node would take is not stored
            raise DataError(
                f"no drift reference of these frames: {describe_validation_error(error)}"
            ) from error


def _size(statistics: FrameStatistics) -> str:
    return "{}x{} with {} channels".format(*statistics.size)


def _rounded(values: Array) -> list[float]:
    return [float(f"{one:.5g}") for one in values]


def _compared(names: tuple[str, ...], means: Array) -> tuple[str, ...]:
    """Return the figures of results that are compared: those mostly known.

    Counts of a detector's classes are recorded only: a class that is rarely seen has no usual count.
    """
    found = []
    for index in range(len(image_names()), len(names)):
        known = np.isfinite(means[:, index])
        is_count = names[index].startswith("class ") and "objects" in names
        if known.mean() >= _MIN_KNOWN and not is_count:
            found.append(index)
    spread = {index: float(np.nanstd(means[:, index])) for index in found}
    classes = sorted((one for one in found if names[one].startswith("class ")), key=lambda one: -spread[one])
    dropped = {*classes[_CLASSES:], *(one for one in found if names[one] == "object_height")}
    return tuple(names[index] for index in found if index not in dropped)


def _slide(bins: Array, window_s: float) -> Array:
    """Return the means of all windows in consecutive bins, (windows, N)."""
    count = round(window_s / BIN_S)
    windows = np.lib.stride_tricks.sliding_window_view(bins, count, axis=0)
    known = np.isfinite(windows)
    total = np.where(known, windows, 0.0).sum(axis=-1)
    return np.asarray(np.where(known.any(axis=-1), total / np.maximum(known.sum(axis=-1), 1), np.nan))


def _parts(runs: list[Array]) -> Iterator[tuple[int, Array]]:
    """Yield consecutive bins with the number of the fold that they are left out with.

    Where there are several drives each is left out as a whole: parts of one drive resemble each other.
    """
    part_s = min(_PART_S, sum(len(run) for run in runs) * BIN_S / _LEAST_PARTS)
    parts = [
        (number, part)
        for number, run in enumerate(runs)
        for part in np.array_split(run, max(1, round(len(run) * BIN_S / part_s)))
    ]
    by_drive = len(runs) >= _MIN_FOLDS
    units = len(runs) if by_drive else len(parts)
    folds = min(_FOLDS, units)
    for index, (number, part) in enumerate(parts):
        yield (number if by_drive else index) * folds // units, part


def _fits(parts: list[tuple[int, Array]], window_s: float) -> bool:
    """Return whether parts are long enough to try windows of this length on, in enough folds."""
    longer = {fold for fold, part in parts if len(part) * BIN_S >= window_s + BIN_S}
    return window_s == WINDOWS_S[0] or len(longer) >= _MIN_FOLDS


def _fit(columns: Columns, parts: list[Array], is_predicted: bool = True) -> tuple[Array, Array, Array]:
    """Return center and spread of all values, and the covariance of the joint vector of window means.

    Without ``is_predicted`` images and results are taken for independent.
    """
    windows = np.concatenate([_slide(part, _SPREAD_S) for part in parts])
    known = np.isfinite(windows)
    counts = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, windows, 0.0).sum(axis=0) / counts
    filled = np.where(known, windows, center)
    spread = np.sqrt(((filled - center) ** 2).sum(axis=0) / counts)
    covariance = np.cov(columns.joint(filled).T)
    variances = np.diag(covariance)
    # Figures of images are logarithms and shares; those of results have any unit.
    images = np.arange(len(covariance)) < len(columns.joint_names)
    floor = np.where(images, _LEAST_SPREAD, _LEAST_SHARE * (np.abs(columns.joint(center)) + 0.01)) ** 2
    floor[[IMAGE.index(name) for name in _WIDE]] = _WIDE_SPREAD**2
    least = np.diag(variances + floor)
    if not is_predicted:
        covariance = np.where(images[:, None] == images, covariance, 0.0)
    is_image = np.arange(len(spread)) < len(image_names())
    spread += np.where(is_image, _LEAST_SPREAD, _LEAST_SHARE * (np.abs(center) + 0.01))
    spread[columns.details] += _LEAST_DETAIL_SPREAD
    # Shrunk towards independent figures: few windows are independent (Ledoit and Wolf 2004, section 2).
    return (
        center,
        spread,
        (1.0 - _SHRUNK) * covariance + _SHRUNK * least + np.diag(np.where(images, 0.0, floor)),
    )


def _left_out(
    columns: Columns, parts: list[tuple[int, Array]], is_predicted: bool, scales: Array | None = None
) -> Iterator[tuple[WindowFigures, list[Array]]]:
    """Yield, fold by fold, the figures by what the other folds say, and the parts of the fold."""
    for fold in sorted({one for one, _ in parts}):
        fitted = _fit(columns, [part for one, part in parts if one != fold], is_predicted)
        yield WindowFigures(columns, *fitted, scales), [part for one, part in parts if one == fold]


def _is_predicted(columns: Columns, parts: list[tuple[int, Array]]) -> bool:
    """Return whether images say what results are to be expected, in parts that are left out.

    Many objects look like many objects; but few drives may say that many trees do.
    """
    given, sums = len(columns.joint_names), {True: 0.0, False: 0.0}
    for fold in sorted({one for one, _ in parts}):
        others = [part for one, part in parts if one != fold]
        for is_predicted in sums:
            center, _, covariance = _fit(columns, others, is_predicted)
            regression = np.linalg.solve(covariance[:given, :given], covariance[:given, given:])
            for part in (part for one, part in parts if one == fold and len(part) * BIN_S >= _SPREAD_S):
                offset = columns.joint(_slide(part, _SPREAD_S)) - columns.joint(center)
                rest = (offset[:, given:] - offset[:, :given] @ regression) ** 2
                sums[is_predicted] += float(np.nansum(rest / np.diag(covariance)[given:]))
    return sums[True] <= sums[False]


def _unexplained(columns: Columns, parts: list[tuple[int, Array]], is_predicted: bool) -> Array:
    """Return the usual size of each image figure's unexplained part, in parts that are left out."""
    found = [
        figures.unexplained(_slide(part, _SPREAD_S))
        for figures, left_out in _left_out(columns, parts, is_predicted)
        for part in left_out
        if len(part) * BIN_S >= _SPREAD_S
    ]
    return np.asarray(np.maximum(np.sqrt((np.concatenate(found) ** 2).mean(axis=0)), 1.0))


@dataclass
class Maxima:
    """The largest values of one figure of windows of one length, in parts that were left out.

    Attributes:
        blocks: of each block.
        drives: of each drive.
    """

    blocks: list[float] = field(default_factory=list)
    drives: list[float] = field(default_factory=list)


@dataclass
class WindowMaxima:
    """Those of all figures.

    Attributes:
        by_name: of figures of ALARMS.
        signed: of each drive, of what images' figures have unexplained, upwards and downwards.
    """

    by_name: dict[str, Maxima] = field(default_factory=dict)
    signed: list[Array] = field(default_factory=list)

    def add_drive(self, figures: WindowFigures, windows: list[Array], block: int) -> None:
        """Add the windows of the parts of a drive that was left out; ``block``: windows of a block."""
        largest: dict[str, float] = {}
        for means in windows:
            for name, values in figures.compute(means).items():
                starts = range(0, max(1, len(values) - block // 2), block)
                one = self.by_name.setdefault(name, Maxima())
                one.blocks.extend(float(values[at : at + block].max()) for at in starts)
                largest[name] = max(float(values.max()), largest.get(name, 0.0))
        for name, value in largest.items():
            self.by_name[name].drives.append(value)
        if windows:
            self.signed.append(figures.signed(np.concatenate(windows)).max(axis=0))


def _maxima(
    columns: Columns, parts: list[tuple[int, Array]], is_predicted: bool, scales: Array
) -> dict[float, WindowMaxima]:
    """Return by length of windows what parts are like, compared with those of the other folds."""
    found = {one: WindowMaxima() for one in WINDOWS_S if _fits(parts, one)}
    for figures, left_out in _left_out(columns, parts, is_predicted, scales):
        for window_s, maxima in found.items():
            windows = [_slide(part, window_s) for part in left_out if len(part) * BIN_S >= window_s]
            maxima.add_drive(figures, windows, round(block_s(window_s) / BIN_S))
    for maxima in found.values():
        maxima.by_name = {name: one for name, one in maxima.by_name.items() if name in ALARMS}
    return found


def _signed_spread(signed_maxima: list[Array], drive_s: float) -> SignedSpread:
    """Return how drives differ in what images' figures have unexplained."""
    values = np.maximum(np.array(signed_maxima), 1.0) ** ROOT
    mean, variance, own = values.mean(axis=0), values.var(axis=0, ddof=1), len(values) - 1
    usual = float((variance / mean**2).mean())
    degrees = own + _PRIOR_DEGREES
    spread = np.sqrt((own * variance + _PRIOR_DEGREES * usual * mean**2) / degrees)
    return SignedSpread(
        drives=len(values), degrees=degrees, drive_s=drive_s, mean=_rounded(mean), spread=_rounded(spread)
    )


def tails(
    maxima: Mapping[float, Mapping[str, Maxima]], drive_s: float, are_drives: bool
) -> dict[float, dict[str, GumbelTail]]:
    """Return what the thresholds follow from, see reference.py.

    Args:
        maxima: by length of windows and figure.
        drive_s: mean length of a drive.
        are_drives: whether the drives are several, and not parts of one.
    """
    every = [one for by_name in maxima.values() for one in by_name.values()]
    enough = [one.drives for one in every if len(one.drives) >= _MIN_FOLDS] if are_drives else []
    shares = [float(np.std(one, ddof=1) / np.mean(one)) for one in map(_root, enough)]
    usual = math.sqrt(float(np.mean(np.square(shares)))) if shares else 0.0
    found: dict[float, dict[str, GumbelTail]] = {}
    for window_s, by_name in maxima.items():
        found[window_s] = {}
        for name, one in by_name.items():
            prior = _RESULT_DEGREES if name in RESULTS else _PRIOR_DEGREES
            spread = _spread(one.drives, drive_s, usual, prior) if one.drives in enough else None
            tail = gumbel(np.array(one.blocks))
            found[window_s][name] = tail.model_copy(update={"between": spread})
    return found


def _root(largest: list[float]) -> Array:
    """Return values that are about normal; below 1 standard deviation figures say nothing."""
    return np.maximum(largest, 1.0) ** ROOT


def _spread(largest: list[float], drive_s: float, usual: float, prior: int) -> DriveSpread:
    """Return how drives differ.

    Args:
        largest: of each drive.
        drive_s: mean length of a drive.
        usual: standard deviation of all figures, relative to their means.
        prior: degrees of freedom that it counts for.
    """
    values = _root(largest)
    mean, own = float(values.mean()), len(values) - 1
    degrees = own + prior
    variance = (own * float(values.var(ddof=1)) + prior * (usual * mean) ** 2) / degrees
    found = {"drive_s": drive_s, "mean": mean, "spread": math.sqrt(variance)}
    rounded = {key: float(f"{one:.5g}") for key, one in found.items()}
    return DriveSpread(drives=len(largest), degrees=degrees, **rounded)


def gumbel(maxima: Array) -> GumbelTail:
    """Fit a Gumbel distribution to the squares of block maxima, by their quartiles.

    The mean of a window of many frames is about normal: squares of its distances have an exponential tail,
    as the distribution supposes. The scale is enlarged by one standard error of an interquartile range (1.36
    / sqrt(n) of the scale, for the exponential tail): few blocks give a higher threshold. The largest value
    is kept beside the fit: no threshold is below it.
    """
    squares = np.maximum(maxima, 0.0) ** 2
    low, middle, high = np.quantile(squares, (0.25, 0.5, 0.75))
    scale = max(float(high - low) / _IQR * (1.0 + 1.36 / np.sqrt(len(squares))), 1e-3)
    location = float(middle) + scale * math.log(math.log(2.0))
    largest = float(np.sqrt(squares.max()))
    return GumbelTail(
        **{
            name: float(f"{one:.5g}")
            for name, one in (("location", location), ("scale", scale), ("largest", largest))
        }
    )


def _correlation_s(values: Array) -> float:
    """Return the integral of the autocorrelation up to its first zero, seconds."""
    offset = values - values.mean()
    full = np.correlate(offset, offset, "full")[len(offset) - 1 :]
    share = full / max(float(full[0]), 1e-12)
    end = int(np.argmax(share <= 0.0)) or len(share)
    return float((2.0 * share[:end].sum() - 1.0) * BIN_S)
