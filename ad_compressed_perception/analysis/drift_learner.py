# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learns a drift reference: a variant runs on every frame of a recording, as a node would."""

from __future__ import annotations

from ad_compressed_perception.core.errors import DataError, ResultError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.drift.frame_statistics import StatisticsReader
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.drift.reference_builder import ReferenceBuilder
from ad_compressed_perception.drift.windows import Steps
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import Pipeline

MAX_WITHOUT_RESULT = 0.01
"""Largest share of frames without a result: a reference says what results are like where the model works."""
_CAMERA_CHARACTERS = 256


class DriftLearner:
    """One variant on the frames of one recording, in the order of their stamps."""

    def __init__(self, pipeline: Pipeline, sha256: str, camera: str) -> None:
        """Learn from this pipeline, whose file has this hash; ``camera``: recording and topic."""
        labels = tuple(pipeline.task.manifest.labels)
        self._pipeline = pipeline
        self._reader = StatisticsReader(labels)
        self._builder = ReferenceBuilder(sha256, camera[-_CAMERA_CHARACTERS:], labels)
        self._steps = Steps()
        self._frames = self._without = 0
        self._reason = self._refusal = ""

    def add(self, frame: Frame) -> None:
        """Run the variant on a frame, of a fast camera not on each; one without a valid result is counted.

        Raises:
            AdcpError: the runtime failed.
        """
        if self._refusal or not self._steps.take(frame.stamp_ns * 1e-9):
            return
        self._frames += 1
        result: Result | None = None
        try:
            result, _ = self._pipeline.run(frame)
        except ResultError as error:
            self._without += 1
            self._reason = str(error)
            if self._without == self._frames:
                return  # which figures the results have is not known yet
        try:
            self._builder.add(self._reader.compute(frame, result), frame.stamp_ns * 1e-9)
        except DataError as error:  # a frame of another size, say: build() says so
            self._refusal = str(error)

    def build(self) -> DriftReference:
        """Return the reference.

        Raises:
            DataError: the recording is too short, its frames differ in size, or too many have no result; one
                line.
        """
        if self._refusal:
            raise DataError(self._refusal)
        if self._without > MAX_WITHOUT_RESULT * self._frames:
            raise DataError(f"{self._without} of {self._frames} frames gave no result: {self._reason}")
        return self._builder.build()
