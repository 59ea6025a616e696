# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The names of shipped recipes say what they do, and every earlier name still means the same steps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ad_compressed_perception.compression.recipe import ALIASES, Recipe, load_recipe, shipped_recipes
from ad_compressed_perception.core.registry import BACKENDS, own_plugins
from ad_compressed_perception.core.renamed import RenamedWarning

# The recipes as they were when each spelled all of its passes.
BEFORE = json.loads((Path(__file__).parent / "data" / "recipes_before_extends.json").read_text("utf-8"))
GENERAL = [name for name, path in shipped_recipes().items() if path.parent.name != "examples"]
METHODS = (
    "optimize",
    "cast",
    "static",
    "mixed",
    "dynamic",
    "weights",
    "palettize",
    "prune_weights",
    "qat",
    r"partition_\d",
)
# A runtime's name alone: the optimized graph as a file of that runtime.
NAME = re.compile(
    rf"((?P<method>{'|'.join(METHODS)})(_(?P<bits>\d|int8|int16|fp16|bf16))?(_|\b))?"
    rf"(?P<runtime>{'|'.join(own_plugins(BACKENDS))})?(?P<packed>_?packed)?"
)


def single_steps(passes: list[dict[str, dict[str, Any]]]) -> list[dict[str, dict[str, Any]]]:
    """Return passes with those that took the place of several spelled as before."""
    steps: list[dict[str, dict[str, Any]]] = []
    for ((name, options),) in (step.items() for step in passes):
        if name == "optimize":
            upgrade = {"to": options["opset"]} if "opset" in options else {}
            steps += [{"upgrade_opset": upgrade}, {"simplify": {}}, {"infer_shapes": {}}]
        elif options.get("activation_bits") == 16:
            steps.append(
                {"quantize_int16": {key: options[key] for key in options if key != "activation_bits"}}
            )
        elif options.get("train") is False:
            steps.append({"prune_magnitude": {key: options[key] for key in options if key != "train"}})
        else:
            steps.append({name: options})
    return steps


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_every_earlier_name_means_the_same_steps_terms_and_variant(name: str) -> None:
    before = Recipe.model_validate(BEFORE[name])

    present = load_recipe(name).recipe

    expected, found = before.model_dump(), present.model_dump()
    found["passes"] = single_steps(found["passes"])
    assert found == expected  # the name, by which its variants are called, too


@pytest.mark.parametrize("short", sorted(ALIASES))
def test_the_text_by_a_short_name_stands_alone_under_that_name(short: str, tmp_path: Path) -> None:
    loaded = load_recipe(short)
    (tmp_path / "copy.yaml").write_text(loaded.text)
    assert load_recipe(str(tmp_path / "copy.yaml")).recipe == loaded.recipe
    assert loaded.recipe.name == short
    assert loaded.path == shipped_recipes()[ALIASES[short]]


RENAMED_RECIPES = {"palettise4": "palettize4", "palettise6": "palettize6"}


@pytest.mark.parametrize(("old", "present"), RENAMED_RECIPES.items())
def test_variants_of_an_old_name_are_called_as_in_the_version_before(old: str, present: str) -> None:
    """Scripts ask for the variant palettize6, as that version called it, and not for a new name."""
    with pytest.warns(RenamedWarning, match=f"now called '{present}'"):
        loaded = load_recipe(old)

    assert loaded.recipe == load_recipe(present).recipe
    assert loaded.recipe.name == present


@pytest.mark.parametrize("name", GENERAL)
def test_a_general_recipe_is_named_by_method_bits_runtime_and_packed(name: str) -> None:
    parts = NAME.fullmatch(name)
    assert parts is not None
    recipe = load_recipe(name).recipe
    passes = {step: options for one in recipe.passes for step, options in one.items()}

    assert (recipe.store == "packed") == bool(parts["packed"])
    assert recipe.backend == (parts["runtime"] or "onnxruntime")
    in_steps = {  # what each number of bits is called in the steps
        "int8": any(
            step.startswith(("quantize_int8", "quantize_weights", "quantize_dynamic"))
            or options.get("precision") == "int8"
            for step, options in passes.items()
        ),
        "int16": passes.get("quantize_int8", {}).get("activation_bits") == 16,
        "fp16": "cast_float16" in passes,
        "bf16": recipe.options.get("precision") == "bf16",
    }
    if parts["bits"] is None:
        assert not any(in_steps.values())
    elif parts["bits"].isdigit():
        assert passes["palettize"]["bits"] == int(parts["bits"])
    else:
        assert in_steps[parts["bits"]]
