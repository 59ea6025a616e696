# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much each row of a table of candidates counts: as its largest score.

A dense head gives thousands of rows, nearly all of them background. Their boxes and classes change with every
rounding and no decoder reads them; over all rows they would decide the figure. A score is a column within
0 to 1 that is small in most rows. Outputs of as many rows belong together: boxes and scores. Only tables
are weighted, since of an image every pixel may count.

Heads whose class scores hold only where an objectness is high (YOLOX, YOLOv5) need the manifest's decoder
option ``row_scores``: their classes alone say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.metrics.output_channels import is_table, score_columns
from ad_compressed_perception.metrics.output_noise import OutputNoise

Pairs = Mapping[str, tuple[NDArray[Any], NDArray[Any] | None]]


class RowWeights:
    """Finds the columns of scores on the first frame and weights the rows of every frame by them."""

    def __init__(self, manifest: Manifest) -> None:
        """Take input size and given columns from a manifest of task raw."""
        self._size = (manifest.input.height, manifest.input.width)
        self._given: Mapping[str, list[int]] = manifest.output.options.get("row_scores") or {}
        self._columns: dict[str, NDArray[np.int64]] | None = None

    def of_frame(self, noise: Mapping[str, OutputNoise], pairs: Pairs) -> dict[str, NDArray[np.float64]]:
        """Return output name to the weights of its rows, (P,) in 0..1, those of the larger side's score.

        Args:
            noise: of the outputs that are compared as numbers.
            pairs: output name to the arrays of baseline and variant.

        Raises:
            ManifestError: a given column that an output does not have.
        """
        tables = {
            name: noise[name]
            for name, (b, _) in pairs.items()
            if name in noise and is_table(b.shape, self._size)
        }
        if self._columns is None:
            self._columns = {
                name: self._find(name, one.table(pairs[name][0])) for name, one in tables.items()
            }
        by_rows: dict[int, NDArray[np.float64]] = {}
        for name, one in tables.items():
            columns = self._columns[name]
            if columns.size:
                sides = [one.table(side)[columns].max(axis=0) for side in pairs[name] if side is not None]
                scores = np.clip(np.max(sides, axis=0), 0.0, 1.0)
                by_rows[len(scores)] = np.maximum(by_rows.get(len(scores), scores), scores)
        found = {name: by_rows.get(max(one.shape)) for name, one in tables.items()}
        return {name: weights for name, weights in found.items() if weights is not None}

    def _find(self, name: str, table: NDArray[np.float64]) -> NDArray[np.int64]:
        if not self._given:
            return score_columns(table)
        columns = np.array(self._given.get(name, []), np.int64)
        if columns.size and not (columns.min() >= 0 and columns.max() < len(table)):
            raise ManifestError(
                f"row_scores: output {name!r} has columns 0 to {len(table) - 1}, not {columns.tolist()}"
            )
        return columns
