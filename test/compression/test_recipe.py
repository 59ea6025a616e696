# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: valid ones, and one line of error for each kind of invalid one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ad_compressed_perception.compression.recipe import Recipe, load_recipe, shipped_recipes
from ad_compressed_perception.core.errors import RecipeError
from support.compression import recipe_text, small_recipe, write_recipe


def test_passes_keep_their_order_and_take_three_spellings(tmp_path: Path) -> None:
    recipe = small_recipe(
        tmp_path, passes=["simplify", {"infer_shapes": None}, {"quantize_int8": {"calibration": "entropy"}}]
    )
    assert [step.name for step in recipe.passes] == ["simplify", "infer_shapes", "quantize_int8"]
    assert recipe.passes[2].options.calibration == "entropy"


def test_the_hash_is_that_of_the_text(tmp_path: Path) -> None:
    one = small_recipe(tmp_path / "one")
    same = small_recipe(tmp_path / "same")
    other = small_recipe(tmp_path / "other", description="a comment is a change")
    assert one.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"acept": {}}, ["unknown key 'acept'", "accept"]),
        ({"accept": {"max_dropp": 0.1}}, ["unknown key 'accept.max_dropp'", "max_drop"]),
        ({"passes": ["shrink"]}, ["unknown pass 'shrink'", "quantize_int8"]),
        ({"passes": [{"quantize_int8": {"bits": 4}}]}, ["quantize_int8", "unknown key 'bits'", "exclude"]),
        ({"passes": [{"quantize_int8": {"calibration": "mean"}}]}, ["calibration", "minmax"]),
        ({"passes": [{"upgrade_opset": {"to": 9}}]}, ["upgrade_opset", "to"]),
        ({"passes": [{"simplify": {}, "infer_shapes": {}}]}, ["each entry is one pass"]),
        ({"passes": []}, ["passes"]),
        ({"passes": "simplify"}, ["must be a list"]),
        ({"accept": {"max_drop": 2}}, ["accept.max_drop"]),
        ({"calibration": {"frames": 0}}, ["calibration.frames"]),
        ({"schema": "adcp-recipe/2"}, ["schema"]),
        ({"name": "a b"}, ["name"]),
    ],
)
def test_a_wrong_recipe_is_an_error_in_one_line(
    tmp_path: Path, fields: dict[str, object], words: list[str]
) -> None:
    path = write_recipe(tmp_path / "wrong.yaml", **fields)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for word in words:
        assert word in message


def test_an_unknown_name_lists_the_shipped_recipes() -> None:
    with pytest.raises(RecipeError, match="int8.*") as caught:
        load_recipe("int7")
    assert "bf16_openvino" in str(caught.value)


def test_not_yaml_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("passes: [", encoding="utf-8")
    with pytest.raises(RecipeError, match="not YAML") as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_are_valid_short_and_named_like_their_files(name: str) -> None:
    loaded = load_recipe(name)
    assert loaded.recipe.name == name
    assert loaded.recipe.build_passes()
    assert loaded.text.startswith("# ")  # the first line states its purpose
    assert len(loaded.path.read_text("utf-8").splitlines()) <= 15  # short enough to read at once


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(["passes", "calibration", "verify", "accept", "options", "name", "backend", "stray"]),
)
def test_any_value_under_any_key_is_read_or_refused(value: object, key: str) -> None:
    """Only pydantic's own error comes out, which becomes the one line; nothing else escapes."""
    data = {**yaml.safe_load(recipe_text()), key: value}
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError:
        return
    try:
        recipe.build_passes()
    except RecipeError as error:
        assert "\n" not in str(error).replace(str(value), "")
