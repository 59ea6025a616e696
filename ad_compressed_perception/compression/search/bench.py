# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measuring candidates on the search frames: times in turns with the baseline, loss against its results."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np

from ad_compressed_perception.compression.passes.base import Advance
from ad_compressed_perception.compression.recipe import VerifySpec
from ad_compressed_perception.compression.scores import create_score
from ad_compressed_perception.compression.search.frames import SearchFrames
from ad_compressed_perception.compression.search.trial import Drop, Speed
from ad_compressed_perception.errors import ModelFileError, ResultError
from ad_compressed_perception.image import Frame
from ad_compressed_perception.manifest import Manifest
from ad_compressed_perception.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.results import LabelMask, Result

_SPEED_FRAMES = 6
_WARM = 2
Times = tuple[list[float], list[float]]
"""Milliseconds of the inference and of the whole way, frame to result."""


class Bench:
    """The baseline, its results on the search frames, and what they are compared by."""

    def __init__(self, manifest: Manifest, frames: SearchFrames, verify: VerifySpec) -> None:
        """Load the baseline.

        Raises:
            AdcpError: it cannot be loaded.
        """
        self._manifest, self._frames, self._verify = manifest, frames, verify
        self._baseline = open_pipeline(manifest, manifest.baseline, allow_rejected=True)
        self._results: dict[int, Result | tuple[LabelMask, bytes]] = {}
        self._pictures: list[Frame] = []

    def close(self) -> None:
        """Release the baseline."""
        self._baseline.close()

    def speed(self, variant: Pipeline, seconds: float, least: int = 16, most: int = 200) -> Speed:
        """Time a variant and the baseline in turns.

        Args:
            variant: is timed.
            seconds: how long to go on, beyond the least number of turns.
            least: turns at least.
            most: turns at most.
        """
        return self.contest([variant], seconds, least, most)[0]

    def contest(
        self, variants: Sequence[Pipeline], seconds: float, least: int = 30, most: int = 300
    ) -> list[Speed]:
        """Time several variants and the baseline, one frame each in turns, another one first each time.

        What slows the computer for a while then slows all of them.

        Raises:
            ModelFileError: a variant gives no result (NaN) on a search frame.
            BackendError: a runtime failed.
        """
        if not self._pictures:
            self._pictures = list(self._frames.rung(_SPEED_FRAMES))
        runners = [self._baseline, *variants]
        times: list[Times] = [([], []) for _ in runners]
        for runner in runners:
            for _ in range(_WARM):
                _run(runner, self._pictures[0], ([], []))
        start, turn = perf_counter(), 0
        while turn < least or (turn < most and perf_counter() - start < seconds):
            picture = self._pictures[turn % len(self._pictures)]
            for step in range(len(runners)):
                which = (turn + step) % len(runners)
                _run(runners[which], picture, times[which])
            turn += 1
        base50, base99 = np.percentile(times[0][1], (50, 99))
        speeds = []
        for infer, whole in times[1:]:
            p50, p99 = np.percentile(whole, (50, 99))
            speeds.append(
                Speed(float(p50), float(p99), float(np.median(infer)), float(base50), float(base99), turn)
            )
        return speeds

    def drop(self, variant: Pipeline, count: int, advance: Advance = lambda done, total: None) -> Drop:
        """Compare a variant with the baseline on so many search frames, evenly over the recording.

        Raises:
            ModelFileError: the baseline itself gives a result that means nothing.
            AdcpError: a frame cannot be read, a runtime failed.
        """
        score = create_score(self._manifest, self._verify)
        sample = self._frames.rung(count)
        for done, (index, frame) in enumerate(zip(sample.indices, sample, strict=True)):
            reference = self._reference(index, frame)
            judged: Result | None
            try:
                judged = variant.run(frame)[0]
            except ResultError:
                judged = None
            score.add(reference, judged)
            advance(done + 1, len(sample))
        figures = score.figures()
        return Drop(
            figures.measure, figures.drop, figures.drop_low, figures.drop_high, figures.frames,
            figures.telling_frames, figures.failed_frames,
        )  # fmt: skip

    def _reference(self, index: int, frame: Frame) -> Result:
        """Return the baseline's result on a frame; each is computed once and masks are kept deflated."""
        if index not in self._results:
            try:
                result: Result = self._baseline.run(frame)[0]
            except ResultError as error:
                raise ModelFileError(
                    f"the baseline gives no result on frame {index} of "
                    f"{self._frames.source.describe}: {error}"
                ) from error
            self._results[index] = _deflate(result)
        kept = self._results[index]
        return _inflate(*kept) if isinstance(kept, tuple) else kept


def _run(runner: Pipeline, picture: Frame, times: Times) -> None:
    start = perf_counter()
    try:
        _, stages = runner.run(picture)
    except ResultError as error:
        raise ModelFileError(f"no result on a search frame: {error}") from error
    times[0].append(stages["infer"])
    times[1].append((perf_counter() - start) * 1e3)


def _deflate(result: Result) -> Result | tuple[LabelMask, bytes]:
    if not isinstance(result, LabelMask):
        return result
    ids = np.ascontiguousarray(result.label_ids)
    return replace(result, label_ids=np.zeros((ids.shape[0], 0), np.uint8)), zlib.compress(ids.tobytes(), 1)


def _inflate(shell: LabelMask, packed: bytes) -> LabelMask:
    rows = shell.label_ids.shape[0]
    return replace(shell, label_ids=np.frombuffer(zlib.decompress(packed), np.uint8).reshape(rows, -1))
