# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation: a label for every source pixel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import LabelMask
from ad_compressed_perception.tasks.base import Decoder, Task, TaskSettings
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.output_contract import check_label_ids


class SegmentationSettings(TaskSettings):
    """Segmentation has no live settings."""


class SegmentationDecoder(Decoder):
    """Raw outputs to label ids."""

    @abstractmethod
    def label_ids(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return (h, w) label ids at the model's output resolution.

        Raises:
            OutputError: a value is not finite, or is none that the decoder can mean.
        """


class SegmentationTask(Task[LabelMask]):
    """Labels every pixel."""

    name = "segmentation"
    settings_type = SegmentationSettings
    decoder_type = SegmentationDecoder

    def decode(self, outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> LabelMask:
        """Return the label mask in the source frame's size."""
        label_ids = self.decoder.label_ids(outputs)
        check_label_ids(label_ids, len(self.manifest.labels), self.manifest.name)
        return LabelMask(geometry.labels_to_source(label_ids), tuple(self.manifest.labels))
