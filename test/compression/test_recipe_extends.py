# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes that extend others: what is taken over, what is replaced, and one line for each way to be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ad_compressed_perception.compression.recipe import LoadedRecipe, load_recipe, shipped_recipes
from ad_compressed_perception.core.errors import RecipeError
from support.compression import write_recipe


def extending(path: Path, **fields: Any) -> Path:
    """Write a recipe that extends ``base.yaml`` beside it; fields replace its own."""
    document = {"schema": "adcp-recipe/1", "name": path.stem, "extends": "base.yaml", **fields}
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder with a base recipe: four passes, two terms of acceptance."""
    write_recipe(
        tmp_path / "base.yaml",
        passes=["simplify", {"quantize_int8": {"calibration": "percentile", "percentile": 99.0}}],
        accept={"max_drop": 0.2, "min_speedup": 1.5},
        description="of the base",
    )
    return tmp_path


def test_options_passes_and_terms_are_merged_and_null_takes_out(base: Path) -> None:
    path = extending(
        base / "mine.yaml",
        **{"with": {"quantize_int8": {"calibration": "mse", "percentile": None}}},
        append=["deduplicate_initializers"],
        accept={"min_speedup": None, "max_size_ratio": 0.5},
        store="packed",
    )

    recipe = LoadedRecipe(path).recipe

    assert recipe.passes == [
        {"simplify": {}}, {"quantize_int8": {"calibration": "mse"}}, {"deduplicate_initializers": {}},
    ]  # fmt: skip
    assert (recipe.accept.max_drop, recipe.accept.min_speedup, recipe.accept.max_size_ratio) == (
        0.2,
        None,
        0.5,
    )
    assert (recipe.name, recipe.description, recipe.store) == ("mine", "", "packed")
    assert recipe.calibration.frames == 8  # the base's


@pytest.mark.filterwarnings("ignore::ad_compressed_perception.core.renamed.RenamedWarning")
@pytest.mark.parametrize("is_old_in_base", [True, False])
def test_a_pass_is_found_where_one_of_both_has_its_old_name(tmp_path: Path, is_old_in_base: bool) -> None:
    renamed = {"palettise": "palettize"}
    ((old, new),) = renamed.items()
    in_base, in_changes = (old, new) if is_old_in_base else (new, old)
    write_recipe(tmp_path / "base.yaml", passes=["optimize", {in_base: {"bits": 6}}])
    path = extending(tmp_path / "mine.yaml", **{"with": {in_changes: {"bits": 4}}})

    assert LoadedRecipe(path).recipe.passes == [{"optimize": {}}, {in_base: {"bits": 4}}]


def test_of_a_pass_that_occurs_twice_one_is_named_by_its_number(tmp_path: Path) -> None:
    """By its name alone both would be set, the one for small tensors too."""
    small, large = {"palettize": {"bits": 8}}, {"palettize": {"bits": 4, "min_size": 2048}}
    write_recipe(tmp_path / "base.yaml", passes=["optimize", small, large])

    second = extending(tmp_path / "second.yaml", **{"with": {"palettize#2": {"bits": 6}}})
    assert LoadedRecipe(second).recipe.passes[1:] == [small, {"palettize": {"bits": 6, "min_size": 2048}}]

    for name, words in [("palettize", "palettize 2 times: name one of them as palettize#1"),
                        ("palettize#3", "it has optimize, palettize#1, palettize#2"),
                        ("optimize#1", "no pass 'optimize#1'")]:  # fmt: skip
        with pytest.raises(RecipeError, match=words):
            LoadedRecipe(extending(tmp_path / "mine.yaml", **{"with": {name: {"bits": 6}}}))


def test_the_text_stands_alone_and_says_what_is_its_own(base: Path, tmp_path: Path) -> None:
    """A variant's manifest and report keep the text; the base may change or vanish later."""
    loaded = LoadedRecipe(extending(base / "mine.yaml", accept={"max_drop": 0.1}, append=["infer_shapes"]))
    (base / "alone").mkdir()
    copy = base / "alone" / "copy.yaml"
    copy.write_text(loaded.text)

    assert "# Extends base.yaml; its own: accept.max_drop, append infer_shapes." in loaded.text
    assert LoadedRecipe(copy).recipe == loaded.recipe
    sha256 = loaded.sha256
    write_recipe(base / "base.yaml", verify={"frames": 30})
    assert LoadedRecipe(base / "mine.yaml").sha256 != sha256  # a change of the base is a change


def test_a_base_may_extend_another_and_be_a_shipped_recipe(tmp_path: Path) -> None:
    extending(tmp_path / "middle.yaml", extends="static_int8", calibration={"frames": 9})
    path = extending(tmp_path / "mine.yaml", extends="middle.yaml", backend="openvino")

    recipe, shipped = LoadedRecipe(path).recipe, load_recipe("static_int8").recipe

    assert recipe.passes == shipped.passes
    assert (recipe.calibration.frames, recipe.verify, recipe.backend) == (9, shipped.verify, "openvino")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extends": "int7"}, ["extends", "no recipe 'int7'", "static_int8"]),
        ({"extends": 3}, ["extends", "not 3"]),
        ({"extends": "mine.yaml"}, ["circle", "mine.yaml -> mine.yaml"]),
        ({"extends": None, "append": ["simplify"]}, ["extends", "not None"]),
        ({"with": {"palettize": {}}}, ["no pass 'palettize'", "it has simplify, quantize_int8"]),
        ({"with": ["simplify"]}, ["with", "options by pass"]),
        ({"with": {"simplify": 3}}, ["with", "options by pass"]),
        ({"with": {"quantize_int8": {"bits": 4}}}, ["unknown key 'bits'"]),
        ({"append": "simplify"}, ["append", "list"]),
        ({"append": {}}, ["append", "list"]),
        ({"with": 0}, ["with", "options by pass"]),
        ({"append": ["shrink"]}, ["unknown pass 'shrink'"]),
        ({"append": [{}]}, ["each entry is one pass"]),
        ({"passes": ["simplify"], "append": ["infer_shapes"]}, ["either passes"]),
        ({"accept": {"max_dropp": 0.1}}, ["unknown key 'accept.max_dropp'"]),
        ({"acept": {}}, ["unknown key 'acept'", "append"]),
        ({"accept": 3}, ["accept"]),
        ({"name": None}, ["name"]),
    ],
)
def test_a_wrong_extension_is_one_line_that_names_the_file(
    base: Path, fields: dict[str, Any], words: list[str]
) -> None:
    path = extending(base / "mine.yaml", **fields)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(path), *words]:
        assert word in message


def test_a_circle_over_several_files_names_them(base: Path) -> None:
    extending(base / "one.yaml", extends="two.yaml")
    extending(base / "two.yaml", extends="three.yaml")
    extending(base / "three.yaml", extends="two.yaml")
    with pytest.raises(RecipeError, match="two.yaml -> three.yaml -> two.yaml; one must stand alone"):
        load_recipe(str(base / "one.yaml"))


def test_a_wrong_base_is_named_and_not_the_file_that_extends_it(base: Path) -> None:
    write_recipe(base / "base.yaml", accept={"max_drop": 3})
    with pytest.raises(RecipeError, match=r"base\.yaml.*accept\.max_drop"):
        load_recipe(str(extending(base / "mine.yaml")))


@pytest.mark.parametrize("key", ["with", "append"])
def test_a_change_without_a_base_is_refused(tmp_path: Path, key: str) -> None:
    path = write_recipe(tmp_path / "r.yaml", **{key: {}})
    with pytest.raises(RecipeError, match=f"{key} changes what a recipe extends: add extends"):
        load_recipe(str(path))


def test_no_shipped_recipe_repeats_what_it_extends() -> None:
    """A value equal to the base's would hide which ones differ."""
    for path in shipped_recipes().values():
        own = yaml.safe_load(path.read_text("utf-8"))
        if "extends" not in own:
            continue
        base = load_recipe(own["extends"]).recipe.model_dump(exclude_unset=True)
        for key in own.keys() - {"schema", "name", "extends", "with", "append"}:
            present = base.get(key)
            same = own[key] == present
            if isinstance(own[key], dict) and isinstance(present, dict):
                same = any(present.get(name) == value for name, value in own[key].items())
            assert not same, f"{path.name}: {key} repeats a value of {own['extends']}"
