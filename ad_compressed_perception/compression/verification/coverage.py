# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Integer coverage: share of a model that runs as integer kernels, in the graph the runtime executes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ad_compressed_perception.backends.base import Session


@dataclass(frozen=True)
class IntegerCoverage:
    """Convolutions and matrix products of the executed graph, by how they are computed.

    Attributes:
        integer: how many run as integer kernels.
        compute: how many there are.
        float_layers: names of those that stayed in floating point.
        precisions: precision to count.
    """

    integer: int
    compute: int
    float_layers: tuple[str, ...]
    precisions: dict[str, int]

    @property
    def share(self) -> float | None:
        """Share that runs as integer kernels; None without any convolution or matrix product.

        Necessary for a gain in speed, not sufficient: operators between the compute ops count too.
        """
        return self.integer / self.compute if self.compute else None


def measure_coverage(session: Session) -> IntegerCoverage:
    """Count the convolutions and matrix products of a loaded model's executed graph."""
    compute = [layer for layer in session.layers() if layer.is_compute]
    return IntegerCoverage(
        integer=sum(layer.is_integer for layer in compute),
        compute=len(compute),
        float_layers=tuple(layer.name for layer in compute if not layer.is_integer),
        precisions=dict(sorted(Counter(layer.precision for layer in compute).items())),
    )
