# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model at moments the report asks about: cleaned up, before and after its numbers got fewer bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.pass_api.passes import Pass

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Snapshot:
    """A model as some pass left it.

    Attributes:
        data: the model, serialized: passes work in place.
        manifest: with the input and output it had then.
        nodes: operators in it.
    """

    data: bytes
    manifest: Manifest
    nodes: int

    def model(self) -> ModelProto:
        """Return the model."""
        from onnx import ModelProto as Proto

        return Proto.FromString(self.data)


def take(model: ModelProto, manifest: Manifest) -> Snapshot:
    """Return a snapshot of a model."""
    return Snapshot(model.SerializeToString(), manifest, len(model.graph.node))


@dataclass
class Snapshots:
    """Taken while a recipe's passes run.

    Attributes:
        cleaned: after the clean-up that the recipe begins with; None where it begins with none.
        cleaners: the passes that made it.
        exact: before the first pass that gives numbers fewer bits; None where no pass does.
        rounded: after the last such pass.
    """

    cleaned: Snapshot | None = None
    cleaners: list[str] = field(default_factory=list)
    exact: Snapshot | None = None
    rounded: Snapshot | None = None
    _cleaning: bool = True

    def before(self, step: Pass, model: ModelProto, manifest: Manifest) -> None:
        """Look at the model that a pass is about to change."""
        if step.lowers_precision and self.exact is None:
            self.exact = take(model, manifest)

    def after(self, step: Pass, model: ModelProto, manifest: Manifest) -> None:
        """Look at what a pass left."""
        self._cleaning = self._cleaning and step.preserves_outputs
        if self._cleaning:
            self.cleaned = take(model, manifest)
            self.cleaners.append(step.name)
        if step.lowers_precision:
            self.rounded = take(model, manifest)
