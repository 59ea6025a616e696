# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Task raw: a model's outputs as they are, so that any model with one image input can be compared."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ad_compressed_perception.core.results import RawOutputs
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.tasks.base import Decoder, Task, TaskSettings
from ad_compressed_perception.tasks.geometry import Geometry


class RawSettings(TaskSettings):
    """Task raw has no live settings."""


class RawDecoder(Decoder):
    """Takes outputs as they are."""

    @abstractmethod
    def take(self, outputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Return the outputs; raise OutputError where one is missing or a number is not finite."""


class RawTask(Task[RawOutputs]):
    """Prepares images as the manifest says and leaves the outputs as they are."""

    name = RAW
    settings_type = RawSettings
    decoder_type = RawDecoder

    def decode(self, outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> RawOutputs:
        """Return the outputs in the model's own units, whatever the source frame's size."""
        taken: RawOutputs = self.decoder.take(outputs)
        return taken
