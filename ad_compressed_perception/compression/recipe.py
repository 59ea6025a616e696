# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe: passes, numbers of calibration and verification frames, and terms of acceptance."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ad_compressed_perception.compression.recipe_extends import (
    EXTENDING,
    Document,
    differences,
    extended,
    require_no_circle,
)
from ad_compressed_perception.core.errors import DataError, RecipeError
from ad_compressed_perception.core.manifest import (
    StrictModel,
    describe_yaml_error,
)
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.core.registry import PASSES, find
from ad_compressed_perception.core.renamed import warn_renamed
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.data.bad_frames import BadFrameLimit, parse_limit
from ad_compressed_perception.pass_api.passes import Pass
from ad_compressed_perception.pass_api.terms import AcceptSpec, VerifySpec

SCHEMA = "adcp-recipe/1"
# Old names of shipped recipes, accepted for one version.
RENAMED = {
    "palettise4": "palettize4",
    "palettise6": "palettize6",
    "prune_distil": "prune_distill",
}
ALIASES = {
    "bf16_openvino": "cast_bf16_openvino",
    "dynamic_matmul": "dynamic_int8",
    "fp16": "cast_fp16",
    "fp32_fused": "optimize",
    "int16": "static_int16",
    "int8": "static_int8",
    "int8_mixed": "mixed_int8",
    "int8_openvino": "static_int8_openvino",
    "int8_openvino_small": "static_int8_openvino_packed",
    "int8_packed": "mixed_int8_packed",
    "int8_small": "static_int8_packed",
    "palettize4": "palettize_4_packed",
    "palettize6": "palettize_6_packed",
    "prune50_pack": "prune_weights_packed",
    "qat": "qat_int8",
}
"""Short names of shipped recipes: the same recipe, whose variants are called by the short name."""


class CalibrationSpec(StrictModel):
    """Frames that the passes may use."""

    frames: int = Field(64, ge=1, le=10000, description="frames to calibrate on")
    stride: int = Field(1, ge=1, description="use every so many-th frame of the source only")


class SplitSpec(StrictModel):
    """Shares of each fifth of the recording, in place of the ratio of the numbers of frames.

    The verdict on the result of a search must not come from frames that the search used.
    """

    calibration: float = Field(gt=0.0, lt=1.0, description="share for calibration, from the beginning")
    search: float = Field(
        0.0, ge=0.0, lt=1.0, description="share after it that is left out: a search selected the recipe on it"
    )

    @model_validator(mode="after")
    def _leave_some(self) -> SplitSpec:
        if self.calibration + self.search >= 1.0:
            raise ValueError("calibration and search leave nothing to verify on: their sum must be below 1")
        return self


class Recipe(StrictModel):
    """One way to compress a model."""

    schema_: Literal["adcp-recipe/1"] = Field(alias="schema")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128, description="default variant name"
    )
    description: str = ""
    passes: list[dict[str, dict[str, Any]]] = Field(min_length=1, description="in this order")
    calibration: CalibrationSpec = Field(default_factory=CalibrationSpec)
    verify: VerifySpec = Field(default_factory=VerifySpec)
    max_bad_frames: int | str = Field(
        "10%",
        description="most frames that may be left out because they cannot be read: N, or N% of those asked",
    )
    split: SplitSpec | None = Field(None, description="shares of the recording for calibration and search")
    backend: str = Field("onnxruntime", description="runtime of the variant")
    options: dict[str, Any] = Field(default_factory=dict, description="the runtime's own options")
    store: Literal["onnx", "packed"] = Field(
        "onnx", description="packed: weights entropy coded in an .adcpz file, expanded at load"
    )
    accept: AcceptSpec = Field(default_factory=AcceptSpec)

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @field_validator("passes", mode="before")
    @classmethod
    def _one_key_each(cls, value: Any) -> Any:
        """Turn ``- simplify``, ``- simplify:`` and ``- simplify: {...}`` into one form."""
        if not isinstance(value, list):
            raise ValueError("must be a list of passes")
        entries = []
        for entry in value:
            pair = {entry: {}} if isinstance(entry, str) else entry
            if not isinstance(pair, dict) or len(pair) != 1:
                raise ValueError(f"each entry is one pass with its options, not {shorten(repr(entry))}")
            ((name, options),) = pair.items()
            entries.append({name: {} if options is None else options})
        return entries

    @field_validator("max_bad_frames")
    @classmethod
    def _check_limit(cls, value: int | str) -> int | str:
        try:
            parse_limit(value)
        except DataError as error:
            raise ValueError(str(error)) from error
        return value

    @property
    def bad_frame_limit(self) -> BadFrameLimit:
        """``max_bad_frames``, parsed."""
        return parse_limit(self.max_bad_frames)

    def build_passes(self) -> list[Pass]:
        """Return the passes, options checked; raise RecipeError naming a wrong pass or option."""
        return [
            find(PASSES, name, RecipeError)(options)
            for entry in self.passes
            for name, options in entry.items()
        ]


class LoadedRecipe:
    """A recipe with its text.

    Attributes:
        recipe: the checked recipe.
        passes: its passes, ready to run.
        path: the file.
        text: the file's content; of a file that extends another one, the complete recipe.
        sha256: hash of the text.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        """Read a recipe; raise RecipeError in one line.

        Args:
            path: the file.
            name: replaces the name in the file.
        """
        document, own = _complete(path, ())
        if name is not None:
            document["name"] = name
        self.recipe, self.passes = _checked(path, document)
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        if own or name is not None:
            title = self.text.partition("\n")[0] if self.text.startswith("#") else f"# {path.name}"
            body = yaml.safe_dump(document, sort_keys=False, width=110, default_flow_style=None)
            header = f"# Extends {own['extends']}; its own: {differences(own)}.\n" if own else ""
            self.text = f"{title}\n{header}{body}"
        self.sha256 = hashlib.sha256(self.text.encode()).hexdigest()

    def require_runnable(self, backend: str | None = None) -> None:
        """Raise RecipeError where a package is missing, or a file is written for another runtime than asked.

        Args:
            backend: runtime of the variant in place of the recipe's; None: the recipe's.
        """
        for one in self.passes:
            if one.writes and not one.divides and backend not in (None, one.writes):
                raise RecipeError(
                    f"recipe {self.path}: pass {one.name} writes a file for backend {one.writes!r}, which "
                    f"{backend!r} cannot run: leave the backend out"
                )
            one.require_packages()


def _checked(path: Path, document: Document) -> tuple[Recipe, list[Pass]]:
    """Return a complete recipe and its passes; raise RecipeError, which names the file."""
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        raise RecipeError(f"recipe {describe_yaml_error(path, error)}{_known_keys(error)}") from error
    try:
        passes = recipe.build_passes()
        _check_writers(recipe, passes)
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from error
    return recipe, passes


def _check_writers(recipe: Recipe, passes: list[Pass]) -> None:
    """Raise RecipeError where a pass that writes another runtime's file is not what the variant is run by."""
    for place, one in enumerate(passes):
        if not one.writes:
            continue
        if place != len(passes) - 1:
            raise RecipeError(
                f"pass {one.name!r} writes a file for backend {one.writes!r}: it must be the last"
            )
        if recipe.backend != one.writes and not one.divides:
            raise RecipeError(
                f"pass {one.name!r} writes a file for another backend: set backend: {one.writes}"
            )
        if recipe.store == "packed":
            raise RecipeError(f"store: packed holds ONNX files only, not what pass {one.name!r} writes")


def _complete(path: Path, chain: tuple[Path, ...]) -> tuple[Document, Document]:
    """Return a file's recipe with what it extends, and the file's own part; that is empty if it stands alone.

    Args:
        path: the file.
        chain: the files that led to it by extending it.
    """
    own: Document = read_yaml_mapping(path, "recipe", RecipeError)
    if "extends" not in own:
        wrong = [key for key in EXTENDING if key in own]
        if wrong:
            raise RecipeError(
                f"recipe {path}: {wrong[0]} changes what a recipe extends: add extends, or leave it out"
            )
        return own, {}
    files = require_no_circle(path, chain)
    base_path = _base(path, own["extends"])
    base_document, _ = _complete(base_path, files)
    base, _ = _checked(base_path, base_document)
    try:
        document = extended(own, {**base_document, "passes": base.passes})
    except ValueError as error:
        raise RecipeError(f"recipe {path}: {error}") from error
    return document, own


def _base(path: Path, spec: Any) -> Path:
    """Return the file that a recipe extends: one beside it, by relative path, or a shipped one, by name."""
    if not isinstance(spec, str):
        raise RecipeError(
            f"recipe {path}: extends: must be a file or a recipe's name, not {shorten(repr(spec))}"
        )
    beside = path.parent / spec
    if os.path.isfile(beside):
        return beside
    found = _shipped(_present_name(spec))
    if found is None:
        raise RecipeError(
            f"recipe {path}: extends: no recipe {shorten(repr(spec))}: give a file beside it or one of the "
            f"shipped ones: {', '.join(shipped_recipes()) or 'none'}"
        )
    return found


def _known_keys(error: ValidationError) -> str:
    """Return the known keys beside an unknown one, as the end of an error message."""
    for finding in error.errors():
        if finding["type"] == "extra_forbidden":
            model: type[BaseModel] = Recipe
            for part in finding["loc"][:-1]:
                field = model.model_fields.get(str(part))
                kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
                inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
                if not inner:
                    return ""
                model = inner[0]
            names = [field.alias or name for name, field in model.model_fields.items()]
            names += EXTENDING if model is Recipe else ()
            return f"; known: {', '.join(names)}"
    return ""


def shipped_recipes() -> dict[str, Path]:
    """Return name and file of the recipes that come with the package, those for one task last."""
    folder = config_folder("recipes")
    paths = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("examples/*.yaml"))] if folder else []
    return {path.stem: path for path in paths}


def _shipped(name: str) -> Path | None:
    """Return the file of a shipped recipe, by its own or a short name."""
    return shipped_recipes().get(ALIASES.get(name, name))


def _present_name(name: str) -> str:
    """Return the name of a recipe that is given by an old one."""
    if name in RENAMED:
        warn_renamed("recipe", name, RENAMED[name])
    return RENAMED.get(name, name)


def load_recipe(spec: str) -> LoadedRecipe:
    """Read a recipe by path or by the name of a shipped one.

    A recipe asked for by a short name takes that name, and so do its variants.

    Raises:
        RecipeError: no such recipe, or a key, value, pass or option that is wrong; one line.
    """
    if not os.path.isfile(spec):
        name = _present_name(spec)
        shipped = _shipped(name)
        if shipped is not None:
            return LoadedRecipe(shipped, name if name in ALIASES else None)
    path = Path(spec).expanduser()
    if not os.path.isfile(path):
        raise RecipeError(
            f"no recipe {shorten(repr(spec))}: give a file or one of the shipped ones: "
            f"{', '.join(shipped_recipes()) or 'none'}"
        )
    return LoadedRecipe(path)
