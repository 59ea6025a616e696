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
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, VariantRejectedError
from ad_compressed_perception.core.model_files import (
    ALLOW_OUTSIDE,
    check_folder_options,
    file_sha256,
    further_files,
    is_inside,
    outside,
)
from ad_compressed_perception.core.one_line import shorten, shorten_list
from ad_compressed_perception.core.renamed import replace_old_keys, warn_renamed
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.core.signature import check_signature
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.core.yaml_file import line_of, read_yaml_mapping

SCHEMA: Final = "adcp-model/1"
MANIFEST_NAME = "model.yaml"

TaskName = Literal["detection", "segmentation", "planning", "classification", "raw"]
VerdictStatus = Literal["accepted", "rejected", "inconclusive"]
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128)]
# Such as the system takes them; a null character or a line break is in no path that was meant.
_FILE = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", max_length=1024)]


def _tensor_name(name: Any) -> Any:
    """Return a tensor's name as text: exporters number tensors, and YAML reads 86 as a number."""
    return str(name) if type(name) is int else name


_TENSOR = Annotated[str, BeforeValidator(_tensor_name)]


class StrictModel(BaseModel):
    """A pydantic model that refuses unknown keys and names them.

    ``renamed`` has the old names of a model's own keys; they are accepted with a warning.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, data: Any) -> Any:
        renamed = cls.old_keys()
        return replace_old_keys(data, renamed) if renamed and isinstance(data, Mapping) else data

    if not TYPE_CHECKING:  # for mypy, an unknown attribute stays an error, and a copy has the model's type

        def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
            """Return a copy; old keys of ``update`` reach the present fields, with a warning."""
            present = replace_old_keys(update or {}, type(self).old_keys())
            return super().model_copy(update=present, deep=deep)

        def __getattr__(self, name: str) -> Any:
            """Return a field by its old name, with a warning."""
            present = type(self).old_keys().get(name)
            if present is None:
                return super().__getattr__(name)
            warn_renamed(f"attribute of {type(self).__name__}", name, present)
            return getattr(self, present)

    @classmethod
    def old_keys(cls) -> dict[str, str]:
        """Return old key to present key, including those of the base classes."""
        return {old: new for base in cls.__mro__ for old, new in getattr(base, "renamed", {}).items()}


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
    output: OutputSpec
    baseline: str
    variants: dict[_NAME, Variant]
    folder: Path = Field(default=Path("."), exclude=True)
    # Where files may lie: the folder, and that of the file a linked model.yaml points to. None: anywhere.
    _confined_to: tuple[Path, ...] | None = PrivateAttr(None)

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _raw_needs_no_output(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("task") == RAW and data.get("output") is None:
            return {**data, "output": {"decoder": RAW}}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.baseline not in self.variants:
            raise ValueError(f"baseline {self.baseline!r} is not among the variants {list(self.variants)}")
        if self.task in ("detection", "segmentation", "classification") and not self.labels:
            raise ValueError(f"task {self.task} needs labels")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be unique")
        for name, variant in self.variants.items():
            if variant.derived_from is not None and variant.derived_from not in self.variants:
                raise ValueError(f"variant {name!r} derives from unknown variant {variant.derived_from!r}")
        return self

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
        if variant.input is None and variant.output is None:
            return self
        return self.model_copy(
            update={"input": variant.input or self.input, "output": variant.output or self.output}
        )

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
