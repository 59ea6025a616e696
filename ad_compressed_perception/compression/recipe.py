# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe: passes, numbers of calibration and verification frames, and terms of acceptance."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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
_RENAMED = {"palettise4": "palettize4", "palettise6": "palettize6", "prune_distil": "prune_distill"}


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
    """A recipe with the text it was read from.

    Attributes:
        recipe: the checked recipe.
        passes: its passes, ready to run.
        path: the file.
        text: the file's content.
        sha256: hash of the text.
    """

    def __init__(self, path: Path) -> None:
        """Read a recipe; raise RecipeError in one line."""
        data = read_yaml_mapping(path, "recipe", RecipeError)
        try:
            self.recipe = Recipe.model_validate(data)
        except ValidationError as error:
            raise RecipeError(f"recipe {describe_yaml_error(path, error)}{_known_keys(error)}") from error
        try:
            self.passes = self.recipe.build_passes()
        except RecipeError as error:
            raise RecipeError(f"recipe {path}: {error}") from error
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.sha256 = hashlib.sha256(self.text.encode()).hexdigest()


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
            names = (field.alias or name for name, field in model.model_fields.items())
            return f"; known: {', '.join(names)}"
    return ""


def shipped_recipes() -> dict[str, Path]:
    """Return name and file of the recipes that come with the package."""
    folder = config_folder("recipes")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder else {}


def load_recipe(spec: str) -> LoadedRecipe:
    """Read a recipe by path or by the name of a shipped one.

    Raises:
        RecipeError: no such recipe, or a key, value, pass or option that is wrong; one line.
    """
    shipped = shipped_recipes()
    if spec in _RENAMED and not os.path.isfile(spec):
        warn_renamed("recipe", spec, _RENAMED[spec])
        spec = _RENAMED[spec]
    if spec in shipped and not os.path.isfile(spec):
        return LoadedRecipe(shipped[spec])
    path = Path(spec).expanduser()
    if not os.path.isfile(path):
        raise RecipeError(
            f"no recipe {shorten(repr(spec))}: give a file or one of the shipped ones: "
            f"{', '.join(shipped) or 'none'}"
        )
    return LoadedRecipe(path)
