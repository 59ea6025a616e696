# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a variant's results with the baseline's: one number in 0..1 for each task, with an interval.

The baseline is the reference, so no labeled data is needed; agreement measures what compression changed,
not accuracy. The drop is ``1 - agreement``. Beside the gated figure each task has a strict one. The tasks'
scores: ``detection_score.py``, ``segmentation_score.py``, ``planning_score.py``,
``classification_score.py``; ``task_scores.py`` chooses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.verification.informative import BaselineInformation
from ad_compressed_perception.compression.verification.output_figures import OutputFigures
from ad_compressed_perception.core.json_values import plain
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.base import Task
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.pipeline import Pipeline

Indices = NDArray[np.int64]

LABEL_TEXT = "IoU of label {!r}"
"""What drops where a segmenter loses a label."""


@dataclass(frozen=True)
class PartDrop:
    """Loss of agreement in a label, a class of sizes, a band of distances or a slice.

    Attributes:
        name: of the part.
        drop: 1 - agreement; NaN where the part is empty.
        low: lower end of its 95 % interval.
        high: upper end.
        frames: frames on which either side has something of it.
    """

    name: str
    drop: float
    low: float
    high: float
    frames: int


@dataclass(frozen=True)
class AgreementFigures:
    """Agreement of a variant with its baseline.

    Attributes:
        measure: its name.
        score: agreement in 0..1; NaN where nothing could be compared.
        drop: 1 - score.
        drop_low: lower end of the 95 % interval of the drop.
        drop_high: upper end.
        frames: frames compared.
        informative_frames: those on which the baseline is informative (``informative.py``).
        failed_frames: those on which the variant gave no result at all.
        details: the task's other figures.
        strict_measure: name of the strict figure, which is reported beside the gated one.
        strict_score: its value in 0..1; NaN where nothing could be compared.
        labels: segmentation: the drop of each informative label's IoU; classification: of its F1; raw: that
            of the channels that are judged by themselves, the worst of them; planning: the change of speed.
        label_text: what drops, with a place for the label's name.
        outputs: raw: figures of each output.
        sizes: detection: the drop of each class of object sizes.
        distances: with a camera: the drop in each band of distances.
        lost: labels, and reactions of a planner, of which nothing is left; frames are those on which the
            baseline has them.
        rare: classification, raw: labels and channels on too few frames to be judged by themselves.
        heads: of a model with several: the figures of each; the other fields are those of the worst.
    """

    measure: str
    score: float
    drop: float
    drop_low: float
    drop_high: float
    frames: int
    informative_frames: int
    failed_frames: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    strict_measure: str = ""
    strict_score: float = math.nan
    labels: tuple[PartDrop, ...] = ()
    label_text: str = LABEL_TEXT
    outputs: tuple[OutputFigures, ...] = ()
    sizes: tuple[PartDrop, ...] = ()
    distances: tuple[PartDrop, ...] = ()
    lost: tuple[PartDrop, ...] = ()
    rare: tuple[PartDrop, ...] = ()
    heads: dict[str, AgreementFigures] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for YAML and JSON; NaN becomes None, heads are there where a model has some."""
        found = dict(plain(asdict(self)))
        heads = {name: one.as_dict() for name, one in self.heads.items()}
        return {
            **{name: value for name, value in found.items() if name != "heads"},
            **({"heads": heads} if heads else {}),
        }


class AgreementScore(ABC):
    """Collects results frame by frame; ``variant`` is None where the variant gave no result.

    Attributes:
        difference_unit: unit of ``differences``, as text.
        differences: for each frame how far apart the two results are, 0 for alike; by it frames are
            ranked. Infinite where the variant gave no result.
    """

    difference_unit: ClassVar[str]

    def __init__(self, information: BaselineInformation) -> None:
        self.differences: list[float] = []
        self._failed: list[bool] = []
        self._information = information

    def add(self, baseline: Result, variant: Result | None) -> None:
        """Compare one frame; raise DataError where the results cannot be compared."""
        difference = self._add(baseline, variant)
        self._information.add(self._published(baseline))
        self._failed.append(variant is None)
        self.differences.append(math.inf if variant is None else difference)

    def figures(self, frames: Indices | None = None) -> AgreementFigures:
        """Return the agreement over all frames so far, or over these of them, in the order of time.

        Args:
            frames: places of the frames in the order they were added.
        """
        chosen = np.arange(len(self._failed)) if frames is None else np.asarray(frames, np.int64)
        return self._figures(chosen, int(np.array(self._failed, bool)[chosen].sum()))

    def decode(self, task: Task[Any], outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> Result:
        """Decode a model's outputs as this score needs them; raise ResultError where they are invalid."""
        result: Result = task.decode(outputs, geometry)
        return result

    def decode_variant(
        self, task: Task[Any], outputs: Mapping[str, NDArray[Any]], geometry: Geometry, *, failed: bool
    ) -> Result | None:
        """Decode the variant's outputs as this score needs them; None where it ``failed`` on the frame."""
        return None if failed else self.decode(task, outputs, geometry)

    def run(self, pipeline: Pipeline, frame: Frame) -> Result:
        """Run a model on a frame and decode as this score needs it; raise AdcpError where it fails."""
        feeds, geometry = pipeline.task.prepare(frame)
        return self.decode(pipeline.task, pipeline.session.infer(feeds), geometry)

    def _published(self, result: Result) -> Result:
        """Return what a node would publish of a result."""
        return result

    @abstractmethod
    def _add(self, baseline: Any, variant: Any) -> float:
        """Compare one frame and return how far apart the results are."""

    @abstractmethod
    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the agreement over these frames."""


def find_lost(
    names: Sequence[str], shown: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> tuple[PartDrop, ...]:
    """Return the labels (or reactions) that the baseline has on some frames and the variant never keeps.

    Args:
        names: of the L labels.
        shown: (N, L) whether the baseline has the label on the frame.
        kept: (N, L) whether anything of it is matched there.
    """
    frames = shown.sum(axis=0)
    gone = (frames > 0) & ~kept.any(axis=0)
    return tuple(
        PartDrop(names[int(place)], 1.0, 1.0, 1.0, int(frames[place])) for place in np.flatnonzero(gone)
    )


def of_words(labels: Sequence[str] | None) -> str:
    """Return " of car, truck" for a choice of labels; "" for all of them."""
    return "" if labels is None else f" of {', '.join(labels)}"
