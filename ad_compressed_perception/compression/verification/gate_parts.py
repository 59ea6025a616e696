# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Terms of acceptance on parts: each informative label, the worst slice, sizes of objects, bands of distance.

A part is judged by the interval of its drop like the whole: met within the limit, failed beyond it, open
around it. A part on fewer than ``min_frames`` frames is open unless its whole interval is beyond the limit
on as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ad_compressed_perception.compression.verification.finding import Estimate, Finding, check_upper_limit
from ad_compressed_perception.compression.verification.scores import LABEL_TEXT, PartDrop
from ad_compressed_perception.pass_api.terms import AcceptSpec

Outcome = tuple[Finding, str]

# A slice holds a tenth of the frames.
_FRAMES_PER_SLICE_FRAME = 10
_GONE = 1.0 - 1e-9
# What the baseline has on so many frames and the variant on none of them is lost; on fewer, perhaps.
_LOST_FRAMES, _PERHAPS_LOST_FRAMES = 10, 5
_LISTED_RARE = 6


def check_parts(
    accept: AcceptSpec,
    frames: int,
    labels: Sequence[PartDrop],
    slices: Sequence[PartDrop],
    sizes: Sequence[PartDrop],
    distances: Sequence[PartDrop],
    label_text: str = LABEL_TEXT,
) -> list[Outcome]:
    """Return the outcomes of the terms on parts and why; labels are always judged.

    Args:
        accept: the recipe's terms.
        frames: verification frames.
        labels: drops of the informative labels' IoU, or of channels.
        slices: drops in the slices.
        sizes: drops of the classes of object sizes.
        distances: drops in the bands of distance.
        label_text: what drops, with a place for the label's name.
    """
    found = _check_labels(accept, frames, labels, label_text)
    if accept.worst_slice is not None:
        found += _check_slices(accept.worst_slice, accept.min_frames, slices)
    for limits, parts, words in (
        (accept.by_size, sizes, "{} objects"),
        (accept.by_distance, distances, "the {} band of distance"),
    ):
        if limits is None:
            continue
        by_name = {one.name: one for one in parts}
        for name, limit in limits.model_dump(exclude_none=True).items():
            part = by_name.get(name, PartDrop(name, math.nan, math.nan, math.nan, 0))
            text = words.format(name)
            found.append(_check_part(part, f"agreement on {text}", limit, accept.min_frames))
    return found


def check_lost(lost: Sequence[PartDrop]) -> list[Outcome]:
    """Return the outcomes of labels and reactions of which nothing is left: the whole may not show it."""
    found: list[Outcome] = []
    for one in lost:
        text = f"{one.name!r} is lost: the variant has it on none of the {one.frames} frames with it"
        if one.frames >= _LOST_FRAMES:
            found.append((Finding.FAILED, text))
        elif one.frames >= _PERHAPS_LOST_FRAMES:
            found.append((Finding.OPEN, f"{text}; verify on more frames for at least {_LOST_FRAMES}"))
    return found


def check_rare(rare: Sequence[PartDrop]) -> list[Outcome]:
    """Return a sentence about labels that are on too few frames to be judged: no verdict is about them."""
    if not rare:
        return []
    listed = ", ".join(f"{one.name!r} ({one.frames} frames)" for one in rare[:_LISTED_RARE])
    more = f" and {len(rare) - _LISTED_RARE} more" if len(rare) > _LISTED_RARE else ""
    return [(Finding.MET, f"too rare on these frames to be judged by themselves: {listed}{more}")]


def _check_labels(
    accept: AcceptSpec, frames: int, labels: Sequence[PartDrop], label_text: str
) -> list[Outcome]:
    """Return what decided: the failed and the open labels, or one sentence for all of them."""
    if not labels or frames < accept.min_frames:  # then max_drop is open already
        return []
    limit = accept.label_limit
    found: list[Outcome] = []
    what, _, label = label_text.partition(" of ")
    for one in labels:
        if one.drop >= _GONE:
            name = label.format(one.name)
            pixel = {"IoU": "pixel", "F1": "frame"}.get(what, "change")
            found.append((Finding.FAILED, f"{name} has no {pixel} in common any more ({one.frames} frames)"))
        else:
            found.append(_judge(one, label_text.format(one.name), limit))
    decided = [outcome for outcome in found if outcome[0] is not Finding.MET]
    if decided:
        return decided
    worst = max(labels, key=lambda one: one.drop)
    return [
        (
            Finding.MET,
            f"{what} of each of {len(labels)} informative {label.partition(' ')[0]}s drops by at most "
            f"{worst.drop:.3f} ({worst.name!r}), within the allowed {limit:g}",
        )
    ]


def _check_slices(limit: float, min_frames: int, slices: Sequence[PartDrop]) -> list[Outcome]:
    known = [one for one in slices if not math.isnan(one.drop)]
    if not known:
        return [(Finding.OPEN, "worst_slice was not checked: no attribute makes a slice of these frames")]
    found = []
    for one in known:
        text = f"agreement in the {one.name}"
        if one.frames < min_frames:
            text += f" (verify on {_FRAMES_PER_SLICE_FRAME * min_frames} frames for {min_frames} in a slice)"
        found.append(_check_part(one, text, limit, min_frames))
    decided = [outcome for outcome in found if outcome[0] is not Finding.MET]
    return decided or [max(zip(found, known, strict=True), key=lambda pair: pair[1].drop)[0]]


def _check_part(part: PartDrop, text: str, limit: float, min_frames: int) -> Outcome:
    """Return the outcome of a part, which is open on few frames."""
    if part.frames >= min_frames and not math.isnan(part.drop):
        return _judge(part, text, limit)
    return (
        Finding.OPEN,
        f"{text} was not checked against {limit:g}: only {part.frames} frames have any, at least "
        f"{min_frames} are needed",
    )


def _judge(part: PartDrop, text: str, limit: float) -> Outcome:
    text = f"{text} drops by {part.drop:.3f} (95 % interval {part.low:.3f} to {part.high:.3f})"
    advice = f"about {{more}} frames with it would settle it (there were {part.frames})"
    return check_upper_limit(Estimate(part.drop, part.low, part.high, part.frames), limit, text, advice)
