# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Records drift references while a model is compressed, where the recording allows it.

Calibration and verification frames are usually taken at even steps from a recording. What changes from frame
to frame, and how far windows of a few seconds lie from each other, is not in them: a reference made of such
frames would raise alarms all the time. So one is made of consecutive frames only: the chosen ones where they
are consecutive, otherwise the middle of the recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from ad_compressed_perception.analysis.drift_learner import DriftLearner
from ad_compressed_perception.compression.pass_runner import Samples
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.data.frame_source import FrameSource
from ad_compressed_perception.data.frames import split_spec
from ad_compressed_perception.drift.manifest_references import LEARN
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.drift.reference_builder import MIN_DURATION_S
from ad_compressed_perception.tasks.pipeline import Pipeline

PREFIX = "drift reference:"
"""How the line about it begins, in the report's notes and on the terminal."""
_MAX_PERIODS = 1.5
_MIN_CONSECUTIVE = 0.98
_MAX_FRAMES = 1800
"""Of a recording whose chosen frames are not consecutive: 90 s at 20 Hz, since both variants run on all."""


@dataclass(frozen=True)
class DriftRecording:
    """What was recorded.

    Attributes:
        line: what was recorded, or why nothing was.
        references: by variant.
    """

    line: str
    references: dict[str, DriftReference] = field(default_factory=dict)


def choose_consecutive(samples: Samples) -> list[int] | DriftRecording:
    """Return indices of consecutive frames of a minute or more, or an empty recording that says why not."""
    source, chosen = samples.calibration.source, _indices(samples)
    stamps_ns = source.stamps_ns()
    steps = [after - before for before, after in pairwise(chosen)]
    if sum(step == 1 for step in steps) < max(_MIN_CONSECUTIVE * len(steps), 1):
        begin = max(len(source) - _MAX_FRAMES, 0) // 2
        chosen = list(range(begin, min(begin + _MAX_FRAMES, len(source))))
    periods_ns = [stamps_ns[after] - stamps_ns[before] for before, after in pairwise(chosen)]
    if not periods_ns or min(periods_ns) <= 0:
        return _none("the stamps of the frames do not increase")
    longest_ns = _MAX_PERIODS * median(periods_ns)  # what lies between two drives does not count
    duration_s = sum(period for period in periods_ns if period <= longest_ns) / 1e9
    if duration_s < MIN_DURATION_S:
        return _none(f"{duration_s:.1f} s of consecutive frames are too few of {MIN_DURATION_S:.0f} s")
    return chosen


def record_references(
    source: FrameSource,
    indices: Sequence[int],
    pipelines: Mapping[str, tuple[Pipeline, str]],
    advance: Advance,
) -> DriftRecording:
    """Run variants on consecutive frames.

    Args:
        source: of the frames.
        indices: see choose_consecutive.
        pipelines: name of a variant to its pipeline and the sha256 of its file.
        advance: called with (done, total).
    """
    learners = {
        name: DriftLearner(pipeline, sha256, camera_of(source))
        for name, (pipeline, sha256) in pipelines.items()
    }
    try:
        for done, frame in enumerate(source.frames(indices), 1):
            for learner in learners.values():
                learner.add(frame)
            advance(done, len(indices))
        references = {name: learner.build() for name, learner in learners.items()}
    except DataError as error:
        return _none(str(error))
    duration_s = min(one.duration_s for one in references.values())
    names = " and ".join(references)
    line = f"{PREFIX} recorded for {names}, {len(indices)} frames, {duration_s:.0f} s"
    return DriftRecording(line, references)


def _indices(samples: Samples) -> list[int]:
    return sorted({*samples.calibration.indices, *samples.verification.indices})


def _none(reason: str) -> DriftRecording:
    return DriftRecording(f"{PREFIX} none, {reason}; {LEARN} makes one from a whole recording")


def camera_of(source: FrameSource) -> str:
    """Return what a source is called, without the folders that it lies in."""
    path, topic = split_spec(source.describe)
    return path.name if topic is None else f"{path.name}:{topic}"
