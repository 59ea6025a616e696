# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Classification: what a whole frame shows, such as the state of a traffic light, a sign or a scene."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.tasks.base import Decoder, Task, TaskSettings
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.output_contract import check_class_scores


class ClassificationSettings(TaskSettings):
    """Live settings of the classification task."""

    score_threshold: float = Field(0.0, ge=0.0, le=1.0, description="least score of a published label")
    top_k: int = Field(5, ge=1, le=10000, description="most labels that are published of a frame")


class ClassificationDecoder(Decoder):
    """Raw outputs to a score of every label."""

    @abstractmethod
    def scores(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return (K,) scores in 0..1, in the order of the labels.

        Raises:
            OutputError: a value is not finite, or is none that the decoder can mean.
        """


class ClassificationTask(Task[Classification]):
    """Classifies the whole frame."""

    name = "classification"
    settings_type = ClassificationSettings
    decoder_type = ClassificationDecoder

    def decode(self, outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> Classification:
        """Return all scores and the labels to publish; of equal scores the label with the lower id is first.

        The image's geometry is not used.
        """
        settings: ClassificationSettings = self.settings
        scores: NDArray[np.float32] = self.decoder.scores(outputs)
        check_class_scores(scores, len(self.manifest.labels), self.manifest.name)
        strongest = np.argsort(-scores, kind="stable")[: settings.top_k]
        ranked = strongest[scores[strongest] >= settings.score_threshold]
        return Classification(scores, ranked.astype(np.int64), tuple(self.manifest.labels))
