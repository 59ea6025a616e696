# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of the model for the report: after graph optimization, before and after quantization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.pass_api.passes import Pass

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Snapshot:
    """A model between two passes.

    Attributes:
        data: the model, serialized, since passes work in place.
        manifest: with the model's input and output at that point.
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
    """Snapshots taken while a recipe's passes run.

    Attributes:
        optimized: after the graph optimization that the recipe begins with; None where it begins with none.
        cleaners: names of the graph optimization passes.
        exact: before the first pass that lowers precision; None where no pass does.
        rounded: after the last such pass.
    """

    optimized: Snapshot | None = None
    cleaners: list[str] = field(default_factory=list)
    exact: Snapshot | None = None
    rounded: Snapshot | None = None
    _cleaning: bool = True

    def before(self, step: Pass, model: ModelProto, manifest: Manifest) -> None:
        """Record the model before a pass changes it."""
        if step.lowers_precision and self.exact is None:
            self.exact = take(model, manifest)

    def after(self, step: Pass, model: ModelProto, manifest: Manifest) -> None:
        """Record the model after a pass."""
        self._cleaning = self._cleaning and step.preserves_outputs
        if self._cleaning:
            self.optimized = take(model, manifest)
            self.cleaners.append(step.name)
        if step.lowers_precision:
            self.rounded = take(model, manifest)
