# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Discarded candidates, winner and reasons of a search, on made-up measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ad_compressed_perception.compression.search.budget import parse_budget
from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.compression.search.choice import choose, discard
from ad_compressed_perception.compression.search.facts import EDITS, Facts
from ad_compressed_perception.compression.search.pareto import Point, front
from ad_compressed_perception.compression.search.space import (
    base_candidates,
    derived_candidates,
    mixed_precision_candidates,
    trained,
    with_bytes,
    with_hard_swish,
)
from ad_compressed_perception.compression.search.trial import Trial
from ad_compressed_perception.compression.verification.scores import LABEL_TEXT
from ad_compressed_perception.report.schemas.search import Drop, Speed


def trial(
    name: str,
    drop: float,
    ratio: float,
    size: float = 1.0,
    *,
    width: float = 0.01,
    frames: int = 100,
    failed: int = 0,
) -> Trial:
    """Return a measured candidate against a baseline of 10 ms; its interval is drop +- width."""
    ms = 10.0 / ratio
    made = Trial(Candidate(name, "onnxruntime", {}), name)
    made.size, made.bytes = size, round(1000 * size)
    made.speed = Speed(
        p50_ms=ms,
        p99_ms=2 * ms,
        infer_p50_ms=ms,
        baseline_p50_ms=10.0,
        baseline_p99_ms=20.0,
        ratio=ratio,
        pairs=30,
    )
    made.drop = Drop(
        measure="F1",
        drop=drop,
        low=max(0.0, drop - width),
        high=drop + width,
        frames=frames,
        informative=frames,
        failed=failed,
        label_text=LABEL_TEXT,
    )
    return made


def test_the_winner_is_the_fastest_whose_whole_interval_is_within_the_budget() -> None:
    exact, quick, wild = trial("exact", 0.0, 1.5), trial("quick", 0.02, 3.0), trial("wild", 0.045, 5.0)
    choice = choose([exact, quick, wild], parse_budget("drop<=5%"), "fp32")
    # wild's interval reaches 0.055: it may be within the budget, but is not shown to be.
    assert choice.winner is quick
    assert choice.is_shown
    assert "0.045 (0.035 to 0.055, 100 frames), allowed 0.05" in wild.reason
    assert exact.reason == "slower: 1.50x against 3.00x (on the front for drop 0.000)"
    # The baseline itself is not on the front: exact loses nothing and is faster.
    assert choice.front == ("wild", "quick", "exact")


def test_every_term_of_the_budget_is_kept_or_named() -> None:
    late, large = trial("late", 0.0, 1.4), trial("large", 0.01, 2.9, 0.9)
    slow, fit = trial("slow", 0.0, 1.1, 0.2), trial("fit", 0.0, 2.5, 0.3)
    budget = parse_budget("drop<=5%, p99<=14ms, size<=0.5, speed>=1.3x")
    choice = choose([late, large, slow, fit], budget, "fp32")
    assert choice.winner is fit
    assert "p99 14.29 ms, allowed 14 ms" in late.reason
    assert "size 0.900, allowed 0.5" in large.reason
    assert "speed 1.1x, required 1.3x or more" in slow.reason


def test_a_dominated_candidate_names_the_one_that_dominates_it() -> None:
    better, worse = trial("better", 0.0, 3.0, 0.5), trial("worse", 0.03, 2.0, 0.6)
    choice = choose([worse, better], parse_budget("drop<=5%"), "fp32")
    assert choice.winner is better
    assert worse.reason.startswith(
        "dominated by better: drop 0.030, 2.00x, size 0.60 against drop 0.000, 3.00x"
    )
    assert "worse" not in choice.front


def test_where_none_is_shown_within_the_least_drop_wins_and_says_so() -> None:
    """The verification frames decide then; the gate may call it inconclusive."""
    near, nearer = trial("near", 0.03, 3.0, width=0.04), trial("nearer", 0.02, 2.0, width=0.04)
    choice = choose([near, nearer], parse_budget("drop<=5%"), "fp32")
    assert choice.winner is nearer
    assert not choice.is_shown
    assert "may be within" in nearer.reason


def test_where_none_fits_there_is_no_winner_but_the_nearest_miss() -> None:
    far, near = trial("far", 0.5, 4.0), trial("near", 0.08, 2.0)
    budget = parse_budget("drop<=1%")
    discard([far, near], budget, "fp32")
    choice = choose([far, near], budget, "fp32")
    assert choice.winner is None
    assert choice.nearest is near
    assert "drop 0.080 (0.070 to 0.090, 100 frames), allowed 0.01" in choice.missed
    assert far.reason.startswith("drop too large: 0.500")


def test_nothing_measured_is_reported() -> None:
    broken = Trial(Candidate("broken", "onnxruntime", {}), "broken")
    broken.end("failed", "pass simplify: no")
    choice = choose([broken], parse_budget("drop<=1%"), "fp32")
    assert (choice.winner, choice.nearest, choice.missed) == (None, None, "nothing could be measured")
    assert choice.front == ("fp32",)


def test_discarding_keeps_the_front_and_the_fastest_half() -> None:
    made = [
        trial("fast", 0.04, 4.0), trial("second", 0.045, 3.0), trial("third", 0.045, 2.0),
        trial("idle", 0.01, 0.9), trial("dead", 0.0, 6.0, failed=3),
    ]  # fmt: skip
    discard(made, parse_budget("drop<=5%"), "fp32")
    # "second" is dominated too, but the drop on few frames is uncertain and it is among the fastest half.
    assert [one.name for one in made if one.state == "alive"] == ["fast", "second"]
    reasons = {one.name: one.reason for one in made}
    assert reasons["third"].startswith("dominated by fast")
    assert reasons["idle"].startswith("no better than the baseline in anything")
    assert reasons["dead"] == "gave no result (NaN) on 3 of 100 frames"


def test_a_candidate_that_surely_loses_a_label_is_out() -> None:
    """Its mean is within the budget; the verdict would reject it for the label, whose limit is 0.25 there."""
    made = [trial("mean", 0.0, 4.0), trial("fair", 0.0, 3.0)]
    for one, low in zip(made, (0.6, 0.2), strict=True):
        assert one.drop is not None
        one.drop.worst_label, one.drop.worst_label_low = "curb", low
    choice = choose(made, parse_budget("drop<=5%"), "fp32")
    assert choice.winner is made[1]
    assert "IoU of label 'curb' drops by 0.600 at least, allowed 0.25" in made[0].reason
    discarded = [trial("mean", 0.0, 4.0), trial("fair", 0.0, 3.0)]
    discarded[0].drop = made[0].drop
    discard(discarded, parse_budget("drop<=5%"), "fp32")
    assert [one.name for one in discarded if one.state == "alive"] == ["fair"]


def test_the_front_of_a_choice_is_that_of_its_points() -> None:
    made = [trial("a", 0.0, 1.2), trial("b", 0.02, 2.0), trial("c", 0.03, 1.9), trial("d", 0.01, 2.0, 0.5)]
    points = [Point("fp32", 0.0, 1.0, 1.0, 1.0), *(one.point(tail=True) for one in made)]
    choice = choose(made, parse_budget("drop<=10%"), "fp32")
    assert list(choice.front) == [point.name for point in front(points)]


FACTS = Facts(
    (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")),
    {name: EDITS[name] for name in ("drop_softmax", "coarse", "bytes", "resize")},
    trains=True,
    baseline_ms=60.0,
)


def test_the_space_has_every_runtime_and_format_and_one_name_each() -> None:
    found = [*base_candidates(FACTS, False, 0), *mixed_precision_candidates(FACTS, 0, 0.05)]
    names = [candidate.name for candidate in found]
    assert len(set(names)) == len(names)
    for word in ("onnxruntime-fp32", "openvino-bf16-no_softmax", "onnxruntime-int8", "openvino-int8_mixed"):
        assert any(name.startswith(word) for name in names), word
    assert not any(
        "palettize" in name or candidate.store == "packed"
        for name, candidate in zip(names, found, strict=True)
    )
    small = [candidate.name for candidate in base_candidates(FACTS, True, 0)]
    assert {"openvino-bf16-palettize6-no_softmax", "onnxruntime-fp32-weights_int8-no_softmax"} <= set(small)


def test_the_order_depends_on_the_seed() -> None:
    orders = [[candidate.name for candidate in base_candidates(FACTS, True, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_derived_candidates_have_smaller_inputs_and_coarser_output_and_train_before_the_output_edits() -> (
    None
):
    base = next(one for one in base_candidates(FACTS, False, 0) if one.name == "openvino-bf16-no_softmax")
    names = {one.name for one in derived_candidates(base, FACTS, 0)}
    assert names == {
        "openvino-bf16-coarse",
        *(f"openvino-bf16-no_softmax-x{factor}" for factor in ("0.75", "0.625", "0.5")),
        *(f"openvino-bf16-x{factor}-coarse" for factor in ("0.75", "0.625", "0.5")),
    }
    half = next(one for one in derived_candidates(base, FACTS, 0) if one.name.endswith("no_softmax-x0.5"))
    assert half.parent == base.name
    distilled = trained(half, FACTS, 15.0, 800, 5.0, 0)[0]
    assert with_bytes(distilled, FACTS).pass_names[1:] == [
        "input_size",
        "prune_channels",
        "distill",
        "embed_preprocessing",
        "trim_output",
    ]


def test_int8_for_openvino_has_the_exact_edits_and_a_file_of_its_own() -> None:
    """QDQ placement differs by runtime, so no file is shared with ONNX Runtime, which keeps the old stem."""
    facts = replace(FACTS, edits={**FACTS.edits, "stem": EDITS["stem"], "rows": EDITS["rows"]})
    ints = {one.backend: one for one in base_candidates(facts, False, 0) if "-int8" in one.name}
    assert {"focus_to_conv", "flatten_per_level", "equalize_channels"} <= set(ints["openvino"].pass_names)
    assert {"focus_to_conv", "flatten_per_level"}.isdisjoint(ints["onnxruntime"].pass_names)
    plain = replace(ints["openvino"], edits=ints["onnxruntime"].edits)
    assert plain.graph_key != replace(plain, backend="onnxruntime").graph_key


@pytest.mark.parametrize("name", ["openvino-bf16-no_softmax", "openvino-int8-no_softmax"])
def test_replaced_activations_are_refitted_before_quantization(name: str) -> None:
    facts = replace(FACTS, edits={**FACTS.edits, "hard_swish": EDITS["hard_swish"]})
    base = next(one for one in base_candidates(facts, False, 0) if one.name == name)
    swapped = with_hard_swish(base, facts)
    assert swapped.parent == base.name
    order = swapped.pass_names
    assert order.index("replace_activation") < order.index("reconstruct")
    if "int8" in name:
        assert order.index("reconstruct") < order.index("equalize_channels") < order.index("quantize_int8")


def test_training_takes_as_many_epochs_as_its_minutes_allow() -> None:
    base = base_candidates(FACTS, False, 0)[0]

    def epochs(minutes: float) -> int:
        distill = trained(base, FACTS, 15.0, 400, minutes, 0)[0].training[-1]["distill"]
        return int(distill["epochs"])

    assert 2 <= epochs(3.0) <= epochs(10.0) <= epochs(60.0) <= 20
    # Three minutes are too short for two epochs over 5000 images: fewer images are used.
    assert trained(base, FACTS, 60.0, 5000, 3.0, 0)[0].training_images < 200
