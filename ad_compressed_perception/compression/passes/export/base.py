# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Common to the passes that write another runtime's file: options, packages, and the file's place."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ad_compressed_perception.core.errors import AdcpError, ModelFileError, RecipeError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

Precision = Literal["fp32", "fp16", "int8"]


class ExportOptions(PassOptions):
    """Options of the passes that write another runtime's file."""

    precision: Precision = Field(
        "fp32", description="of the file; int8: weights and activations, from the calibration frames"
    )
    frames: int | None = Field(
        None, ge=1, description="number of calibration frames used, evenly spaced; all by default"
    )


class ExportPass(Pass):
    """A pass that leaves the graph as it is and writes it as a file of another runtime."""

    options_type = ExportOptions
    suffix: ClassVar[str]
    packages: ClassVar[Mapping[str, str]]
    """Modules that it needs, and what pip installs of each."""

    def require_packages(self) -> None:
        """Raise RecipeError naming what pip installs where a package is missing."""
        missing = [name for module, name in self.packages.items() if find_spec(module) is None]
        if missing:
            raise RecipeError(f"pass {self.name!r} needs packages: pip install {' '.join(missing)}")

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Write the file; the graph is returned unchanged.

        Raises:
            ModelFileError: the graph cannot be written for this runtime; the line names the operator.
        """
        self.require_packages()
        options: ExportOptions = self.options
        used = context if options.frames is None else context.with_frames(options.frames)
        out = context.scratch / f"model{self.suffix}"

        def frames() -> Iterator[Feeds]:
            for place, feeds in enumerate(used.feeds()):
                context.advance(place, used.frames)
                yield feeds

        context.notes.update(self.write(model, out, options.precision, frames()))
        context.exported = out
        return model

    @abstractmethod
    def write(
        self, model: ModelProto, out: Path, precision: Precision, frames: Iterable[Feeds]
    ) -> dict[str, Any]:
        """Write the file; return notes for the report."""


def needed_frames(precision: Precision, frames: Iterable[Feeds]) -> list[Feeds]:
    """Return the calibration frames of an int8 file; raise RecipeError where there are none."""
    given = list(frames) if precision == "int8" else []
    if precision == "int8" and not given:
        raise RecipeError("int8 needs calibration frames")
    return given


@contextlib.contextmanager
def converting(what: str) -> Iterator[None]:
    """Keep a converter's own output away, and turn what it raises into a ModelFileError of one line."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except AdcpError:
        raise
    except OSError as error:  # a full disk says nothing of the graph
        raise ModelFileError(f"{what} cannot write its file: {error.strerror or one_line(error)}") from error
    except Exception as error:  # converters raise many types
        raise ModelFileError(f"{what} refused the graph: {one_line(error)}") from error
    finally:
        logging.disable(previous)
