# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of one output of a model whose outputs nothing decodes, and the terms of acceptance on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ad_compressed_perception.compression.verification.finding import Finding
from ad_compressed_perception.metrics.output_noise import decibels
from ad_compressed_perception.pass_api.terms import AcceptSpec

Outcome = tuple[Finding, str]

_EQUAL = 1e-3


@dataclass(frozen=True)
class OutputFigures:
    """One output of the variant against the baseline's.

    Attributes:
        name: of the output; several names of one table of rows are joined by " + ".
        compared_as: "numbers", "whole numbers" or "rows".
        shape: of the first frame's array, as text.
        channels: how many channels it has.
        judged_channels: how many of them are judged by themselves.
        drop: noise to signal of its worst kind of channels, share of lost changes, or share of rows without
            a partner; NaN where the baseline's never changes.
        low: lower end of its 95 % interval.
        high: upper end.
        worst: the part it is of, such as "output[4:84]"; empty where there is only one.
        sqnr_db: over all of the output's elements together; NaN for whole numbers and rows.
        cosine: of all elements of all frames, likewise.
        largest_error: largest error as a share of the baseline's range, likewise.
        equal_share: share of equal elements, of whole numbers; NaN for others.
        is_constant: whether the baseline's never changes.
        is_image_free: whether it is constant because it does not depend on the image in the baseline's graph.
        constant_error: of a constant output: largest error as a share of its largest number.
    """

    name: str
    compared_as: str
    shape: str
    channels: int
    judged_channels: int
    drop: float
    low: float
    high: float
    worst: str = ""
    sqnr_db: float = math.nan
    cosine: float = math.nan
    largest_error: float = math.nan
    equal_share: float = math.nan
    is_constant: bool = False
    is_image_free: bool = False
    constant_error: float = math.nan

    @property
    def sqnr_of_worst_db(self) -> tuple[float, float, float]:
        """SQNR of the worst part and the ends of its interval, dB; of rows and whole numbers likewise."""
        return decibels(self.drop), decibels(self.high), decibels(self.low)


def worst_part(outputs: Sequence[OutputFigures]) -> str:
    """Return the part of the outputs of the largest drop; "" without any."""
    known = [one for one in outputs if not math.isnan(one.drop)]
    worst = max(known, key=lambda one: one.drop, default=None)
    return "" if worst is None else worst.worst or worst.name


def check_outputs(accept: AcceptSpec, outputs: Sequence[OutputFigures]) -> list[Outcome]:
    """Return the outcomes of the terms on single outputs, and of outputs that never change."""
    if not outputs:
        return []
    found = [] if accept.max_drop >= 1.0 else [one for each in outputs for one in _check_constant(each)]
    changing = [one for one in outputs if not one.is_constant and not math.isnan(one.drop)]
    numbers = [one for one in changing if one.compared_as == "numbers"]
    if accept.min_sqnr_db is not None:
        found += _check_sqnr(accept.min_sqnr_db, numbers)
    if accept.min_cosine is not None:
        found += _check_cosine(accept.min_cosine, [one for one in numbers if not math.isnan(one.cosine)])
    return found


def _check_constant(one: OutputFigures) -> list[Outcome]:
    if not one.is_constant:
        return []
    if one.constant_error > _EQUAL:
        return [
            (
                Finding.FAILED,
                f"output {one.name!r} is the same on all frames, and the variant's differs from it by "
                f"{one.constant_error:.2g} of its largest number",
            )
        ]
    if one.is_image_free:
        return []
    return [
        (
            Finding.OPEN,
            f"output {one.name!r} depends on the image, but the baseline's is the same on all frames, where "
            "agreement means nothing: verify on other frames, correct the manifest's input, or name the "
            "other outputs in its output: {decoder: raw, options: {outputs: [...]}}",
        )
    ]


def _check_sqnr(limit_db: float, outputs: Sequence[OutputFigures]) -> list[Outcome]:
    if not outputs:
        return [(Finding.OPEN, f"min_sqnr_db {limit_db:g} was not checked: no output of numbers changes")]
    worst = max(outputs, key=lambda one: one.high)
    value, low, high = worst.sqnr_of_worst_db
    text = f"SQNR of {worst.worst or worst.name} is {value:.1f} dB (95 % interval {low:.1f} to {high:.1f})"
    if low >= limit_db:
        return [(Finding.MET, f"{text}, at least the required {limit_db:g} dB")]
    if high < limit_db:
        return [(Finding.FAILED, f"{text}, below the required {limit_db:g} dB")]
    return [(Finding.OPEN, f"{text}, around the required {limit_db:g} dB: verify on more frames")]


def _check_cosine(limit: float, outputs: Sequence[OutputFigures]) -> list[Outcome]:
    if not outputs:
        return [(Finding.OPEN, f"min_cosine {limit:g} was not checked: no output of numbers changes")]
    worst = min(outputs, key=lambda one: one.cosine)
    text = f"cosine similarity of output {worst.name!r} is {worst.cosine:.4f}"
    if worst.cosine >= limit:
        return [(Finding.MET, f"{text}, at least the required {limit:g}")]
    return [(Finding.FAILED, f"{text}, below the required {limit:g}")]
