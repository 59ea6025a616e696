# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model: its task, its inputs and outputs, and its variants.

A model is a folder with a ``model.yaml``. File names in it may use ``${NAME}`` and ``${NAME:-default}``
for environment variables and are relative to the folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, VariantRejectedError
from ad_compressed_perception.core.input_sources import InputSource, split_image
from ad_compressed_perception.core.model_files import (
    ALLOW_OUTSIDE,
    check_folder_options,
    check_server_options,
    file_sha256,
    further_files,
    is_inside,
    outside,
)
from ad_compressed_perception.core.one_line import shorten, shorten_list
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.core.signature import check_signature
from ad_compressed_perception.core.strict_model import StrictModel as StrictModel
from ad_compressed_perception.core.task_names import MULTI_TASK, RAW
from ad_compressed_perception.core.yaml_file import line_of, read_yaml_mapping

SCHEMA: Final = "adcp-model/1"
MANIFEST_NAME = "model.yaml"

HeadTaskName = Literal["detection", "segmentation", "planning", "classification", "raw"]
TaskName = Literal["detection", "segmentation", "planning", "classification", "raw", "multi_task"]
VerdictStatus = Literal["accepted", "rejected", "inconclusive"]
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_LONGEST_NAME = 128
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_NAME = Annotated[str, Field(pattern=_NAME_PATTERN, max_length=_LONGEST_NAME)]
# A head's name is part of its topics' names.
_HEAD_NAME = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=64)]
_RESERVED_HEADS = ("shadow",)
# Such as the system takes them; a null character or a line break is in no path that was meant.
_FILE = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", max_length=1024)]


def check_variant_name(name: str) -> None:
    """Raise ManifestError where no model.yaml may have a variant of this name."""
    if len(name) > _LONGEST_NAME or not re.fullmatch(_NAME_PATTERN, name):
        raise ManifestError(
            f"a variant cannot be named {shorten(repr(name))}: at most {_LONGEST_NAME} letters, digits, "
            "'_', '.' and '-', the first a letter or digit"
        )


def _tensor_name(name: Any) -> Any:
    """Return a tensor's name as text: exporters number tensors, and YAML reads 86 as a number."""
    return str(name) if type(name) is int else name


_TENSOR = Annotated[str, BeforeValidator(_tensor_name)]


class InputSpec(StrictModel):
    """The image input of a model: ``value = (pixel * scale - mean) / std`` per channel."""

    renamed = {"colour": "color"}

    name: _TENSOR | None = Field(None, description="input tensor; the only input when absent")
    width: int = Field(gt=0, le=16384, description="pixels")
    height: int = Field(gt=0, le=16384, description="pixels")
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    color: Literal["BGR", "RGB", "GRAY"] = "RGB"
    scale: float = Field(1.0, description="factor applied to the 0..255 pixel first")
    mean: list[float] = Field(default_factory=lambda: [0.0])
    std: list[float] = Field(default_factory=lambda: [1.0])
    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    pad_value: int = Field(114, ge=0, le=255, description="letterbox border")
    letterbox_align: Literal["top_left", "center"] = "top_left"
    resize_width: int | None = Field(None, gt=0, description="crop: width before the crop")
    resize_height: int | None = Field(None, gt=0, description="crop: height before the crop")
    crop_anchor: Literal["center", "bottom", "top"] = "center"

    @property
    def channels(self) -> int:
        """Color channels of the input tensor."""
        return 1 if self.color == "GRAY" else 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor with a batch of one."""
        if self.layout == "NCHW":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)

    @model_validator(mode="after")
    def _consistent(self) -> InputSpec:
        for key in ("mean", "std"):
            if len(getattr(self, key)) not in (1, self.channels):
                raise ValueError(f"{key} needs 1 or {self.channels} values for color {self.color}")
        if any(value == 0.0 for value in self.std):
            raise ValueError("std must not be 0")
        if self.resize == "crop":
            if self.resize_width is None or self.resize_height is None:
                raise ValueError("resize: crop needs resize_width and resize_height")
            if self.resize_width < self.width or self.resize_height < self.height:
                raise ValueError("resize_width x resize_height must hold width x height")
        if self.dtype == "uint8" and (self.scale != 1.0 or any(self.mean) or set(self.std) != {1.0}):
            raise ValueError("a uint8 input takes no scale, mean or std: they belong in the graph")
        return self


class OutputSpec(StrictModel):
    """How the model's output becomes a result."""

    decoder: str = Field(description="name in the entry-point group of decoders")
    options: dict[str, Any] = Field(default_factory=dict, description="the decoder's own options")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="this model's defaults for the task's live settings"
    )

    @field_validator("options")
    @classmethod
    def _outputs_by_name(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Options called ``output`` or ``..._output`` name tensors, in every decoder."""
        return {
            key: _tensor_name(value) if key.endswith("output") else value for key, value in options.items()
        }


class HeadSpec(OutputSpec):
    """One task of a model that has several: which outputs it reads, and how they become its result."""

    task: HeadTaskName
    labels: list[str] = Field(default_factory=list)
    decoder: str = Field(RAW, description="name in the entry-point group of decoders; raw needs none")
    outputs: list[_TENSOR] | None = Field(
        None, min_length=1, description="output tensors that the decoder sees; all of the file when absent"
    )

    @model_validator(mode="after")
    def _consistent(self) -> HeadSpec:
        _check_labels(self.task, self.labels)
        if self.decoder == RAW and self.task != RAW:
            raise ValueError(f"task {self.task} needs a decoder")
        return self


class CalibrationRecord(StrictModel):
    """Which frames a variant was calibrated on."""

    source: str
    sha256: str = Field(description="hash over the frames' bytes, in order")
    frames: int = Field(ge=1)


class Verdict(StrictModel):
    """The accept gate's decision on a variant, with its reasons."""

    status: VerdictStatus
    reasons: list[str] = Field(default_factory=list)


class Variant(StrictModel):
    """One runnable form of the model."""

    file: _FILE
    sha256: _SHA256
    files: dict[_FILE, _SHA256] = Field(
        default_factory=dict, description="sha256 of further files, by name relative to the file's folder"
    )
    backend: str = "onnxruntime"
    options: dict[str, Any] = Field(default_factory=dict, description="the backend's own options")
    precision: str = "fp32"
    derived_from: str | None = None
    recipe: str | None = None
    calibration: CalibrationRecord | None = None
    verdict: Verdict | None = None
    input: InputSpec | None = Field(None, description="where it differs from the model's input")
    output: OutputSpec | None = Field(None, description="where it differs from the model's output")
    outputs: dict[_HEAD_NAME, HeadSpec] | None = Field(
        None, description="where its heads differ from the model's"
    )
    figures: dict[str, Any] = Field(default_factory=dict, description="measured on the compressing host")
    provenance: dict[str, Any] = Field(default_factory=dict, description="versions, host, hashes")


class Manifest(StrictModel):
    """One model with all its variants."""

    schema_: Literal["adcp-model/1"] = Field(SCHEMA, alias="schema")
    name: _NAME
    task: TaskName
    description: str = ""
    labels: list[str] = Field(default_factory=list)
    input: InputSpec
    inputs: dict[str, InputSource] | None = Field(
        None, description="sources of the inputs besides the image, by tensor name"
    )
    output: OutputSpec
    outputs: dict[_HEAD_NAME, HeadSpec] | None = Field(
        None, min_length=1, description="heads of a model with several tasks, by name; output is then absent"
    )
    baseline: str
    variants: dict[_NAME, Variant]
    drift_reference: dict[str, Any] | None = Field(
        None, description="statistics that live frames are compared with; see drift/reference.py"
    )
    folder: Path = Field(default=Path("."), exclude=True)
    # Where files may lie: the folder, and that of the file a linked model.yaml points to. None: anywhere.
    _confined_to: tuple[Path, ...] | None = PrivateAttr(None)

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Take the image out of inputs; give a model of task raw, or with heads, its output."""
        if not isinstance(data, Mapping):
            return data
        if isinstance(data.get("inputs"), Mapping):
            image, rest = split_image(data["inputs"])
            if image is not None and data.get("input") is not None:
                raise ValueError("the image is described twice, by input and under inputs")
            data = {**data, "inputs": rest or None, **({} if image is None else {"input": image})}
        if data.get("outputs") is not None:
            output = data.get("output")
            decoder = (
                output.get("decoder") if isinstance(output, Mapping) else getattr(output, "decoder", None)
            )
            if decoder not in (None, MULTI_TASK):
                raise ValueError("outputs describes every head: take output away")
            data = {"task": MULTI_TASK, **data, "output": output or {"decoder": MULTI_TASK}}
        if data.get("task") == RAW and data.get("output") is None:
            return {**data, "output": {"decoder": RAW}}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.baseline not in self.variants:
            raise ValueError(f"baseline {self.baseline!r} is not among the variants {list(self.variants)}")
        _check_labels(self.task, self.labels)
        self._check_heads()
        for name, variant in self.variants.items():
            if variant.derived_from is not None and variant.derived_from not in self.variants:
                raise ValueError(f"variant {name!r} derives from unknown variant {variant.derived_from!r}")
        return self

    def _check_heads(self) -> None:
        if (self.task == MULTI_TASK) != (self.outputs is not None):
            raise ValueError(
                f"task {MULTI_TASK} needs outputs: a mapping of head names to task and decoder"
                if self.outputs is None
                else f"outputs is for task {MULTI_TASK}, this model is for {self.task}: take one of them away"
            )
        if self.outputs is not None and self.labels:
            raise ValueError("labels belong to the heads of outputs")
        reserved = [name for name in self.outputs or () if name in _RESERVED_HEADS]
        if reserved:
            raise ValueError(f"a head cannot be called {reserved[0]!r}: topics of the node have that name")

    def head(self, name: str) -> Manifest:
        """Return the manifest of one head, as if the model had this task only; its name is ``model/head``.

        Raises:
            ManifestError: there is no such head, or the model has one task.
        """
        if self.outputs is None:
            raise ManifestError(f"model {self.name!r} has one task, {self.task}, and no heads to choose from")
        if name not in self.outputs:
            raise ManifestError(
                f"model {self.name!r} has no head {name!r}; it has: {', '.join(self.outputs)}"
            )
        head = self.outputs[name]
        output = OutputSpec(decoder=head.decoder, options=head.options, settings=head.settings)
        update = {"task": head.task, "labels": head.labels, "output": output, "outputs": None}
        return self.model_copy(update={**update, "name": f"{self.name}/{name}"})

    def variant(self, name: str) -> Variant:
        """Return the variant called ``name``; raise ManifestError naming those that exist."""
        try:
            return self.variants[name]
        except KeyError:
            raise ManifestError(
                f"model {self.name!r} has no variant {name!r}; it has: {', '.join(self.variants)}"
            ) from None

    def for_variant(self, name: str) -> Manifest:
        """Return the manifest with one variant's own input and output, where it has any.

        Raises:
            ManifestError: there is no such variant.
        """
        variant = self.variant(name)
        own = {key: getattr(variant, key) for key in ("input", "output", "outputs")}
        update = {key: value for key, value in own.items() if value is not None}
        return self.model_copy(update=update) if update else self

    def variant_path(self, name: str) -> Path:
        """Absolute path of a variant's file, with environment variables expanded."""
        expanded = Path(_expand(self.variant(name).file, f"{self.name}/{name}"))
        return (expanded if expanded.is_absolute() else self.folder / expanded).resolve()

    def checked_path(self, name: str, *, allow_rejected: bool = False) -> Path:
        """Path of a variant's file after its verdict, and existence and hash of all its files, were checked.

        Raises:
            ModelFileError: a file is missing, its sha256 is not the manifest's, it is not listed there or
                lies outside of the model's folder.
            VariantRejectedError: the gate rejected the variant and ``allow_rejected`` is false.
        """
        variant = self.variant(name)
        if variant.verdict is not None and variant.verdict.status == "rejected" and not allow_rejected:
            why = "; ".join(variant.verdict.reasons) or "no reason recorded"
            raise VariantRejectedError(
                f"variant {name!r} of {self.name!r} was rejected by its accept gate ({why}); "
                "set allow_rejected to load it anyway"
            )
        path = self.variant_path(name)
        further = ((path.parent / key, sha256) for key, sha256 in variant.files.items())
        if self._confined_to is not None:
            check_folder_options(f"{self.name}/{name}", variant.options, self._confined_to)
            check_server_options(f"{self.name}/{name}", variant.options)
        for file, expected in ((path, variant.sha256), *further):
            self._refuse_outside(name, file)
            if not file.is_file():
                variables = ", ".join(match["name"] for match in _VARIABLE.finditer(variant.file))
                way_out = f"; its folder is that of the environment variable {variables}" if variables else ""
                raise ModelFileError(f"model file of {self.name}/{name} is missing: {file}{way_out}")
            actual = file_sha256(file)
            if actual != expected:
                raise ModelFileError(
                    f"model file of {self.name}/{name} has sha256 {actual[:12]}..., "
                    f"its manifest says {expected[:12]}...: {file}"
                )
        unlisted = {}
        for key in further_files(path) - {*variant.files}:
            self._refuse_outside(name, path.parent / key)
            unlisted[key] = file_sha256(path.parent / key)
        if unlisted:
            raise ModelFileError(
                f"model file of {self.name}/{name} reads files whose sha256 its manifest lacks: {path}; "
                f"add to variant {name}: files: {json.dumps(unlisted, sort_keys=True)}"
            )
        return path

    def move_to(self, folder: Path) -> None:
        """Make a folder that of the manifest; files may lie in its earlier folder too."""
        self.folder = folder
        if self._confined_to is not None:
            self._confined_to = (folder, *self._confined_to)

    def _refuse_outside(self, name: str, file: Path) -> None:
        if self._confined_to is not None and not is_inside(file, self._confined_to):
            raise outside(f"model file of {self.name}/{name}", file, self.folder)


def _check_labels(task: str, labels: list[str]) -> None:
    """Raise ValueError where a task has no labels though it needs them, or has one twice."""
    if task in ("detection", "segmentation", "classification") and not labels:
        raise ValueError(f"task {task} needs labels")
    if len(set(labels)) != len(labels):
        raise ValueError("labels must be unique")


def _expand(text: str, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"]) or match["default"]
        if found is None:
            raise ManifestError(f"{where}: environment variable {match['name']} is not set (file: {text})")
        return found

    return _VARIABLE.sub(value, text)


def _findings(error: ValidationError) -> list[Any]:
    # Unknown keys first: one that is misspelled is why another is missing.
    return sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")


def describe_validation_error(error: ValidationError) -> str:
    """Return pydantic's findings as one line of ``key: what is wrong``, unknown keys first."""
    parts = []
    for finding in _findings(error):
        key = ".".join(str(part) for part in finding["loc"]) or "top level"
        message = " ".join(finding["msg"].removeprefix("Value error, ").split())
        key = shorten(" ".join(key.split()))
        parts.append(f"unknown key {key!r}" if finding["type"] == "extra_forbidden" else f"{key}: {message}")
    return shorten_list(parts)


def describe_yaml_error(path: Path, error: ValidationError) -> str:
    """Return a YAML file, the line of the first finding in it, and all findings, as one line."""
    return f"{path}{line_of(path, _findings(error)[0]['loc'])}: {describe_validation_error(error)}"


def load_manifest(
    model: Path | str, *, allow_outside: bool = False, public_key: Path | None = None
) -> Manifest:
    """Read and validate a model folder (or its model.yaml).

    Args:
        model: the folder or the file.
        allow_outside: let it name files outside of its folder; so does ``ADCP_ALLOW_OUTSIDE=1``. The
            manifests that ship with this package always may.
        public_key: PEM file of the ed25519 key that must have signed the manifest; None: no signature.

    Raises:
        ManifestError: missing, malformed, or not signed by that key; one line.
    """
    path = Path(model).expanduser()
    if os.path.isdir(path):  # of os.path, as a name may be longer than the system takes
        path = path / MANIFEST_NAME
    if not os.path.exists(path):
        raise ManifestError(f"no model at {shorten(str(model), 300)}: expected a folder with {MANIFEST_NAME}")
    signed = check_signature(path, public_key) if public_key else None
    data = read_yaml_mapping(path, "manifest", ManifestError, content=signed)
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        raise ManifestError(f"manifest {describe_yaml_error(path, error)}") from error
    manifest.folder = path.parent.resolve()
    folders = (manifest.folder, path.resolve().parent)
    shipped = config_folder("reference_models")
    is_shipped = shipped is not None and is_inside(folders[1], [shipped])
    if not (allow_outside or os.environ.get(ALLOW_OUTSIDE) == "1" or is_shipped):
        manifest._confined_to = folders
    return manifest
