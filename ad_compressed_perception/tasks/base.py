# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Interface of a task: prepares a frame for a model and decodes the model's output to a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray
from pydantic import ValidationError

from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel, describe_validation_error
from ad_compressed_perception.core.registry import DECODERS, find
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.inputs import InputPreparer
from ad_compressed_perception.tasks.output_kinds import OutputKinds

ResultT = TypeVar("ResultT", bound=Result)


class TaskSettings(StrictModel):
    """Live settings of a task; each field becomes a node parameter with its range and description."""


class Decoder(ABC):
    """Turns a model's raw outputs into the task's candidates; built once per model."""

    options_type: ClassVar[type[StrictModel]]

    def __init__(self, manifest: Manifest) -> None:
        """Validate the manifest's decoder options; raise ManifestError naming the wrong key."""
        self.model = manifest.name
        try:
            self.options: Any = self.options_type.model_validate(manifest.output.options)
        except ValidationError as error:
            raise ManifestError(
                f"model {manifest.name!r}, options of decoder {manifest.output.decoder!r}: "
                f"{describe_validation_error(error)}"
            ) from error

    @abstractmethod
    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when the model's outputs cannot be decoded this way."""

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return what the outputs that ``check`` found are; those not named are recognized in the graph."""
        return {}

    def read(self, outputs: Mapping[str, NDArray[Any]], name: str | None) -> NDArray[Any]:
        """Return an output, the first where ``name`` is None; raise OutputError if missing or empty."""
        values = outputs.get(name) if name is not None else next(iter(outputs.values()), None)
        if values is None or not values.size:
            raise OutputError(
                f"{self.where(name)}: the runtime gave {'no' if values is None else 'an empty'} output"
            )
        return values

    def where(self, name: str | None) -> str:
        """Return model and output for messages."""
        return f"model {self.model!r}, output {name!r}" if name else f"model {self.model!r}"

    def find_output(self, outputs: tuple[TensorSpec, ...], name: str | None) -> TensorSpec:
        """Return the output called ``name`` (the only one when None); raise ModelFileError if none."""
        if name is None and len(outputs) == 1:
            return outputs[0]
        for tensor in outputs:
            if tensor.name == name:
                return tensor
        known = ", ".join(tensor.name for tensor in outputs)
        problem = f"output {name!r} is not among" if name else "the manifest must name one output of"
        raise ModelFileError(f"model {self.model!r}: {problem} {known}")


class Task(ABC, Generic[ResultT]):
    """One perception or planning task with its live settings."""

    name: ClassVar[str]
    settings_type: ClassVar[type[TaskSettings]]
    decoder_type: ClassVar[type[Decoder]]

    def __init__(self, manifest: Manifest) -> None:
        """Build the task for a model.

        Raises:
            ManifestError: a decoder of another task, wrong decoder options or settings.
        """
        self.manifest = manifest
        self.settings: Any = self.parse_settings(manifest.output.settings)
        self.decoder: Any = self._build_decoder()
        self._inputs = InputPreparer(manifest)

    def _build_decoder(self) -> Any:
        manifest = self.manifest
        decoder_class = find(DECODERS, manifest.output.decoder, ManifestError)
        if not issubclass(decoder_class, self.decoder_type):
            raise ManifestError(
                f"decoder {manifest.output.decoder!r} of model {manifest.name!r} "
                f"is not for task {self.name!r}"
            )
        return decoder_class(manifest)

    @classmethod
    def parse_settings(cls, values: Mapping[str, Any]) -> Any:
        """Validate live settings; raise ManifestError naming the key and the valid range."""
        try:
            return cls.settings_type.model_validate(dict(values))
        except ValidationError as error:
            raise ManifestError(f"{cls.name} settings: {describe_validation_error(error)}") from error

    def bind(self, info: SessionInfo) -> None:
        """Check a loaded model against the manifest and take its inputs' names.

        Raises:
            ModelFileError: input or output names, shapes or types differ from the manifest.
        """
        self._inputs.bind(info.inputs)
        self.decoder.check(info.outputs)

    def prepare(self, frame: Frame) -> tuple[dict[str, NDArray[Any]], Geometry]:
        """Return the model's feeds and the mapping between model pixels and source pixels.

        The feeds' arrays may be reused by the next call.

        Raises:
            ImageError: the frame has no pixels.
            ResultError: an input besides the image is missing at this frame.
        """
        return self._inputs(frame)

    @abstractmethod
    def decode(self, outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> ResultT:
        """Turn the model's outputs into a result in source pixels or meters.

        Raises:
            OutputError: an output or the result is not finite, of a wrong shape, or out of range.
        """
