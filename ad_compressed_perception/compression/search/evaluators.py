# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loss of a candidate on search frames: of agreement with the baseline, or of accuracy on labels."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from ad_compressed_perception.analysis.accuracy import AccuracyScore
from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, collect, use_settings
from ad_compressed_perception.compression.search.frames import SearchFrames
from ad_compressed_perception.compression.verification.labeled_check import (
    LabeledChoice,
    LabeledFrames,
    compare_scores,
)
from ad_compressed_perception.compression.verification.scores import AgreementScore
from ad_compressed_perception.compression.verification.task_scores import create_score
from ad_compressed_perception.core.errors import ModelFileError, ResultError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.core.results import LabelMask, Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.pass_api.terms import VerifySpec
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.search import Drop
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline

LABELED_SHARE = 0.5
"""Share of the labeled data, from its beginning, that candidates are compared on; the rest verifies."""


class Evaluator(ABC):
    """Compares candidates with the baseline.

    Attributes:
        frames: how many frames there are to compare on.
    """

    frames: int

    @abstractmethod
    def drop(self, variant: Pipeline, count: int, advance: Advance) -> Drop:
        """Return the loss on so many frames, evenly chosen; raise AdcpError where one cannot be compared."""

    @abstractmethod
    def close(self) -> None:
        """Release the baseline."""


class AgreementEvaluator(Evaluator):
    """The baseline's results are the reference; each is computed once."""

    def __init__(self, manifest: Manifest, frames: SearchFrames, verify: VerifySpec) -> None:
        """Load the baseline; raise AdcpError where it cannot be."""
        self._manifest, self._frames, self._verify = manifest, frames, verify
        create_score(manifest, verify)  # an unknown label is an error before anything is measured
        self._baseline = open_pipeline(manifest, manifest.baseline, allow_rejected=True)
        self._results: dict[int, Result | tuple[LabelMask, bytes]] = {}
        self.frames = len(frames.search)

    def close(self) -> None:
        """Release the baseline."""
        self._baseline.close()

    def drop(self, variant: Pipeline, count: int, advance: Advance) -> Drop:
        """Return the loss of agreement.

        Raises:
            ModelFileError: the baseline itself gives no valid result.
            AdcpError: a frame cannot be read, a runtime failed.
        """
        score = create_score(self._manifest, self._verify)
        sample = self._frames.subset(count)
        for done, (index, frame) in enumerate(zip(sample.indices, sample, strict=True)):
            reference = self._reference(index, frame, score)
            compared: Result | None
            try:
                compared = score.run(variant, frame)
            except ResultError:
                compared = None
            score.add(reference, compared)
            advance(done + 1, len(sample))
        figures = score.figures()
        worst = max(figures.labels, key=lambda one: one.low, default=None)
        return copied(
            Drop,
            figures,
            low=figures.drop_low,
            high=figures.drop_high,
            informative=figures.informative_frames,
            failed=figures.failed_frames,
            worst_label="" if worst is None else worst.name,
            worst_label_low=0.0 if worst is None else worst.low,
        )

    def _reference(self, index: int, frame: Frame, score: AgreementScore) -> Result:
        """Return the baseline's result on a frame; masks are kept compressed (zlib)."""
        if index not in self._results:
            try:
                result = score.run(self._baseline, frame)
            except ResultError as error:
                raise ModelFileError(
                    f"the baseline gives no result on frame {index} of "
                    f"{self._frames.source.describe}: {error}"
                ) from error
            self._results[index] = _deflate(result)
        kept = self._results[index]
        return _inflate(*kept) if isinstance(kept, tuple) else kept


class LabeledEvaluator(Evaluator):
    """Labels are the ground truth: the loss of the task's metric, paired by frame with the baseline."""

    def __init__(self, manifest: Manifest, labeled: LabeledFrames) -> None:
        """Load a baseline with the settings of published figures; raise AdcpError where it cannot be."""
        self._labeled = labeled
        self._baseline = open_pipeline(manifest, manifest.baseline, allow_rejected=True)
        self._use_settings(self._baseline)
        self._scores: dict[int, AccuracyScore] = {}
        self.frames = len(labeled.indices)

    def close(self) -> None:
        """Release the baseline."""
        self._baseline.close()

    def drop(self, variant: Pipeline, count: int, advance: Advance) -> Drop:
        """Return the loss of accuracy: points or percent, as a share (1 point is 0.01).

        Raises:
            DataError: a frame or label cannot be read or compared.
            AdcpError: a runtime failed.
        """
        data, every = self._labeled.data, self._labeled.indices
        taken = min(count, len(every))
        indices = [every[(2 * step + 1) * len(every) // (2 * taken)] for step in range(taken)]
        if taken not in self._scores:
            self._scores[taken] = collect(self._baseline, data, indices)
        first = self._scores[taken]
        self._use_settings(variant)
        second = collect(variant, data, indices, advance)
        block = max(first.block_length(), second.block_length()) if data.is_series else 1
        compared = compare_scores(first, second, np.arange(taken), min(block, max(1, taken // 4)))
        loss = compared.drop[self._labeled.metric]
        return Drop(
            measure=f"{loss.metric}, {loss.unit} / 100",
            drop=loss.value / 100.0,
            low=loss.low / 100.0,
            high=loss.high / 100.0,
            frames=taken,
            informative=taken,
        )

    def _use_settings(self, pipeline: Pipeline) -> None:
        if self._labeled.data.task == "detection":
            use_settings(pipeline, **DETECTION_SETTINGS)


def halves(choice: LabeledChoice) -> tuple[LabeledChoice, LabeledChoice]:
    """Return the part of labeled data that candidates are compared on and the part of the verdict."""
    middle = choice.from_share + LABELED_SHARE * (choice.to_share - choice.from_share)
    limit = None if choice.limit is None else max(1, choice.limit // 2)
    return replace(choice, to_share=middle, limit=limit), replace(choice, from_share=middle, limit=limit)


def _deflate(result: Result) -> Result | tuple[LabelMask, bytes]:
    if not isinstance(result, LabelMask):
        return result
    ids = np.ascontiguousarray(result.label_ids)
    return replace(result, label_ids=np.zeros((ids.shape[0], 0), np.uint8)), zlib.compress(ids.tobytes(), 1)


def _inflate(shell: LabelMask, packed: bytes) -> LabelMask:
    rows = shell.label_ids.shape[0]
    return replace(shell, label_ids=np.frombuffer(zlib.decompress(packed), np.uint8).reshape(rows, -1))
