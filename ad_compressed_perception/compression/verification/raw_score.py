# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of outputs that nothing decodes: the share of what the images change in them that is kept.

Gated is the noise to signal of the worst part: a kind of channels of an output, elements that are whole
numbers, or a table of rows. Each informative channel has a limit of its own beside it. The strict figure is
the share over the worst channel. See ``metrics/output_noise.py`` and ``metrics/output_channels.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.verification.informative import (
    MIN_PIXELS,
    MIN_SHARE,
    BaselineInformation,
)
from ad_compressed_perception.compression.verification.output_figures import OutputFigures
from ad_compressed_perception.compression.verification.raw_rows import MOST_VALUES, RowTable, find_tables
from ad_compressed_perception.compression.verification.row_weights import RowWeights
from ad_compressed_perception.compression.verification.scores import (
    AgreementFigures,
    AgreementScore,
    Indices,
    PartDrop,
    find_lost,
)
from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import RawOutputs
from ad_compressed_perception.metrics.output_channels import (
    channel_axes,
    informative_channels,
    kinds_of_channels,
)
from ad_compressed_perception.metrics.output_noise import (
    OutputNoise,
    cosine,
    decibels,
    frames_of_signal,
    noise_share,
)
from ad_compressed_perception.metrics.share_interval import clopper_pearson, share_intervals
from ad_compressed_perception.onnx_graph.image_free import outputs_without_input
from ad_compressed_perception.onnx_graph.io import read_model

_SHOWN_CHANNELS = 32
# A channel whose changes lie on fewer frames is judged within its kind only.
_MIN_FRAMES = 10
# Of so few whole numbers a frame, each frame that agrees is one event.
_FEW_NUMBERS = 64
_MEASURE = "share of the outputs' changes that is kept (worst part)"
_CHANNEL = "R^2 of channel {!r}"


@dataclass(frozen=True)
class Part:
    """Noise and signal of one part of an output.

    Attributes:
        output: its name.
        name: of the part.
        noise: (N,) of each frame.
        signal: likewise.
        trials: independent events, where a noise of 0 says only that none was seen; 0 elsewhere.
    """

    output: str
    name: str
    noise: NDArray[np.float64]
    signal: NDArray[np.float64]
    trials: int = 0


class RawScore(AgreementScore):
    """Share of what the images change in the outputs that the variant keeps, of the worst part."""

    difference_unit = "largest relative error of an output (L2 norm)"

    def __init__(self, manifest: Manifest) -> None:
        """Compare the outputs of a manifest of task raw."""
        super().__init__(BaselineInformation())
        self._manifest = manifest
        self._numbers: frozenset[str] = frozenset(manifest.output.options.get("numbers") or ())
        self._weights = RowWeights(manifest)
        self._free: frozenset[str] | None = None
        self._noise: dict[str, OutputNoise] = {}
        self._whole: dict[str, OutputNoise] = {}
        self._kept: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64] | None]]] = {}
        self._varying: set[str] = set()
        self._shapes: dict[str, tuple[int, ...]] = {}

    def _add(self, baseline: RawOutputs, variant: RawOutputs | None) -> float:
        difference = 0.0
        pairs: dict[str, tuple[NDArray[Any], NDArray[Any] | None]] = {}
        for name, b in baseline.outputs.items():
            v = None if variant is None else variant.outputs.get(name)
            if variant is not None and v is None:
                raise DataError(f"the variant lacks output {name!r}; it has {', '.join(variant.outputs)}")
            self._keep(name, b, v)
            if name not in self._varying:
                self._start(name, b)
                pairs[name] = (b, v)
                difference = max(difference, _relative_error(b, v))
        weights = self._weights.of_frame(self._noise, pairs)
        for name, (b, v) in pairs.items():
            if name in self._noise:
                self._noise[name].add(b, v, weights.get(name))
            if name in self._whole:
                self._whole[name].add(b, v)
        return difference

    def _keep(self, name: str, b: NDArray[Any], v: NDArray[Any] | None) -> None:
        """Note an output whose shape varies, and keep small ones, which may be tables of rows."""
        shape = self._shapes.setdefault(name, b.shape)
        kept = self._kept.setdefault(name, [])
        if b.shape != shape or (v is not None and v.shape != b.shape):
            if len(kept) < len(self.differences) or max(b.size, 0 if v is None else v.size) > MOST_VALUES:
                other = b.shape if v is None else v.shape
                raise DataError(
                    f"output {name!r} is {list(shape)} and {list(other)}: outputs that nothing decodes are "
                    "compared element by element; leave out passes that change the input's or output's size"
                )
            self._varying.add(name)
        if b.size <= MOST_VALUES and len(kept) == len(self.differences):
            kept.append((np.asarray(b, np.float64), None if v is None else np.asarray(v, np.float64)))

    def _start(self, name: str, b: NDArray[Any]) -> None:
        """Decide how an output is compared: as numbers, or as whole numbers that are equal or not."""
        is_integer = np.issubdtype(b.dtype, np.integer) or b.dtype == np.bool_
        if not self.differences:
            spec = self._manifest.input
            axes = channel_axes(b.shape, (spec.height, spec.width), last=spec.layout == "NHWC")
            if not is_integer or name in self._numbers:
                self._noise[name] = OutputNoise(b, axes, is_whole=False)
            if name not in self._numbers:
                self._whole[name] = OutputNoise(b, axes, is_whole=True)
        # Ids may come as floating-point numbers; one that is no whole number shows that they are none.
        if name in self._whole and not is_integer and not np.array_equal(b, np.rint(b)):
            del self._whole[name]

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the share of the worst part with its interval; parts are those of all frames."""
        tables = find_tables(self._kept, self._varying)
        in_tables = {name for table in tables for name in table.names}
        measured = {
            name: self._whole.get(name) or self._noise[name]
            for name in self._shapes
            if name not in in_tables and name not in self._varying
        }
        parts = [part for name, one in measured.items() for part in _kinds(name, one)]
        parts += [
            Part(table.name, table.name, table.lost[:, 0], table.lost[:, 1], len(frames))
            for table in tables
            if table.changes
        ]
        drops = _drops(parts, frames)
        channels = [part for name, one in measured.items() for part in _channels(name, one)]
        outputs = [
            self._describe(name, one, parts, drops, sum(part.output == name for part in channels))
            for name, one in measured.items()
        ]
        outputs += [_describe_table(table, parts, drops) for table in tables]
        worst = _worst(drops)
        rare = [one for name, each in measured.items() for one in _rare(name, each, frames)]
        lost = _drops(channels, frames)
        flags = self._information.flags()[frames]
        is_known = bool(flags.any()) and worst is not None
        drop, low, high = (
            (worst.drop, worst.low, worst.high) if is_known and worst is not None else (math.nan,) * 3
        )
        return AgreementFigures(
            _MEASURE,
            1.0 - drop,
            drop,
            low,
            high,
            len(frames),
            int(flags.sum()),
            failed,
            {} if worst is None else {"worst_part": worst.name},
            "the same, of the worst channel",
            1.0 - max((one.drop for one in lost), default=math.nan),
            labels=tuple(sorted(lost, key=lambda one: -one.drop)[:_SHOWN_CHANNELS]) if is_known else (),
            label_text=_CHANNEL,
            outputs=tuple(outputs),
            lost=(
                *(
                    one
                    for each in tables
                    for one in find_lost(each.ids, each.shown[frames], each.kept[frames])
                ),
                *(one for one in rare if one.drop >= 1.0),
            ),
            rare=tuple(one for one in rare if one.drop < 1.0),
        )

    def _describe(
        self, name: str, one: OutputNoise, parts: list[Part], drops: list[PartDrop], judged: int
    ) -> OutputFigures:
        own = [drop for part, drop in zip(parts, drops, strict=True) if part.output == name]
        worst = _worst(own) or PartDrop("", math.nan, math.nan, math.nan, 0)
        totals, ranges = np.array(one.totals), one.ranges()
        span = float(ranges.high.max(initial=-math.inf) - ranges.low.min(initial=math.inf))
        largest = float(max(abs(ranges.high).max(initial=0.0), abs(ranges.low).max(initial=0.0)))
        is_constant = not bool((ranges.change > 0.0).any())
        shared: dict[str, Any] = {
            "shape": str(list(one.shape)),
            "channels": len(ranges.low),
            "drop": worst.drop,
            "low": worst.low,
            "high": worst.high,
            "worst": worst.name if len(own) > 1 else "",
            "is_constant": is_constant,
            "is_image_free": is_constant and name in self._image_free(),
        }
        if one.is_whole:
            size = max(1, math.prod(one.shape)) * len(totals)
            differing = float(totals[:, 4].sum()) / size
            return OutputFigures(
                name, "whole numbers", judged_channels=0, equal_share=1.0 - differing,
                constant_error=differing, **shared,
            )  # fmt: skip
        noise, signal = one.sums().sum(axis=(0, 2))
        error = float(totals[:, 3].max())
        return OutputFigures(
            name,
            "numbers",
            judged_channels=judged,
            sqnr_db=decibels(noise / signal) if signal > 0.0 else math.nan,
            cosine=cosine(totals.sum(axis=0)),
            largest_error=error / span if span > 0.0 else math.nan,
            constant_error=error / largest if largest > 0.0 else (math.inf if error > 0.0 else 0.0),
            **shared,
        )

    def _image_free(self) -> frozenset[str]:
        """Return the outputs that do not depend on the image in the baseline's graph; none if unknown."""
        if self._free is None:
            path = self._manifest.variant_path(self._manifest.baseline)
            try:
                self._free = outputs_without_input(read_model(path))
            except AdcpError:
                self._free = frozenset()
        return self._free


def _kinds(name: str, one: OutputNoise) -> Iterator[Part]:
    """Yield the kinds of an output's channels that change."""
    ranges, sums = one.ranges(), one.sums()
    if not (ranges.change > 0.0).any():
        return
    if one.is_whole:
        few = math.prod(one.shape) < _FEW_NUMBERS
        yield Part(name, name, sums[:, 0, 0], sums[:, 1, 0], trials=len(sums) if few else 0)
        return
    kinds = kinds_of_channels(ranges.low, ranges.high)
    for kind in np.unique(kinds[ranges.change > 0.0]):
        members = np.flatnonzero(kinds == kind)
        label = name if len(members) == len(kinds) else f"{name}{_places(one, members)}"
        yield Part(name, label, *sums[:, :, members].sum(axis=2).T)
    yield from _static(name, one, kinds)


def _static(name: str, one: OutputNoise, kinds: NDArray[np.int64]) -> Iterator[Part]:
    """Yield the worst of the channels that never change, where the variant's differ from them.

    They have no signal of their own: their noise is measured by the changes of a channel of the weakest kind.
    """
    errors, ranges, sums = one.static_errors(), one.ranges(), one.sums()
    if not errors.any():
        return
    changing = ranges.change > 0.0
    signals = [sums[:, 1, changing & (kinds == kind)].mean(axis=1) for kind in np.unique(kinds[changing])]
    worst = int(np.argmax(errors))
    label = f"{name}{one.channel_name(worst)}, the same on all frames"
    yield Part(name, label, sums[:, 0, worst], min(signals, key=lambda each: float(each.sum())))


def _channels(name: str, one: OutputNoise) -> Iterator[Part]:
    """Yield the channels that are judged by themselves."""
    if one.is_whole:
        yield from _ids(name, one)
        return
    ranges, sums = one.ranges(), one.sums()
    judged = informative_channels(kinds_of_channels(ranges.low, ranges.high), ranges.change)
    least = min(_MIN_FRAMES, -(-len(sums) // 2))
    for channel in np.flatnonzero(judged):
        noise, signal = sums[:, :, channel].T
        if len(ranges.low) > 1 and frames_of_signal(signal) >= least:
            yield Part(name, f"{name}{one.channel_name(int(channel))}", noise, signal)


def _rare(name: str, one: OutputNoise, frames: Indices) -> Iterator[PartDrop]:
    """Yield the informative channels whose changes lie on too few frames: their drop, and on how many."""
    if one.is_whole:
        return
    ranges, sums = one.ranges(), one.sums()[frames]
    judged = informative_channels(kinds_of_channels(ranges.low, ranges.high), ranges.change)
    least = min(_MIN_FRAMES, -(-len(sums) // 2))
    for channel in np.flatnonzero(judged) if len(ranges.low) > 1 else ():
        noise, signal = sums[:, :, channel].T
        count = frames_of_signal(signal)
        if 0.0 < count < least:
            drop = float(noise_share(noise.sum(), signal.sum()))
            yield PartDrop(f"{name}{one.channel_name(int(channel))}", drop, drop, drop, max(1, round(count)))


def _ids(name: str, one: OutputNoise) -> Iterator[Part]:
    """Yield the ids that are judged by themselves: by the Dice coefficient of their elements.

    Those with area, as of a segmenter's labels, and those of which nothing is left.
    """
    size = math.prod(one.shape)
    table = one.ids.table()
    if size < _FEW_NUMBERS or not len(table):
        return
    both, baseline, variant = table.transpose(1, 0, 2)
    has_area = (baseline >= max(1.0, min(MIN_SHARE * size, MIN_PIXELS))).sum(axis=0) >= _MIN_FRAMES
    is_lost = ((baseline > 0.0).sum(axis=0) >= _MIN_FRAMES) & (both.sum(axis=0) <= 0.0)
    judged = np.flatnonzero(has_area | is_lost)
    for number in judged if len(judged) > 1 else ():
        signal = baseline[:, number] + variant[:, number]
        yield Part(name, f"{name}, id {number}", signal - 2.0 * both[:, number], signal)


def _places(one: OutputNoise, members: NDArray[np.int64]) -> str:
    """Return the channels of a kind, such as "[4:84]" or "[0, 2, 5, ...]"."""
    if len(members) > 1 and members[-1] - members[0] == len(members) - 1 and len(one.channel_axes) == 1:
        return f"[{members[0]}:{members[-1] + 1}]"
    names = [one.channel_name(int(member)) for member in members[:3]]
    return f"{', '.join(names)}{', ...' if len(members) > 3 else ''}"


def _drops(parts: list[Part], frames: Indices) -> list[PartDrop]:
    """Return the noise to signal of each part over these frames, with its interval."""
    if not parts:
        return []
    sums = np.stack([np.stack([part.noise, part.signal], axis=1)[frames] for part in parts], axis=2)

    def shares(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        return noise_share(totals[:, 0], totals[:, 1])

    values = shares(sums.sum(axis=0)[None])[0]
    intervals = share_intervals(sums, shares)
    for place, part in enumerate(parts):
        if part.trials and values[place] == 0.0:  # events that were not seen, not errors that are none
            intervals[place] = clopper_pearson(0.0, float(part.trials))
    return [
        PartDrop(part.name, float(value), *interval, int((part.signal[frames] > 0.0).sum()))
        for part, value, interval in zip(parts, values, intervals, strict=True)
    ]


def _worst(drops: list[PartDrop]) -> PartDrop | None:
    """Return the part of the largest drop, its interval by the largest ends of all of them."""
    known = [one for one in drops if not math.isnan(one.drop)]
    if not known:
        return None
    worst = max(known, key=lambda one: one.drop)
    return replace(worst, low=max(one.low for one in known), high=max(one.high for one in known))


def _describe_table(table: RowTable, parts: list[Part], drops: list[PartDrop]) -> OutputFigures:
    name = table.name
    nothing = PartDrop("", math.nan, math.nan, math.nan, 0)
    own = next((drop for part, drop in zip(parts, drops, strict=True) if part.output == name), nothing)
    return OutputFigures(
        name, "rows", f"N rows of {table.columns}", table.columns, 0, own.drop, own.low, own.high,
        is_constant=not table.changes, constant_error=float(table.lost[:, 0].sum() > 0.0),
    )  # fmt: skip


def _relative_error(b: NDArray[Any], v: NDArray[Any] | None) -> float:
    """Return |v - b| / |b| (L2 norms) of one output; inf for a difference from zeros or from nothing."""
    if v is None:
        return math.inf
    reference = np.asarray(b, np.float64)
    error = float(np.linalg.norm(np.asarray(v, np.float64) - reference))
    length = float(np.linalg.norm(reference))
    if error == 0.0:
        return 0.0
    return error / length if length > 0.0 else math.inf
