# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs of frames that share an inference, kept until their turns."""

from __future__ import annotations

from collections import Counter

from ad_compressed_perception.serving.answer import Job
from ad_compressed_perception.serving.served_model import Before, ServedModel
from ad_compressed_perception.tasks.batch import FrameInBatch
from ad_compressed_perception.tasks.pipeline import Inferred


class SharedInference:
    """One thread at a time calls its methods.

    Attributes:
        counts: ``frames`` that shared an inference, and attempts at one that ``failed``.
    """

    def __init__(self) -> None:
        """Begin without outputs."""
        self._known: dict[str, tuple[ServedModel, Inferred]] = {}
        self._alone = 0
        self.counts: Counter[str] = Counter()

    def clear(self) -> None:
        """Forget all outputs."""
        self._known.clear()

    def of(self, model: ServedModel, job: Job, before: Before) -> Inferred | None:
        """Return a frame's outputs, of an inference that it shared or shares now; None: it has none.

        Args:
            model: runs it.
            job: the frame, and which come next.
            before: see ServedModel.run.
        """
        known = self._known.pop(job.camera, None)
        if known is not None and known[0] is model and known[1].frame is job.frame:
            return known[1]
        if self._alone > 0:  # an inference that they should have shared failed
            self._alone -= 1
            return None
        if job.others is None or model.batch_problem or not (others := job.others()):
            return None
        try:
            mine, *rest = model.infer_together(
                [FrameInBatch(job.frame, before), *(frame for _, frame in others)]
            )
        except Exception:  # each alone, then: whose frame it was shows
            self.counts["failed"] += 1
            self._alone = len(others)
            return None
        self.counts["frames"] += 1 + len(others)
        self._known = {camera: (model, each) for (camera, _), each in zip(others, rest, strict=True)}
        return mine
