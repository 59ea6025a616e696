# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a compression pass: options in, one changed graph out, and notes about what it did."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, ValidationError

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.host import HostInfo
from ad_compressed_perception.core.manifest import (
    InputSpec,
    Manifest,
    OutputSpec,
    StrictModel,
    describe_validation_error,
)
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.core.renamed import accept_old_attributes, warn_renamed
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.pass_api.terms import VerifySpec

if TYPE_CHECKING:
    from onnx import ModelProto

    from ad_compressed_perception.pass_api.terms import VerifySpec


# Old names of a pass's flags, accepted for one version.
_RENAMED_FLAGS = {"cleans": "preserves_outputs", "rounds": "lowers_precision"}


class PassOptions(StrictModel):
    """Base of each pass's options; unknown keys are refused by name."""


class OptionalPassOptions(PassOptions):
    """Options of a pass whose pattern a model may lack."""

    optional: bool = Field(
        False, description="leave the model as it is where there is nothing to change, instead of an error"
    )

    def nothing_to_change(self, context: PassContext, why: str) -> None:
        """Note why a model stays as it is; raise ModelFileError where the pass is not optional."""
        if not self.optional:
            raise ModelFileError(f"{why}: leave this pass out, or make it optional")
        context.notes["nothing_to_change"] = why


@accept_old_attributes(pictures="images")
@dataclass
class PassContext:
    """What a pass may use besides the graph.

    Attributes:
        manifest: the model being compressed, as it was before the first pass.
        input: the input after the passes so far; a pass that changes it assigns a new one.
        output: the output after the passes so far; likewise.
        feeds: returns an iterator over the calibration frames as inputs of the model as it is now;
            every array is a copy of its own. Raises DataError where a frame cannot be read.
        images: returns an iterator over the same frames as the camera published them.
        frames: how many frames these iterators yield, at least 1.
        baseline: the float model file that variants are compared with; the teacher in distillation.
        host: the processor of this computer.
        scratch: an empty folder for temporary files, removed afterwards.
        checkpoints: folder in which a long pass may save its state, to resume after an interruption;
            removed once the variant is stored.
        notes: facts for the report, written by the pass.
        verify: the recipe's comparison settings, for passes that measure the task's own score; None
            for the defaults.
        runtime: backend that the variant is to run on, and its options; for passes that measure speed.
        advance: progress callback (done, total).
        exported: the file of another runtime, in ``scratch``; set by a pass that writes one.
    """

    manifest: Manifest
    input: InputSpec
    output: OutputSpec
    feeds: Callable[[], Iterator[Feeds]]
    images: Callable[[], Iterator[Frame]]
    frames: int
    baseline: Path
    host: HostInfo
    scratch: Path
    checkpoints: Path
    notes: dict[str, Any] = field(default_factory=dict)
    verify: VerifySpec | None = None
    runtime: tuple[str, Mapping[str, Any]] = ("onnxruntime", MappingProxyType({}))
    advance: Advance = no_advance
    exported: Path | None = None

    def with_frames(self, count: int) -> PassContext:
        """Return the same with no more than ``count`` calibration frames, evenly chosen; notes are shared."""
        if count >= self.frames:
            return self
        chosen = {(2 * place + 1) * self.frames // (2 * count) for place in range(count)}

        def feeds() -> Iterator[Feeds]:
            return (one for index, one in enumerate(self.feeds()) if index in chosen)

        def images() -> Iterator[Frame]:
            return (one for index, one in enumerate(self.images()) if index in chosen)

        return replace(self, feeds=feeds, images=images, frames=count)


class Pass(ABC):
    """One step of a recipe. Third parties register theirs in the entry-point group of passes."""

    name: ClassVar[str]
    options_type: ClassVar[type[PassOptions]] = PassOptions
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Options of a pass that is another one with these set; a recipe may still set them otherwise."""
    preserves_outputs: ClassVar[bool] = False
    """Whether the model's outputs stay the same; the report gives the speedup of such passes."""
    lowers_precision: ClassVar[bool] = False
    """Whether it reduces the number of bits; the report gives the SQNR of each layer afterwards."""
    writes: ClassVar[str] = ""
    """Backend whose file the pass writes (``PassContext.exported``), as the last of its recipe."""

    divides: ClassVar[bool] = False
    """Whether it writes stages of the model, in a folder, each of which runs on the recipe's backend."""

    image_input_only: ClassVar[bool] = False
    """Whether it takes models with one input only: it runs or changes the image's."""
    one_task_only: ClassVar[bool] = False
    """Whether it takes models with one task only: it changes or trains what one decoder reads."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Take over flags that a pass of another package still sets under their old names."""
        super().__init_subclass__(**arguments)
        for old, new in _RENAMED_FLAGS.items():
            if old in vars(cls):
                warn_renamed(f"flag of pass {cls.__name__}", old, new)
                setattr(cls, new, vars(cls)[old])

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Validate the options; raise RecipeError naming the wrong key and the known ones."""
        try:
            self.options: Any = self.options_type.model_validate({**self.defaults, **(options or {})})
        except ValidationError as error:
            known = ", ".join(self.options_type.model_fields) or "none"
            raise RecipeError(
                f"pass {self.name!r}: {describe_validation_error(error)}; known options: {known}"
            ) from error

    def require_packages(self) -> None:  # noqa: B027  (most passes need none)
        """Raise RecipeError naming what pip installs where a package is missing; called before any work."""

    @abstractmethod
    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the changed model; may change ``model`` in place.

        Raises:
            AdcpError: the model cannot take this pass; one line that names the operator or tensor.
        """
