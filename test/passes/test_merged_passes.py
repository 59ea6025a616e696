# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Passes that became one: the result is that of their earlier names, byte by byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.registry import PASSES, find
from support.compression import model_and_context
from support.models import write_detector, write_planner, write_segmenter

WRITERS = {"detector": write_detector, "segmenter": write_segmenter, "planner": write_planner}
Steps = list[tuple[str, dict[str, Any]]]


def applied(steps: Steps, kind: str, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a tiny model after passes, and the notes of all of them."""
    model, context = model_and_context(WRITERS[kind](folder / "model"), folder / "scratch")
    for name, options in steps:
        model = find(PASSES, name, RecipeError)(options).apply(model, context)
    return model.SerializeToString(deterministic=True), context.notes


@pytest.mark.parametrize("kind", sorted(WRITERS))
@pytest.mark.parametrize(
    ("earlier", "present"),
    [
        (
            [("upgrade_opset", {"to": 21}), ("simplify", {}), ("infer_shapes", {})],
            [("optimize", {"opset": 21})],
        ),
        (
            [("optimize", {}), ("quantize_int16", {})],
            [("optimize", {}), ("quantize_int8", {"activation_bits": 16})],
        ),
        (
            [("prune_magnitude", {"ratio": 0.5, "min_size": 2})],
            [("prune_unstructured", {"train": False, "ratio": 0.5, "min_size": 2})],
        ),
    ],
    ids=["optimize", "quantize_int8", "prune_unstructured"],
)
def test_the_merged_pass_gives_the_same_bytes_and_notes(
    earlier: Steps, present: Steps, kind: str, tmp_path: Path
) -> None:
    before, notes_before = applied(earlier, kind, tmp_path / "before")
    after, notes_after = applied(present, kind, tmp_path / "after")
    assert before == after
    differing = {key for key in notes_before if notes_before[key] != notes_after[key]}
    # Of the differences of two steps in one set of notes the larger one is noted.
    assert differing <= {"largest_difference"}


def test_the_larger_of_two_differences_is_noted(tmp_path: Path) -> None:
    singles = [
        applied(steps, "segmenter", tmp_path / str(len(steps)))[1]["largest_difference"]
        for steps in ([("upgrade_opset", {"to": 21})], [("upgrade_opset", {"to": 21}), ("simplify", {})])
    ]
    noted = applied([("optimize", {"opset": 21})], "segmenter", tmp_path / "one")[1]["largest_difference"]
    assert noted == max(singles)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train": False, "ratio": 0.5, "epochs": 3}, "epochs has no effect with train: false"),
        ({"train": False, "ratio": 0.5, "steps": 2}, "steps has no effect"),
        ({"train": False, "ratio": 0.5, "score": "taylor"}, "score: taylor needs train: true"),
        ({"train": False}, "either ratio or threshold"),
        ({"threshold": 0.1}, "threshold has no effect with train: true"),
        ({"score": "activation"}, "score: activation needs train: false"),
    ],
)
def test_an_option_of_the_other_kind_of_pruning_is_refused(options: dict[str, Any], words: str) -> None:
    """It would have no effect, and the variant would look as if it had."""
    with pytest.raises(RecipeError, match=words):
        find(PASSES, "prune_unstructured", RecipeError)(options)
