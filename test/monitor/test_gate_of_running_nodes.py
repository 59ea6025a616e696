# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The terms that a variant was judged by, read from its manifest and sent with its node's information."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.monitor.gate import gate_of, model_info, parse_model_info
from ad_compressed_perception.pass_api.terms import AcceptSpec
from ad_compressed_perception.workspace.default_models import default_models
from support.models import write_detector
from support.replay import add_variant

RECIPE = """
schema: adcp-recipe/1
name: int8
passes: [simplify]
verify: {frames: 50, lateral_tolerance_m: 0.5, labels: [car]}
accept: {max_drop: 0.2, max_p99_ms: 12.5, timed: end_to_end, min_speedup: 1.5}
"""


def judged(folder: Path, recipe: str | None, agreement: dict[str, Any] | None = None) -> Manifest:
    manifest = load_manifest(add_variant(write_detector(folder)))
    variant = manifest.variants["int8"]
    if recipe is not None:
        variant.provenance = {"recipe_text": recipe}
    if agreement is not None:
        variant.figures = {"agreement": agreement}
    return manifest


def test_the_terms_of_the_recipe_reach_a_monitor_elsewhere(tmp_path: Path) -> None:
    agreement = {"measure": "F1 at IoU 0.5, score margin 0.05", "score": 0.97, "strict_score": 0.92}
    sent = model_info(judged(tmp_path, RECIPE, agreement), "int8", every_nth=4).model_dump_json()
    info = parse_model_info(sent)
    assert info.gate is not None
    assert info.verdict is not None
    assert (info.variant, info.verdict.status, info.every_nth) == ("int8", "accepted", 4)
    assert (info.gate.max_p99_ms, info.gate.timed, info.gate.labels) == (12.5, "end_to_end", ["car"])
    assert info.gate.lateral_tolerance_m == 0.5
    # Published boxes are compared strictly, which was 0.05 lower when the variant was judged.
    assert info.gate.min_agreement == pytest.approx(1.0 - 0.2 - 0.05)


def test_a_recipe_without_terms_has_those_of_the_gate_and_a_baseline_has_none(tmp_path: Path) -> None:
    manifest = judged(tmp_path, "schema: adcp-recipe/1\nname: int8\npasses: [simplify]\n")
    gate = gate_of(manifest, "int8")
    assert gate is not None
    assert gate.max_drop == AcceptSpec().max_drop
    assert model_info(manifest, manifest.baseline).gate is None


@pytest.mark.parametrize("recipe", ["accept: {max_drop: 7}", "accept: {no_such: 1}", "a: [", "- a list"])
def test_terms_that_cannot_be_read_are_reported_and_stop_no_node(tmp_path: Path, recipe: str) -> None:
    info = model_info(judged(tmp_path, recipe), "int8")
    assert info.gate is None
    assert "terms of tiny_detector/int8" in info.gate_problem
    assert "\n" not in info.gate_problem


def test_a_file_that_was_judged_again_on_another_backend_has_the_terms_of_that(tmp_path: Path) -> None:
    """Failed before: the shipped planner's 0.1 at 0.2 m became 0.05 at 0.1 m, which it never had to keep."""
    manifest = judged(tmp_path, RECIPE)
    verify = {"lateral_tolerance_m": 0.2, "lateral_tolerance_per_m": 0.03, "labels": ["car"]}
    provenance = {"same_file_as": "int8", "accept": {"max_drop": 0.1}, "verify": verify}
    again = manifest.variants["int8"].model_copy(update={"provenance": provenance})
    manifest.variants["again"] = again
    gate = gate_of(manifest, "again")
    assert gate is not None
    assert (gate.max_drop, gate.max_p99_ms, gate.labels) == (0.1, None, ["car"])
    assert (gate.lateral_tolerance_m, gate.lateral_tolerance_per_m) == (0.2, 0.03)
    again.provenance["accept"] = ["no", "terms"]
    assert "terms of tiny_detector/again" in model_info(manifest, "again").gate_problem


def test_every_variant_that_ships_has_a_gate() -> None:
    """Their manifests are of several versions."""
    for folder in default_models():
        manifest = load_manifest(folder)
        for name, variant in manifest.variants.items():
            assert (gate_of(manifest, name) is not None) == (variant.verdict is not None), (folder, name)


@pytest.mark.parametrize("text", ["", "[]", '{"model": "a"}', "no JSON"])
def test_a_strangers_message_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ResultError) as error:
        parse_model_info(text)
    assert "\n" not in str(error.value)


def test_keys_of_a_later_version_are_ignored() -> None:
    text = (
        '{"model": "m", "variant": "v", "task": "detection", "later": 1, "gate": {"max_drop": 0.1, "b": 2}}'
    )
    gate = parse_model_info(text).gate
    assert gate is not None
    assert gate.min_agreement == pytest.approx(0.9)
