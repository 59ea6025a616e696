# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement and accuracy of a compression, for its report.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ad_compressed_perception.report.kit.figures import interval_text, number
from ad_compressed_perception.report.kit.table import records, table
from ad_compressed_perception.report.kit.text import bullets, code, plain
from ad_compressed_perception.report.schemas.compression import CompressionReport, OutputAgreement

_SLICE_WORDS = {
    "brightness": "mean luma of the image",
    "steering_magnitude": "magnitude of the baseline's steering-wheel angle",
}


def agreement_sections(report: CompressionReport) -> Iterator[str]:
    """Yield the agreement over all frames, in slices, by label, size and distance, and of each output."""
    found = report.agreement
    yield "## Agreement with the baseline, without labels"
    rows = [("all frames", str(found.frames), number(found.score), interval_text(found.drop), "")]
    rows += [
        (
            plain(one.title),
            str(one.frames),
            number(one.score),
            interval_text(one.drop),
            "worst slice" if one.name == found.worst_slice else "",
        )
        for one in found.slices
    ]
    yield table(("frames", "number", plain(found.measure), "drop (95 % interval)", ""), rows, 1)
    if found.strict_measure:
        yield (
            f"The gate uses: {plain(found.measure)}, {number(found.score)}. Strict, not gated: "
            f"{plain(found.strict_measure)}, {number(found.strict_score)}."
        )
    informative = f"{found.informative_frames} of {found.frames} frames are informative"
    failed = f"; the variant gave no result on {found.failed_frames}" if found.failed_frames else ""
    yield f"{informative}{failed}. {_slice_words(report)}"
    per_class = found.details.get("per_class_iou")
    if isinstance(per_class, dict) and per_class:
        yield table(
            [plain(label) for label in per_class], [[f"{value:.4f}" for value in per_class.values()]], 0
        )
    yield from _labels_of_frames(found.details)
    yield from _outputs(found.outputs)
    for title, parts in (
        ("channel" if found.outputs else "informative label", found.labels),
        ("size of the object", found.sizes),
        ("distance", found.distances),
    ):
        if parts:
            yield table(
                (title, "frames", "drop (95 % interval)"),
                [(plain(one.name), str(one.frames), interval_text(one.drop)) for one in parts],
                1,
            )
    yield from plot(report, "slices.png", "Drops in slices")
    yield from plot(report, "differences.png", "Differences frame by frame")


def head_sections(report: CompressionReport) -> Iterator[str]:
    """Yield the figures of each head of a model with several, the summary of all of them first."""
    heads = report.heads or {}
    yield "## Heads: each is judged by itself, and one that fails rejects the variant"
    rows = [
        (
            plain(name),
            one.task,
            plain(one.agreement.measure),
            number(one.agreement.score),
            interval_text(one.agreement.drop),
            f"{one.agreement.informative_frames} of {one.agreement.frames}",
            str(one.agreement.failed_frames),
        )
        for name, one in heads.items()
    ]
    yield table(
        ("head", "task", "measure", "agreement", "drop (95 % interval)", "informative frames", "no result"),
        rows,
        3,
    )
    for name, one in heads.items():
        update: dict[str, Any] = {
            "task": one.task,
            "agreement": one.agreement,
            "accuracy": one.accuracy,
            "files": [],
        }
        alone = report.model_copy(update=update)
        for section in (agreement_sections, accuracy_sections):
            for block in section(alone):
                yield f"## Head {plain(name)}: {block[3:].lower()}" if block.startswith("## ") else block
    yield from plot(report, "slices.png", "Drops in slices")
    yield from plot(report, "differences.png", "Differences frame by frame")


def _labels_of_frames(details: dict[str, Any]) -> Iterator[str]:
    """Yield what a classification's results have beside the share of equal labels."""
    counts = details.get("frames_by_label")
    if not isinstance(counts, dict) or not counts:
        return
    yield (
        f"The largest difference of a label's score is {number(details.get('mean_score_distance'))} in the "
        f"mean over frames, {number(details.get('max_score_distance'))} at most."
    )
    yield table(
        ("strongest label", "frames of the baseline", "of the variant", "of both"),
        [
            (plain(label), *(str(one[side]) for side in ("baseline", "variant", "both")))
            for label, one in counts.items()
        ],
        1,
    )


def _outputs(outputs: list[OutputAgreement]) -> Iterator[str]:
    if not outputs:
        return
    rows = [
        {
            "output": code(one.name),
            "compared as": plain(f"{one.compared_as}, {one.shape}"),
            "noise to signal (95 % interval)": "constant" if one.is_constant else interval_text(one.drop),
            "of": code(one.worst_part) if one.worst_part else "",
            "SQNR of it, dB": interval_text(one.sqnr_of_worst_db, 1),
            "SQNR of all, dB": number(one.sqnr_db, 1),
            "cosine": number(one.cosine, 4),
            "largest error / range": number(one.largest_error),
            "equal": number(one.equal_share, 4),
        }
        for one in outputs
    ]
    yield records(rows, 2)
    yield (
        "Signal is what changes from frame to frame. A drop of 0.1 is an SQNR of 10 dB, 0.05 is 13 dB, 0.01 "
        "is 20 dB; the gate takes the worst part, since over joined values of different units the largest "
        "ones hide the others."
    )


def accuracy_sections(report: CompressionReport) -> Iterator[str]:
    """Yield the accuracy of both on labeled data, where there was any."""
    found = report.accuracy
    if found is None:
        return
    yield "## Accuracy on labeled data"
    sides = plain(report.baseline.name), plain(report.variant.name)
    rows = [
        (
            plain(name) + (" (used by the gate)" if name == found.metric else ""),
            *(interval_text(side, 4) for side in (one.baseline, one.variant)),
            f"{interval_text(one.drop, 2)} {one.unit}",
        )
        for name, one in found.figures.items()
    ]
    yield table(("figure", *sides, "worse by (95 % interval, paired)"), rows, 1)
    slices = []
    for one in found.slices:
        figure = one.figures[found.metric]
        values = (number(side.value, 4) for side in (figure.baseline, figure.variant))
        worst = "worst slice" if one.name == found.worst_slice else ""
        worse_by = f"{interval_text(figure.drop, 2)} {figure.unit}"
        slices.append((plain(one.title), str(one.frames), *values, worse_by, worst))
    if slices:
        head = ("slice", "frames", plain(f"{found.metric} {report.baseline.name}"), sides[1], "worse by", "")
        yield table(head, slices, 1)
    runs = "resampled singly" if found.block_length == 1 else f"resampled in blocks of {found.block_length}"
    yield f"{found.frames} labeled frames of {plain(found.data)}, {runs}, {found.resamples} resamples."
    if found.notes:
        yield bullets(found.notes)


def _slice_words(report: CompressionReport) -> str:
    counted = "objects" if report.task == "detection" else "edges between labels"
    object_density = f"{counted} in the baseline's result"
    words = {**_SLICE_WORDS, "object_density": object_density}
    rules = [
        f"{plain(one.title)}: by {words.get(one.attribute, one.attribute)}" for one in report.agreement.slices
    ]
    return f"Slices hold a tenth of the frames each ({'; '.join(rules)})." if rules else ""


def plot(report: CompressionReport, name: str, words: str) -> Iterator[str]:
    """Yield a link to a plot, where it was drawn."""
    if name in report.files:
        yield f"![{words}]({name})"
