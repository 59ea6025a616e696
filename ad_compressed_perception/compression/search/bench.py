# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing of a search: candidates and baseline on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from ad_compressed_perception.compression.search.frames import SearchFrames
from ad_compressed_perception.core.errors import ModelFileError, ResultError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.report.schemas.search import Speed
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline

_IMAGES = 6
_WARM = 2
Times = tuple[list[float], list[float]]
"""Milliseconds of the inference, and end to end (frame to result)."""


class Bench:
    """The baseline and a few images, held in memory so that reading them is not timed."""

    def __init__(self, manifest: Manifest, frames: SearchFrames) -> None:
        """Load the baseline; raise AdcpError where it cannot be."""
        self._baseline = open_pipeline(manifest, manifest.baseline, allow_rejected=True)
        self._frames = frames
        self._images: list[Frame] = []

    def close(self) -> None:
        """Release the baseline."""
        self._baseline.close()

    def time_interleaved(
        self, variants: Sequence[Pipeline], seconds: float, least: int, most: int
    ) -> list[Speed]:
        """Time variants and the baseline interleaved: one image each in every round, in rotating order.

        A temporary slowdown of the computer then affects all of them alike.

        Args:
            variants: are timed.
            seconds: time limit once the least number of rounds is done.
            least: rounds at least.
            most: rounds at most.

        Raises:
            ModelFileError: a variant gives no result (NaN) on a search frame.
            BackendError: a runtime failed.
        """
        if not self._images:
            self._images = list(self._frames.subset(_IMAGES))
        runners = [self._baseline, *variants]
        times: list[Times] = [([], []) for _ in runners]
        for runner in runners:
            for _ in range(_WARM):
                _run(runner, self._images[0], ([], []))
        start, rounds = perf_counter(), 0
        while rounds < least or (rounds < most and perf_counter() - start < seconds):
            image = self._images[rounds % len(self._images)]
            for step in range(len(runners)):
                which = (rounds + step) % len(runners)
                _run(runners[which], image, times[which])
            rounds += 1
        base50, base99 = np.percentile(times[0][1], (50, 99))
        speeds = []
        for infer, end_to_end in times[1:]:
            p50, p99 = np.percentile(end_to_end, (50, 99))
            ratio = np.median(np.asarray(times[0][1]) / np.asarray(end_to_end))
            speeds.append(
                Speed(
                    p50_ms=float(p50),
                    p99_ms=float(p99),
                    infer_p50_ms=float(np.median(infer)),
                    baseline_p50_ms=float(base50),
                    baseline_p99_ms=float(base99),
                    ratio=float(ratio),
                    pairs=rounds,
                )
            )
        return speeds


def _run(runner: Pipeline, image: Frame, times: Times) -> None:
    start = perf_counter()
    try:
        _, stages = runner.run(image)
    except ResultError as error:
        raise ModelFileError(f"no result on a search frame: {error}") from error
    times[0].append(stages["infer"])
    times[1].append((perf_counter() - start) * 1e3)
