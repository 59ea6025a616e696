# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The accept gate: measured figures against a recipe's terms, giving a verdict with its reasons.

A term on a figure with an interval is met when the whole interval is within it, failed when the whole
interval is beyond it, and open otherwise. A term on an exact figure is met or failed. One failed term
rejects; else one open term leaves the verdict inconclusive; else the variant is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ad_compressed_perception.compression.verification.finding import Estimate, Finding, check_upper_limit
from ad_compressed_perception.compression.verification.gate_parts import check_lost, check_parts, check_rare
from ad_compressed_perception.compression.verification.output_figures import (
    OutputFigures,
    check_outputs,
    worst_part,
)
from ad_compressed_perception.compression.verification.scores import LABEL_TEXT, PartDrop
from ad_compressed_perception.core.manifest import Verdict, VerdictStatus
from ad_compressed_perception.pass_api.terms import AcceptSpec

_NO_LIMIT_POINTS = 100.0


@dataclass(frozen=True)
class AccuracyDrop:
    """Loss of accuracy on labeled data, with its paired 95 % interval.

    Attributes:
        metric: the figure, as ``adcp evaluate`` names it.
        unit: "points" of a share (0.01 is one), or "percent" of the baseline's error.
        value: above 0 the variant is worse; NaN where undefined.
        low: lower end of the interval.
        high: upper end.
        frames: labeled frames.
        failed_frames: further ones, on which the variant gave no result.
        to_lose: the most that it can be, of points: how far the baseline is above results that ignore the
            image; infinite for errors.
    """

    metric: str
    unit: str
    value: float
    low: float
    high: float
    frames: int
    failed_frames: int = 0
    to_lose: float = math.inf


@dataclass(frozen=True)
class EndToEndTimes:
    """Times end to end, frame to result: preparation, inference and decoding together.

    Attributes:
        speedup: baseline/variant ratio of the medians.
        low: lower end of its 95 % interval.
        high: upper end.
        p99_ms: 99th percentile of the variant's.
    """

    speedup: float
    low: float
    high: float
    p99_ms: float


@dataclass(frozen=True)
class Measured:
    """The figures that a verdict is based on.

    Attributes:
        drop: loss of agreement, NaN where nothing could be compared.
        drop_low: lower end of its 95 % interval.
        drop_high: upper end.
        frames: frames compared.
        informative_frames: those on which the baseline is informative.
        failed_frames: those on which the variant gave no result.
        speedup: baseline/variant ratio of the median inference times.
        speedup_low: lower end of its 95 % interval.
        speedup_high: upper end.
        p99_ms: 99th percentile of the variant's inference time.
        size_ratio: variant/baseline ratio of file sizes.
        integer_coverage: share of convolutions and matrix products run as integer kernels; None without any.
        accuracy: loss of accuracy on labeled data; None where none was given.
        end_to_end: times from frame to result, for ``timed: end_to_end``.
        labels: segmentation, classification: the drop of each informative label; raw: that of channels;
            planning: that of the change of speed.
        label_text: what drops, with a place for the label's name.
        outputs: raw: figures of each output.
        slices: the drop in each slice of the frames.
        sizes: detection: the drop of each class of object sizes.
        distances: with a camera: the drop in each band of distances.
        lost: labels and reactions of which nothing is left, besides those of ``labels``.
        rare: classification, raw: labels and channels on too few frames to be judged by themselves.
        heads: of a model with several: each head's figures with its own terms.
    """

    drop: float
    drop_low: float
    drop_high: float
    frames: int
    informative_frames: int
    failed_frames: int
    speedup: float
    speedup_low: float
    speedup_high: float
    p99_ms: float
    size_ratio: float
    integer_coverage: float | None
    accuracy: AccuracyDrop | None = None
    end_to_end: EndToEndTimes | None = None
    labels: tuple[PartDrop, ...] = ()
    label_text: str = LABEL_TEXT
    outputs: tuple[OutputFigures, ...] = ()
    slices: tuple[PartDrop, ...] = ()
    sizes: tuple[PartDrop, ...] = ()
    distances: tuple[PartDrop, ...] = ()
    lost: tuple[PartDrop, ...] = ()
    rare: tuple[PartDrop, ...] = ()
    heads: Mapping[str, tuple[AcceptSpec, Measured]] = field(default_factory=dict)


def check_drop(accept: AcceptSpec, measured: Measured) -> tuple[Finding, str]:
    """Return the outcome of ``max_drop`` and why."""
    drop, low, high, limit = measured.drop, measured.drop_low, measured.drop_high, accept.max_drop
    part = worst_part(measured.outputs)
    what = f"agreement of {part}" if part else "agreement"
    text = f"{what} drops by {drop:.3f} (95 % interval {low:.3f} to {high:.3f})"
    # Uninformative frames make agreement easy: they can hide a loss, and a loss in spite of them is one.
    if measured.frames >= accept.min_frames and low > limit:
        return Finding.FAILED, f"{text}, beyond the allowed {limit:g}"
    if measured.informative_frames == 0:
        return Finding.OPEN, (
            f"none of {measured.frames} verification frames is informative: the baseline finds nothing to "
            "compare (of verify.labels, where given), or the same on every frame; do the manifest's input "
            "scale, color order, mean, std and size fit the model, and the frames what it was made for?"
        )
    if measured.informative_frames < accept.min_frames or math.isnan(drop):
        return Finding.OPEN, (
            f"only {measured.informative_frames} of {measured.frames} verification frames are informative, "
            f"at least {accept.min_frames} are needed: verify on more frames, or on frames with more in them"
        )
    frames = measured.informative_frames
    advice = f"about {{more}} informative frames would settle it (there were {frames})"
    return check_upper_limit(Estimate(drop, low, high, frames), limit, text, advice)


def check_accuracy(accept: AcceptSpec, measured: Measured) -> tuple[Finding, str] | None:
    """Return the outcome of ``max_accuracy_drop`` and why; None where the recipe has no such term."""
    limit, found = accept.max_accuracy_drop, measured.accuracy
    if limit is None:
        return None
    if found is None:
        return Finding.OPEN, f"max_accuracy_drop {limit:g} was not checked: no labeled data was given"
    if math.isnan(found.value):
        return Finding.OPEN, f"{found.metric} is undefined on these {found.frames} labeled frames"
    text = (
        f"{found.metric} is worse by {found.value:.2f} {found.unit} on {found.frames} labeled frames "
        f"(95 % interval {found.low:.2f} to {found.high:.2f})"
    )
    if found.low <= limit and found.to_lose <= limit < _NO_LIMIT_POINTS:
        return Finding.OPEN, (
            f"the baseline's {found.metric} on {found.frames} labeled frames is only {found.to_lose:.2f} "
            f"points above that of results which ignore the image; a loss of {limit:g} says nothing: do "
            "the labels, their units and the label map belong to these images and this model?"
        )
    if found.frames < accept.min_frames:  # resamples of few frames are alike, those of one the same
        return Finding.OPEN, (
            f"{found.metric} is worse by {found.value:.2f} {found.unit} on {found.frames} labeled frames, "
            f"at least {accept.min_frames} are needed"
        )
    estimate = Estimate(found.value, found.low, found.high, found.frames)
    return check_upper_limit(estimate, limit, text, "about {more} labeled frames would settle it")


def check_speed(accept: AcceptSpec, measured: Measured) -> tuple[Finding, str] | None:
    """Return the outcome of ``min_speedup`` and why; None where the recipe has no such term."""
    limit = accept.min_speedup
    if limit is None:
        return None
    speedup, low, high, text = measured.speedup, measured.speedup_low, measured.speedup_high, "speed-up"
    if accept.timed == "end_to_end" and measured.end_to_end is not None:
        speedup, low, high = measured.end_to_end.speedup, measured.end_to_end.low, measured.end_to_end.high
        text = "speed-up from frame to result"
    text = f"{text} {speedup:.2f}x (95 % interval {low:.2f} to {high:.2f})"
    if low >= limit:
        return Finding.MET, f"{text}, at least the required {limit:g}x"
    if high < limit:
        return Finding.FAILED, f"{text}, below the required {limit:g}x"
    return Finding.OPEN, (f"{text}, around the required {limit:g}x: verify on more frames on a quiet machine")


def check_results(measured: Measured) -> list[tuple[Finding, str]]:
    """Return a failure for frames, labeled or not, on which the variant gave no result."""
    found: list[tuple[Finding, str]] = []
    text = "the variant gave no result (NaN, infinite or impossible outputs) on"
    if measured.failed_frames:
        found.append((Finding.FAILED, f"{text} {measured.failed_frames} of {measured.frames} frames"))
    labeled = measured.accuracy
    if labeled is not None and labeled.failed_frames:
        total = labeled.frames + labeled.failed_frames
        found.append((Finding.FAILED, f"{text} {labeled.failed_frames} of {total} labeled frames"))
    return found


def check_limits(accept: AcceptSpec, measured: Measured) -> list[tuple[Finding, str]]:
    """Return the outcomes of the recipe's terms on exact figures."""
    found = [] if measured.heads else check_results(measured)
    if accept.max_size_ratio is not None:
        text, limit = f"size as stored is {measured.size_ratio:.2f} of the baseline's", accept.max_size_ratio
        if measured.size_ratio <= limit:
            found.append((Finding.MET, f"{text}, within the allowed {limit:g}"))
        else:
            found.append((Finding.FAILED, f"{text}, beyond the allowed {limit:g}"))
    if accept.min_integer_coverage is not None:
        limit = accept.min_integer_coverage
        coverage = measured.integer_coverage
        if coverage is None:
            found.append(
                (
                    Finding.FAILED,
                    "integer coverage is unknown: the executed graph has no convolution or matrix product",
                )
            )
        elif coverage >= limit:
            found.append((Finding.MET, f"integer coverage {coverage:.2f}, at least the required {limit:g}"))
        else:
            found.append((Finding.FAILED, f"integer coverage {coverage:.2f}, below the required {limit:g}"))
    if accept.max_p99_ms is not None:
        p99_ms, text, limit = measured.p99_ms, "inference p99 is", accept.max_p99_ms
        if accept.timed == "end_to_end" and measured.end_to_end is not None:
            p99_ms, text = measured.end_to_end.p99_ms, "p99 from frame to result is"
        text = f"{text} {p99_ms:.1f} ms"
        if math.isnan(p99_ms):
            found.append(
                (Finding.OPEN, f"max_p99_ms {limit:g} was not checked: no time of every frame is known")
            )
        elif p99_ms <= limit:
            found.append((Finding.MET, f"{text}, within the allowed {limit:g} ms"))
        else:
            found.append((Finding.FAILED, f"{text}, beyond the allowed {limit:g} ms"))
    return found


def check_results_of_task(accept: AcceptSpec, measured: Measured) -> list[tuple[Finding, str]]:
    """Return the outcomes of what is judged of one task's results: agreement, its parts, and accuracy."""
    findings = [check_drop(accept, measured)]
    findings += check_parts(
        accept, measured.frames, measured.labels, measured.slices, measured.sizes, measured.distances,
        measured.label_text,
    )  # fmt: skip
    findings += check_outputs(accept, measured.outputs)
    if accept.max_drop < 1.0:  # else agreement is not limited at all
        findings += check_lost(measured.lost) + check_rare(measured.rare)
    accuracy = check_accuracy(accept, measured)
    return findings if accuracy is None else [*findings, accuracy]


def check_heads(heads: Mapping[str, tuple[AcceptSpec, Measured]]) -> list[tuple[Finding, str]]:
    """Return the outcomes of every head, each named."""
    return [
        (finding, f"head {name!r}: {text}")
        for name, (terms, measured) in heads.items()
        for finding, text in (
            *check_results_of_task(terms, measured),
            *check_results(measured),
        )
    ]


def decide(accept: AcceptSpec, measured: Measured) -> Verdict:
    """Return the verdict; its reasons are the terms that decided it, all of them when accepted.

    Of a model with several heads every head is judged by itself: one that fails rejects the variant.
    """
    findings = check_heads(measured.heads) or check_results_of_task(accept, measured)
    speed = check_speed(accept, measured)
    findings += [*([] if speed is None else [speed]), *check_limits(accept, measured)]
    kinds = {finding for finding, _ in findings}
    status: VerdictStatus
    if Finding.FAILED in kinds:
        status, deciding = "rejected", Finding.FAILED
    elif Finding.OPEN in kinds:
        status, deciding = "inconclusive", Finding.OPEN
    else:
        status, deciding = "accepted", Finding.MET
    return Verdict(status=status, reasons=[reason for finding, reason in findings if finding is deciding])
