# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sigmoid: one binary plane, or several independent ones, compared with a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.score_planes import (
    ScorePlanesDecoder,
    ScorePlanesOptions,
    strongest,
)
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds


class SigmoidOptions(ScorePlanesOptions):
    """Options of the sigmoid decoder."""

    scores: Literal["probability", "logits"] = Field(
        "probability", description="whether the graph ends in its sigmoid (probability) or before (logits)"
    )
    threshold: float = Field(0.5, gt=0.0, lt=1.0, description="probability above which a pixel is labeled")


class SigmoidDecoder(ScorePlanesDecoder):
    """Decodes C planes for C + 1 labels: the first label is that of pixels where no plane is above.

    Where planes overlap, the pixel takes the label of the strongest. The order of the axes is read from the
    shape; a plane may come without axes of batch and channel.
    """

    options_type = SigmoidOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options and the number of labels."""
        super().__init__(manifest, len(manifest.labels) - 1)
        if not 2 <= len(manifest.labels) <= 256:
            raise ManifestError(
                f"model {manifest.name!r}: decoder sigmoid needs the label of pixels where no channel is "
                "above the threshold first, such as background, then one a channel, at most 255; it has "
                f"{len(manifest.labels)}"
            )
        chance = self.options.threshold
        # Compared before the sigmoid, which is monotone: p > t where x > log(t / (1 - t)).
        self._limit = math.log(chance / (1.0 - chance)) if self.options.scores == "logits" else chance

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return a probability, or its logit, of each plane and pixel."""
        return {
            self._output or "": OutputKinds(
                (Columns("logits" if self.options.scores == "logits" else "probability"),)
            )
        }

    def shapes(self, layout: str) -> tuple[tuple[int | None, ...], ...]:
        """Return the shapes of a layout; a single plane may lack its axis."""
        alone: tuple[tuple[int | None, ...], ...] = ((None, None),) if self._channels == 1 else ()
        return (*super().shapes(layout), *alone)

    def expected(self) -> str:
        """Return in words what the decoder takes."""
        return (
            f"{self._channels} channels of decoder sigmoid (one for each label after the first, that of "
            "other pixels; decoder argmax takes one for every label)"
        )

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when channels, height or width do not fit, or numbers are not real."""
        tensor = self.find_planes(outputs)
        self.check_size(tensor)
        if not tensor.dtype.startswith("float"):
            raise ModelFileError(
                f"model {self.model!r}: decoder sigmoid needs real numbers, the file's {tensor.name!r} is "
                f"{tensor.dtype}: ready label ids are for decoder argmax with layout LABELS"
            )

    def probabilities(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return a frame's scores as the file gives them, checked.

        Raises:
            OutputError: another shape, not finite, or probabilities outside of 0..1.
        """
        scores, where = self.checked(self.read(outputs, self._output)), self.where(self._output)
        check_finite(scores, where)
        if self.options.scores == "probability":
            check_probability(scores, where, "for logits set decoder option scores: logits")
        return scores

    def label_ids(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return (h, w) label ids: 0 where no plane is above the threshold.

        Raises:
            OutputError: as ``probabilities``.
        """
        scores = self.probabilities(outputs)
        indices, best = strongest(self.planes(scores), scores, self.where(self._output))
        return np.asarray((indices + np.uint8(1)) * (best > self._limit), np.uint8)
