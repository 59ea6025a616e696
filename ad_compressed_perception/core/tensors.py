# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tensor and a layer as a runtime or a graph describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Feeds = dict[str, NDArray[Any]]
"""Input tensors by name."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (None where dynamic) and numpy dtype name of an input or output."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class LayerRecord:
    """One layer of the graph a runtime really executes."""

    name: str
    operator: str
    precision: str
    kernel: str
    is_compute: bool = field(default=False)
    """Whether it is a convolution or a matrix product, the layers integer coverage counts."""
    is_integer: bool = field(default=False)
