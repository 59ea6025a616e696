# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The verdict on outputs that nothing decodes: what must be rejected, what accepted, what left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.compression.verification.gate import Measured, decide
from ad_compressed_perception.compression.verification.raw_score import RawScore
from ad_compressed_perception.compression.verification.scores import AgreementFigures
from ad_compressed_perception.compression.verification.task_scores import check_terms, create_score
from ad_compressed_perception.core.errors import DataError, OutputError, RecipeError
from ad_compressed_perception.core.manifest import Manifest, Variant, Verdict, load_manifest
from ad_compressed_perception.core.results import RawOutputs
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.pass_api.terms import AcceptSpec, VerifySpec
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import open_pipeline

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES = 40
Outputs = dict[str, np.ndarray]
Change = Callable[[Outputs], Outputs]


def manifest_of(**options: object) -> Manifest:
    """Return a model of task raw with a square input."""
    return Manifest(
        name="any",
        task="raw",
        input={"width": 64, "height": 64},
        output={"decoder": "raw", "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="none.onnx", sha256="0" * 64)},
    )


def compare(
    frames: list[Outputs], change: Change, options: Mapping[str, object] | None = None
) -> AgreementFigures:
    score = RawScore(manifest_of(**(options or {})))
    for outputs in frames:
        score.add(
            RawOutputs(outputs), RawOutputs(change({name: one.copy() for name, one in outputs.items()}))
        )
    return score.figures()


def verdict_on(figures: AgreementFigures, **terms: Any) -> Verdict:
    nothing = Measured(0.0, 0.0, 0.0, FRAMES, FRAMES, 0, 2.0, 1.9, 2.1, 1.0, 0.3, 1.0)
    measured = replace(
        nothing,
        drop=figures.drop,
        drop_low=figures.drop_low,
        drop_high=figures.drop_high,
        frames=figures.frames,
        informative_frames=figures.informative_frames,
        failed_frames=figures.failed_frames,
        labels=figures.labels,
        label_text=figures.label_text,
        outputs=figures.outputs,
        lost=figures.lost,
        rare=figures.rare,
    )
    return decide(AcceptSpec(**terms), measured)


def joined_head() -> list[Outputs]:
    """Return frames of 100 rows: four columns of pixels, two of scores; ten rows have an object."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(FRAMES):
        boxes = rng.uniform(0.0, 640.0, (100, 4))
        scores = rng.uniform(0.0, 0.002, (100, 2))
        scores[rng.permutation(100)[:10], rng.integers(0, 2, 10)] = rng.uniform(0.4, 0.95, 10)
        frames.append({"head": np.concatenate([boxes, scores], axis=1)[None].astype(np.float32)})
    return frames


def maps() -> list[Outputs]:
    """Return frames of two outputs: four planes of 16 x 16 logits, and a single number."""
    rng = np.random.default_rng(1)
    return [
        {
            "planes": rng.normal(0.0, 3.0, (1, 4, 16, 16)).astype(np.float32),
            "angle": rng.normal(0.0, 0.1, (1, 1)).astype(np.float32),
        }
        for _ in range(FRAMES)
    ]


def noisy(share: float) -> Change:
    """Return a variant whose outputs have noise of that share of their deviation, such as rounding makes."""
    rng = np.random.default_rng(2)

    def change(outputs: Outputs) -> Outputs:
        scale = {"angle": 0.1, "planes": 3.0}
        return {
            name: (one + rng.normal(0.0, share * scale[name], one.shape)).astype(np.float32)
            for name, one in outputs.items()
        }

    return change


def step_of_2_5(outputs: Outputs) -> Outputs:
    """Return what one 8-bit scale over 0 to 640 makes of pixels and scores: a step of 2.5."""
    return {name: np.rint(one / 2.5) * 2.5 for name, one in outputs.items()}


def test_scores_lost_among_pixels_are_rejected() -> None:
    """Over all numbers the SQNR is above 40 dB; every score became 0."""
    figures = compare(joined_head(), step_of_2_5)
    verdict = verdict_on(figures, max_drop=0.1)
    (head,) = figures.outputs
    assert head.sqnr_db > 40.0 and head.cosine > 0.999
    assert verdict.status == "rejected"
    assert "channel 'head[4]' has no change in common any more" in " ".join(verdict.reasons)
    assert head.worst == "head[4:6]"
    assert verdict.reasons[0].startswith("agreement of head[4:6] drops by 1.000")


def test_one_lost_column_of_scores_is_rejected_though_the_other_is_kept() -> None:
    def without_last(outputs: Outputs) -> Outputs:
        outputs["head"][..., 5] = 0.0
        return outputs

    reasons = " ".join(verdict_on(compare(joined_head(), without_last), max_drop=0.6).reasons)
    assert "channel 'head[5]'" in reasons


def test_columns_quantized_each_by_itself_are_accepted() -> None:
    def change(outputs: Outputs) -> Outputs:
        steps = np.array([2.5] * 4 + [1 / 255] * 2, np.float32)
        return {"head": np.rint(outputs["head"] / steps) * steps}

    figures = compare(joined_head(), change)
    assert verdict_on(figures, max_drop=0.05, min_sqnr_db=20.0).status == "accepted"
    assert figures.outputs[0].judged_channels == 6


def test_boxes_of_rows_without_a_score_do_not_count() -> None:
    """Nobody reads them; those with a score do count."""

    def moved(where: Callable[[np.ndarray], np.ndarray]) -> Change:
        def change(outputs: Outputs) -> Outputs:
            head = outputs["head"]
            rows = where(head[0, :, 4:].max(axis=1))
            head[0, rows, :4] = 320.0
            return outputs

        return change

    assert compare(joined_head(), moved(lambda scores: scores < 0.1)).drop < 0.05
    assert compare(joined_head(), moved(lambda scores: scores > 0.1)).drop > 0.8


@pytest.mark.parametrize(("share", "status"), [(0.05, "accepted"), (0.3, "inconclusive"), (0.7, "rejected")])
def test_a_share_of_noise_has_its_verdict(share: float, status: str) -> None:
    """5 % noise is an SQNR of 26 dB; 30 % is about 9 dB, around the limit; 70 % is 3 dB."""
    figures = compare(maps(), noisy(share))
    assert 0.8 * share**2 < figures.drop < 1.6 * share**2  # of the worse output, which has few numbers
    verdict = verdict_on(figures, max_drop=0.13 if status == "inconclusive" else 0.1)
    assert verdict.status == status, verdict.reasons
    assert figures.drop_low <= figures.drop <= figures.drop_high


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda outputs: {name: np.zeros_like(one) for name, one in outputs.items()},
        lambda outputs: {name: np.full_like(one, 1.0) for name, one in outputs.items()},
        lambda outputs: {**outputs, "angle": np.zeros_like(outputs["angle"])},
        lambda outputs: {**outputs, "planes": outputs["planes"][:, ::-1]},
        lambda outputs: {**outputs, "planes": -outputs["planes"]},
        lambda outputs: {**outputs, "planes": outputs["planes"] * np.float32(0.3)},
    ],
)
def test_nonsense_is_rejected(nonsense: Change) -> None:
    """Zeros, ones, one lost output, exchanged planes, other signs, another scale (of cosine 1)."""
    assert verdict_on(compare(maps(), nonsense), max_drop=0.1).status == "rejected"


def filled(name: str, where: object, value: float) -> Change:
    def change(outputs: Outputs) -> Outputs:
        outputs[name][where] = value
        return outputs

    return change


@pytest.mark.parametrize(
    ("name", "where", "value"),
    [("head", np.s_[..., 5], 0.9), ("planes", np.s_[:, 2], 7.0), ("grid", np.s_[..., :2], 500.0)],
)
def test_channels_that_never_change_have_to_stay_what_they_are(
    name: str, where: tuple[object, ...], value: float
) -> None:
    """A class that no frame shows, a plane of zeros, columns of a grid: they have noise and no signal."""
    rng = np.random.default_rng(5)
    frames = {"head": joined_head, "planes": maps, "grid": joined_head}[name]()
    for outputs in frames:
        if name == "grid":
            outputs["grid"] = rng.normal(0.0, 3.0, (1, 100, 6)).astype(np.float32)
            outputs["grid"][0, :, :2] = np.linspace(0.0, 6400.0, 200).reshape(100, 2)
        else:
            outputs[name][where] = 0.0
    assert verdict_on(compare(frames, lambda outputs: outputs), max_drop=0.1).status == "accepted"
    verdict = verdict_on(compare(frames, filled(name, where, value)), max_drop=0.1)
    assert verdict.status == "rejected" and "the same on all frames" in " ".join(verdict.reasons)

    def rounded(outputs: Outputs) -> Outputs:
        outputs[name][where] += 1e-3
        return outputs

    assert verdict_on(compare(frames, rounded), max_drop=0.1).status == "accepted"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-2.0, 3.0), min_size=2, max_size=12),
    st.integers(0, 11),
    st.booleans(),
    st.sampled_from(["mean", "moved", "exchanged sign"]),
)
def test_no_channel_of_few_can_be_lost(
    exponents: list[float], channel: int, is_static: bool, nonsense: str
) -> None:
    """Of any scales, changing or not: the variant is not accepted, and the baseline itself is."""
    rng = np.random.default_rng(7)
    scales = 10.0 ** np.array(exponents)
    lost = channel % len(scales)
    values = rng.normal(0.0, 1.0, (FRAMES, len(scales), 8, 8))
    if is_static and len(scales) > 1:
        values[:, lost] = 3.0
        nonsense = "moved"
    values *= scales[:, None, None]
    frames = [{"y": one[None].astype(np.float32)} for one in values]
    mean = values.mean(axis=0)[lost]

    def lose(outputs: Outputs) -> Outputs:
        own = outputs["y"][0, lost]
        span = 5.0 * scales.max()
        outputs["y"][0, lost] = {"mean": mean, "moved": own + span, "exchanged sign": -own}[nonsense]
        return outputs

    assert verdict_on(compare(frames, lose), max_drop=0.1).status == "rejected"
    assert verdict_on(compare(frames, lambda outputs: outputs), max_drop=0.1).status == "accepted"


def test_logits_lost_beside_boxes_of_every_size_are_rejected() -> None:
    """Ranges of 640, 480, 150, 60 and 16 leave no gap: all would be one kind, in which logits do not show."""
    rng = np.random.default_rng(6)
    frames = []
    for _ in range(FRAMES):
        boxes = rng.uniform(0.0, 1.0, (200, 4)) * [640, 480, 150, 60]
        logits = rng.normal(-4.0, 1.5, (200, 80))
        logits[rng.permutation(200)[:12], rng.integers(0, 80, 12)] = 4.0
        frames.append({"head": np.concatenate([boxes, logits], axis=1)[None].astype(np.float32)})
    lost = compare(frames, filled("head", np.s_[..., 4:], -4.0))
    order = rng.permutation(80) + 4
    exchanged = compare(frames, lambda one: {"head": one["head"][..., [0, 1, 2, 3, *order]]})
    assert [verdict_on(each, max_drop=0.1).status for each in (lost, exchanged)] == ["rejected"] * 2


@pytest.mark.parametrize("kind", ["int64", "uint8", "float32"])
def test_a_small_class_that_a_mask_loses_is_rejected(kind: str) -> None:
    """Twelve of 4096 pixels are a fortieth of what changes."""
    frames = []
    for place in range(FRAMES):
        ids = np.zeros((1, 64, 64), kind)
        ids[0, 30 + place % 5 :, :] = 1
        left, low = (place * 3) % 40, (place * 7) % 60
        ids[0, :20, left : left + 20], ids[0, 40:44, low : low + 3] = 2, 11
        frames.append({"ids": ids})

    def renamed(outputs: Outputs) -> Outputs:
        return {"ids": np.where(outputs["ids"] == 11, 2, outputs["ids"]).astype(kind)}

    figures = compare(frames, renamed)
    assert figures.drop < 0.05
    verdict = verdict_on(figures, max_drop=0.1)
    assert verdict.status == "rejected" and "'ids, id 11' has no change in common" in verdict.reasons[0]
    assert verdict_on(compare(frames, lambda one: one), max_drop=0.1).status == "accepted"


def test_a_class_on_few_frames_is_named_and_open_where_it_is_lost() -> None:
    """Six of 400 frames show class 7: of all scores' changes it is a hundredth."""
    rng = np.random.default_rng(8)
    frames = []
    for place in range(400):
        scores = rng.uniform(0.0, 0.02, (1, 20))
        scores[0, 7 if place % 70 == 3 else place % 3] = 0.9
        frames.append({"p": scores.astype(np.float32)})
    lost = verdict_on(compare(frames, filled("p", np.s_[0, 7], 0.01)), max_drop=0.1)
    assert lost.status == "inconclusive"
    assert "'p[7]' is lost" in lost.reasons[0]
    kept = verdict_on(compare(frames, lambda one: one), max_drop=0.1)
    assert kept.status == "accepted"
    assert "too rare on these frames to be judged by themselves: 'p[7]' (" in " ".join(kept.reasons)


def test_the_mean_output_is_rejected_though_it_is_near() -> None:
    """Over a grid that no image changes the cosine is above 0.999, and nothing of the image is left."""
    grid = np.linspace(0.0, 400.0, 256, dtype=np.float32).reshape(1, 1, 16, 16)
    frames = [{"planes": one["planes"] + grid} for one in maps()]
    mean = np.mean([one["planes"] for one in frames], axis=0)
    figures = compare(frames, lambda outputs: {"planes": mean})
    assert figures.outputs[0].cosine > 0.999
    assert verdict_on(figures, max_drop=0.1, min_cosine=0.99).status == "rejected"


def test_a_frame_without_a_result_is_rejected() -> None:
    score = RawScore(manifest_of())
    for place, outputs in enumerate(maps()):
        score.add(RawOutputs(outputs), None if place == 7 else RawOutputs(outputs))
    figures = score.figures()
    assert figures.failed_frames == 1
    assert verdict_on(figures).status == "rejected"


def test_numbers_that_are_not_finite_are_no_result() -> None:
    decoder = create_task(manifest_of()).decoder
    for value in (np.nan, np.inf):
        with pytest.raises(OutputError, match="output 'y': 1 of 4 numbers are not finite"):
            decoder.take({"y": np.array([0.0, value, 1.0, 2.0], np.float16)})


def test_an_output_that_the_variant_lacks_is_named() -> None:
    task = create_task(manifest_of(outputs=["planes", "angle"]))
    with pytest.raises(Exception, match="the file has no output 'angle'; it has planes"):
        task.decoder.check((TensorSpec("planes", (1, 4, 16, 16), "float32"),))
    with pytest.raises(DataError, match="the variant lacks output 'angle'"):
        compare(maps(), lambda outputs: {"planes": outputs["planes"]})


def test_an_output_of_another_size_is_named() -> None:
    frames = [{"planes": np.tile(one["planes"], (1, 60, 1, 1))} for one in maps()]
    with pytest.raises(DataError, match="compared element by element"):
        compare(frames, lambda outputs: {"planes": outputs["planes"][..., ::2]})


def test_a_baseline_that_never_changes_leaves_the_verdict_open() -> None:
    frames = [maps()[0]] * FRAMES
    figures = compare(frames, lambda outputs: outputs)
    assert figures.informative_frames == 0
    verdict = verdict_on(figures)
    assert verdict.status == "inconclusive"


def test_one_output_that_never_changes_is_named() -> None:
    """Scores that are all zero (a wrong input scale) must not be carried by boxes that move."""
    frames = [{**one, "scores": np.zeros((1, 50), np.float32)} for one in maps()]
    verdict = verdict_on(compare(frames, lambda outputs: outputs))
    assert verdict.status == "inconclusive"
    assert "output 'scores' depends on the image, but the baseline's is the same" in verdict.reasons[0]

    def changed(outputs: Outputs) -> Outputs:
        outputs["scores"][0, 3] = 0.9
        return outputs

    assert verdict_on(compare(frames, changed)).status == "rejected"


def label_maps(kind: str) -> list[Outputs]:
    """Return label ids: 90 % background, and an object that moves."""
    frames = []
    for place in range(FRAMES):
        ids = np.zeros((1, 16, 16), kind)
        ids[0, 3:8, place % 11 : place % 11 + 5] = 12
        frames.append({"ids": ids})
    return frames


@pytest.mark.parametrize("kind", ["int64", "uint8", "float32", "bool"])
def test_ids_are_equal_or_not(kind: str) -> None:
    """Nothing but background is equal to 90 %, and label 13 is near 12 in number only."""
    frames = label_maps(kind)
    empty = compare(frames, lambda outputs: {"ids": np.zeros_like(outputs["ids"])})
    assert empty.outputs[0].compared_as == "whole numbers"
    assert empty.outputs[0].equal_share == pytest.approx(1 - 25 / 256)
    assert verdict_on(empty, max_drop=0.1).status == "rejected"
    same = compare(frames, lambda outputs: outputs)
    assert same.outputs[0].equal_share == 1.0
    assert verdict_on(same, max_drop=0.1).status == "accepted"
    if kind != "bool":
        other = compare(frames, lambda outputs: {"ids": outputs["ids"] + (outputs["ids"] == 12)})
        assert verdict_on(other, max_drop=0.1).status == "rejected"


def test_whole_numbers_that_are_quantities_are_compared_as_such() -> None:
    """An image of bytes that is off by one everywhere is near, and no id is equal."""
    rng = np.random.default_rng(3)
    frames = [{"image": rng.integers(0, 255, (1, 3, 16, 16)).astype(np.uint8)} for _ in range(FRAMES)]

    def brighter(outputs: Outputs) -> Outputs:
        return {"image": outputs["image"] + np.uint8(1)}

    assert compare(frames, brighter).drop == 1.0
    assert compare(frames, brighter, {"numbers": ["image"]}).drop < 1e-3


def suppressed() -> list[Outputs]:
    """Return boxes, scores and classes of 3 to 9 objects, as a file with suppression inside gives."""
    rng = np.random.default_rng(4)
    frames = []
    for _ in range(FRAMES):
        count = int(rng.integers(3, 10))
        frames.append(
            {
                "boxes": rng.uniform(0, 640, (count, 4)).astype(np.float32),
                "scores": np.sort(rng.uniform(0.3, 1.0, count))[::-1].astype(np.float32),
                "classes": rng.integers(0, 5, count),
            }
        )
    return frames


def test_objects_of_varying_number_are_compared_as_rows() -> None:
    """In any order; boxes, scores and classes are one table, so that boxes of other places do not agree."""
    frames = suppressed()
    order = compare(frames, lambda outputs: {name: one[::-1] for name, one in outputs.items()})
    assert order.outputs[0].compared_as == "rows" and order.outputs[0].name == "boxes + scores + classes"
    assert order.drop == 0.0
    moved = compare(frames, lambda outputs: {**outputs, "boxes": outputs["boxes"] + 50})
    assert verdict_on(moved, max_drop=0.1).status == "rejected"
    fewer = compare(frames, lambda outputs: {name: one[:1] for name, one in outputs.items()})
    assert verdict_on(fewer, max_drop=0.1).status == "rejected"
    none = compare(frames, lambda outputs: {name: one[:0] for name, one in outputs.items()})
    assert none.drop == 1.0


@pytest.mark.parametrize("way", ["dropped", "renamed"])
def test_a_rare_class_of_rows_that_is_lost_is_rejected(way: str) -> None:
    """The weakest object of every frame is the only one of class 4: a twentieth of the weight."""
    frames = suppressed()
    for outputs in frames:
        outputs["classes"] = np.where(np.arange(len(outputs["classes"])) == len(outputs["classes"]) - 1, 4, 0)

    def lose(outputs: Outputs) -> Outputs:
        kept = outputs["classes"] != 4
        if way == "dropped":
            return {name: one[kept] for name, one in outputs.items()}
        return {**outputs, "classes": np.zeros_like(outputs["classes"])}

    def all_right(outputs: Outputs) -> Outputs:
        return outputs

    verdict = verdict_on(compare(frames, lose), max_drop=0.2)
    assert verdict.status == "rejected"
    assert "column 5: 4' is lost" in " ".join(verdict.reasons)
    assert verdict_on(compare(frames, all_right), max_drop=0.2).status == "accepted"


def test_a_varying_shape_that_holds_no_rows_is_refused() -> None:
    frames = [{"crop": np.ones((1, 3, 4 + place % 3, 5 + place % 2), np.float32)} for place in range(FRAMES)]
    with pytest.raises(DataError, match="output 'crop' has no fixed shape"):
        compare(frames, lambda outputs: outputs)


def test_terms_of_other_tasks_are_refused_by_name() -> None:
    raw = manifest_of()
    detection = raw.model_copy(update={"task": "detection", "labels": ["car"]})
    with pytest.raises(RecipeError, match=r"verify.labels: raw has no labels"):
        create_score(raw, VerifySpec(labels=["car"]))
    for terms, words in (
        ({"by_size": {"small": 0.1}}, "by_size: raw"),
        ({"by_distance": {"near": 0.1}}, "by_distance: raw"),
    ):
        with pytest.raises(RecipeError, match=words):
            check_terms(raw, VerifySpec(), AcceptSpec(**terms))
    for term in ("min_sqnr_db", "min_cosine"):
        with pytest.raises(RecipeError, match=f"accept.{term} is of task raw"):
            check_terms(detection, VerifySpec(), AcceptSpec(**{term: 0.9}))


@pytest.mark.shared
def test_a_real_head_joined_by_one_scale_is_rejected_and_by_two_accepted(shared_dir: Path) -> None:
    """Of yolox_nano on a drive, boxes in pixels: one 8-bit scale over all of them loses every score."""
    manifest = load_manifest(REPOSITORY / "config/reference_models/yolox_nano", allow_outside=True)
    pipeline = open_pipeline(manifest)
    strides = pipeline.task.decoder.strides
    cells = pipeline.task.decoder.cells
    source = open_frames(str(shared_dir / "bags/udacity_ch2_20s"))
    frames = []
    for frame in source.frames(range(0, 400, 16)):
        rows = pipeline.session.infer(pipeline.task.prepare(frame)[0])["output"].copy()
        rows[0, :, :2] = (rows[0, :, :2] + cells) * strides
        rows[0, :, 2:4] = np.exp(rows[0, :, 2:4]) * strides
        frames.append({"rows": rows})
    pipeline.close()
    low = min(float(one["rows"][..., :4].min()) for one in frames)
    high = max(float(one["rows"][..., :4].max()) for one in frames)
    step = (high - low) / 255

    def joined(outputs: Outputs) -> Outputs:
        return {"rows": np.rint(outputs["rows"] / step) * step}

    def apart(outputs: Outputs) -> Outputs:
        rows = outputs["rows"]
        return {
            "rows": np.concatenate(
                [np.rint(rows[..., :4] / step) * step, np.rint(rows[..., 4:] * 255) / 255], 2
            )
        }

    options = {"row_scores": {"rows": [4]}}
    lost, kept = (compare(frames, change, options) for change in (joined, apart))
    assert lost.outputs[0].sqnr_db > 20.0
    assert verdict_on(lost, max_drop=0.1).status == "rejected"
    assert verdict_on(kept, max_drop=0.1).status == "accepted", verdict_on(kept, max_drop=0.1).reasons
    without = verdict_on(compare(frames, joined), max_drop=0.1)
    assert without.status == "rejected" and "rows[4" in " ".join(without.reasons)
