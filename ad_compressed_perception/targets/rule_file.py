# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading the rules of a target: one of ``targets/rules/``, of a file, or of another package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, ValidationError, model_validator

from ad_compressed_perception.core.errors import RuleFileError
from ad_compressed_perception.core.manifest import StrictModel, describe_validation_error
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.core.registry import TARGETS, find, names
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.targets.graph_rules import (
    AttributeRule,
    ConstantInputsRule,
    LayoutRule,
    OperatorsRule,
    OpsetRule,
    OutputsRule,
    RankRule,
    StaticShapesRule,
    TypesRule,
)
from ad_compressed_perception.targets.quantization_rules import (
    ChannelAxisRule,
    PairsRule,
    PerTensorRule,
    QuantizedTypesRule,
    SymmetricRule,
    UnitsRule,
)
from ad_compressed_perception.targets.rule_names import wrong_names

AnyRule = Annotated[
    OperatorsRule
    | OpsetRule
    | AttributeRule
    | RankRule
    | ConstantInputsRule
    | OutputsRule
    | TypesRule
    | StaticShapesRule
    | LayoutRule
    | SymmetricRule
    | QuantizedTypesRule
    | PerTensorRule
    | ChannelAxisRule
    | PairsRule
    | UnitsRule,
    Field(discriminator="check"),
]
LiteRtPrecision = Literal["fp32", "fp16", "int8"]
PassList = list[dict[str, dict[str, Any]]]
Runtime = Literal["onnxruntime", "openvino", "litert", "tensorrt", "other"]
_FOLDER = Path(__file__).resolve().parent / "rules"


class ExportSpec(StrictModel):
    """How a model is handed to the target's tool."""

    precisions: dict[str, PassList] = Field(
        min_length=1, description="name of a form, such as fp32 or int8, to the passes that make it"
    )
    cut_before: list[str] = Field(
        default_factory=list,
        description="operators from which on the PC computes; the model ends before them",
    )
    runtime: Runtime = Field("other", description="what runs the model on the device")
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the runtime, for the device's script"
    )
    model_file: str = Field(
        "model.onnx",
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="file that the runtime reads; made by the commands where it is not model.onnx",
    )
    commands: list[str] = Field(
        default_factory=list, description="the vendor's commands, from the folder with model.onnx"
    )
    notes: list[str] = Field(default_factory=list, description="further sentences for the README")

    @model_validator(mode="after")
    def _has_what_the_script_needs(self) -> ExportSpec:
        """Refuse what would end the script on the device, or write a file in another precision."""
        lists = {"tensorrt": ("build", "run"), "onnxruntime": ("providers",)}.get(self.runtime, ())
        for name in lists:
            value = self.options.get(name, None if self.runtime == "tensorrt" else [name])
            if not isinstance(value, list) or not value:
                raise ValueError(f"runtime {self.runtime} needs options.{name}, a list of words")
        others = [name for name in self.precisions if name not in get_args(LiteRtPrecision)]
        if self.runtime == "litert" and others:
            known = ", ".join(get_args(LiteRtPrecision))
            raise ValueError(f"runtime litert has no precision {others[0]!r}; it has: {known}")
        return self


class Target(StrictModel):
    """The rules of one target."""

    schema_: Literal["adcp-target/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)
    title: str = Field(min_length=3, description="product and versions")
    extends: str | None = Field(None, description="a target whose rules hold too, but for those given here")
    rules: dict[str, AnyRule] = Field(min_length=1, description="name to rule")
    export: ExportSpec | None = Field(None, description="null: models are checked only")

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


def target_names() -> list[str]:
    """Return the names of this package's targets and of those of other packages."""
    return sorted({path.stem for path in _FOLDER.glob("*.yaml")} | set(names(TARGETS)))


def load_target(name: str | None, file: Path | None = None) -> Target:
    """Return the rules of a target by its name, or those of a file.

    Raises:
        RuleFileError: there is no such target, or its file is wrong; one line.
    """
    if file is not None:
        target = _parse(file, ())
        if name is not None and name != target.name:
            raise RuleFileError(f"{file} has the rules of {target.name!r}, not of {name!r}")
        return target
    if name is None:
        raise RuleFileError(f"name a target (known: {', '.join(target_names())}) or a file of rules")
    return _parse(_path_of(name), ())


def _path_of(name: str) -> Path:
    own = _FOLDER / f"{name}.yaml"
    if name in {path.stem for path in _FOLDER.glob("*.yaml")}:
        return own
    if name in names(TARGETS):
        return Path(os.fspath(find(TARGETS, name, RuleFileError)))
    raise RuleFileError(
        f"unknown target {shorten(repr(name))}; known: {', '.join(target_names())}; others come as a "
        "file of rules"
    )


def _parse(path: Path, chain: tuple[Path, ...]) -> Target:
    document = _merged(path, chain)
    try:
        target = Target.model_validate(document)
    except ValidationError as error:
        raise RuleFileError(f"rules {path}: {describe_validation_error(error)}") from error
    wrong = next(wrong_names(target.rules, target.export.cut_before if target.export else ()), None)
    if wrong is not None:
        raise RuleFileError(f"rules {path}: {wrong}")
    return target


def _merged(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """Return a file's document with what it extends; a rule of null takes that rule away."""
    if path in chain:
        raise RuleFileError(f"rules {path}: extends itself")
    document = read_yaml_mapping(path, "rules", RuleFileError)
    base = document.get("extends")
    rules = document.get("rules")
    if base is None or not isinstance(rules, dict):
        return document
    beside = path.parent / str(base)
    below = _merged(beside if beside.is_file() else _path_of(str(base)), (*chain, path))
    taken = [name for name, rule in rules.items() if rule is None and name not in below.get("rules", {})]
    if taken:
        raise RuleFileError(
            f"rules {path}: rules.{taken[0]}: null takes away a rule that {base} does not have"
        )
    joined = {**below.get("rules", {}), **rules}
    return {
        **below,
        **document,
        "rules": {name: rule for name, rule in joined.items() if rule is not None},
    }
