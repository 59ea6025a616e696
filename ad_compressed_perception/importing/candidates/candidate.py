# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A decoder that could fit a model, and what candidates are derived from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.importing.model_facts import ModelFacts


@dataclass(frozen=True)
class Candidate:
    """A task and a decoder with its options.

    Attributes:
        task: its name.
        decoder: its name.
        options: the decoder's options.
        classes: how many labels the outputs have room for; 0 where the task has none.
        family: whose usual preparation of images goes with it: ultralytics, yolox, torchvision, ...
        why: what in the file speaks for it.
        prior: 0..1, how likely it is before a frame was seen.
        mirrors_anyway: whether results mirror with the scene whatever the numbers mean, as planes of any
            convolutional network do, and neither the graph's end nor the labels say that they are classes.
    """

    task: str
    decoder: str
    options: Mapping[str, Any]
    classes: int
    family: str
    why: str
    prior: float
    mirrors_anyway: bool = False

    @property
    def command(self) -> str:
        """Options of ``adcp import`` that choose this candidate."""
        parts = [f"--task {self.task} --decoder {self.decoder}"]
        parts += [
            f"--decoder-option {shlex.quote(f'{key}={_text(value)}')}" for key, value in self.options.items()
        ]
        return " ".join(parts)


def _text(value: Any) -> str:
    """Return an option's value as the command line takes it: plain lists without brackets."""
    if isinstance(value, (list, tuple)) and not any(isinstance(one, (list, tuple)) for one in value):
        return ",".join(map(str, value)) if len(value) > 1 else json.dumps(list(value))
    return value if isinstance(value, str) else json.dumps(value)


_ORDERED_SHARE = 0.98


@dataclass(frozen=True)
class Evidence:
    """What candidates are derived from.

    Attributes:
        facts: of the file.
        width: of the model's input, pixels.
        height: likewise.
        labels: number of labels that the user or the metadata names; 0 where nobody does.
        values: an output's values on a few frames, name to (frames, ...); empty where it was not run.
    """

    facts: ModelFacts
    width: int
    height: int
    labels: int = 0
    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs, with the shapes of the values where the file leaves them open."""
        return tuple(
            TensorSpec(one.name, self.values[one.name].shape[1:], one.dtype)
            if None in one.shape and one.name in self.values
            else one
            for one in self.facts.outputs
        )

    def span(self, output: str, columns: slice | int | None = None, axis: int = -1) -> tuple[float, float]:
        """Return the least and largest finite value of an output, or of some columns along an axis.

        Returns:
            (nan, nan) where nothing is known.
        """
        values = self.values.get(output)
        if values is None or not values.size:
            return float("nan"), float("nan")
        taken = values if columns is None else np.moveaxis(values, axis, -1)[..., columns]
        finite = taken[np.isfinite(taken)] if taken.dtype.kind == "f" else taken
        if not finite.size:
            return float("nan"), float("nan")
        return float(finite.min()), float(finite.max())

    def largest(self, output: str, columns: slice, axis: int = -1) -> float:
        """Return the 99th percentile of some columns, nan where unknown: empty cells hold wild sizes."""
        values = self.values.get(output)
        if values is None or not values.size:
            return float("nan")
        taken = np.moveaxis(values, axis, -1)[..., columns].astype(np.float64)
        finite = taken[np.isfinite(taken)]
        return float(np.percentile(finite, 99.0)) if finite.size else float("nan")

    def box_order(self, output: str, axis: int = -1) -> str:
        """Return whether four columns are corners (xyxy) or center and size (center), by their values.

        The second corner is beyond the first in every box; a size is not beyond the center in every box.
        """
        values = self.values.get(output)
        if values is None or not values.size:
            return ""
        boxes = np.moveaxis(values, axis, -1)[..., :4].reshape(-1, 4).astype(np.float64)
        boxes = boxes[np.isfinite(boxes).all(axis=1) & (np.abs(boxes).max(axis=1) > 0.0)]
        if not len(boxes):
            return ""
        ordered = (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])
        return "xyxy" if ordered.mean() >= _ORDERED_SHARE else "center"

    def are_probabilities(self, output: str, columns: slice | int | None = None, axis: int = -1) -> bool:
        """Return whether values are within 0 to 1; by the graph's end where they are unknown."""
        low, high = self.span(output, columns, axis)
        if np.isnan(low):
            return self.facts.has_probabilities(output)
        return low >= -1e-3 and high <= 1.0 + 1e-3


def cells(width: int, height: int, strides: tuple[int, ...], *, rounded_up: bool = False) -> int:
    """Return how many cells the grids of these strides have."""
    extra = [stride - 1 if rounded_up else 0 for stride in strides]
    return sum(
        ((width + more) // stride) * ((height + more) // stride)
        for stride, more in zip(strides, extra, strict=True)
    )


def is_float(tensor: TensorSpec) -> bool:
    """Return whether a tensor holds real numbers."""
    return tensor.dtype.startswith("float")
