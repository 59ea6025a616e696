# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labeled frames: the common interface of all kinds of labeled data.

A data SPEC is a FOLDER, a LABELS file, or ``LABELS@FRAMES``; the model's task decides which files are read:

| task         | in FOLDER                          | LABELS          | FRAMES                          |
|--------------|------------------------------------|-----------------|---------------------------------|
| detection    | instances.json (COCO), images/     | COCO json file  | folder of images                |
| segmentation | masks/ and images/, names alike    | folder of masks | folder of images                |
| classific.   | CLASS/ for each class, or          | csv file        | folder of images                |
|              | labels.csv (file,label)            |                 |                                 |
| planning     | trajectories.jsonl or steering.csv | that file       | folder of images or BAG:TOPIC   |
|              | and images/                        |                 |                                 |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit, BadFrames, FrameAccount
from ad_compressed_perception.image.decode import Frame


@dataclass(frozen=True)
class LabeledFrame:
    """A frame with its ground truth.

    Attributes:
        frame: the image.
        ground_truth: GroundTruthBoxes for detection; (H, W) uint8 class indices with IGNORE for
            segmentation; the steering-wheel angle in rad or a GroundTruthPath for planning;
            GroundTruthClass for classification.
        speed_mps: of the vehicle, where it is known: an optional input of planners.
    """

    frame: Frame
    ground_truth: Any
    speed_mps: float | None = None


class LabeledData(ABC):
    """Labeled frames in a fixed order.

    Attributes:
        task: the task they are for.
        describe: where they come from, for reports.
        notes: what was left out or assumed, in sentences.
        class_names: the evaluated classes; empty for planning.
        is_series: whether the frames are consecutive in time and hence correlated.
        ignored_files: names of files beside the images that are none.
    """

    task: ClassVar[str]
    is_series: bool = False
    describe: str
    notes: list[str]
    class_names: tuple[str, ...] = ()
    ignored_files: Sequence[str] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of labeled frames."""

    @abstractmethod
    def read(self, indices: Iterable[int]) -> Iterator[LabeledFrame | BadFrame]:
        """Yield one entry for each of ascending indices.

        A frame is bad where its image or label cannot be read, or they contradict each other.
        """

    def items(self, indices: Iterable[int]) -> Iterator[LabeledFrame]:
        """Yield the frames of ascending indices with their ground truth.

        Raises:
            DataError: a frame is bad; the message names it.
        """
        for entry in self.read(indices):
            if isinstance(entry, BadFrame):
                raise DataError(entry.reason)
            yield entry

    def readable(self, indices: Iterable[int], max_bad: BadFrameLimit | None = None) -> list[int]:
        """Read the frames of ascending indices once; return the indices of those that are not bad.

        The others are reported in ``notes``, so that every variant is evaluated on the same frames.

        Args:
            indices: frames to read.
            max_bad: how many may be bad; None for a tenth.

        Raises:
            DataError: more of them are bad than the limit allows, or all.
        """
        asked = list(indices)
        frames = BadFrames(self.describe, max_bad or BadFrameLimit())
        bad = [entry for entry in self.read(asked) if isinstance(entry, BadFrame)]
        frames.note(asked, bad)
        account = FrameAccount(
            source=self.describe, index=len(self), checked=len(asked), bad=frames.by_reason(),
            ignored_files=list(self.ignored_files),
        )  # fmt: skip
        self.notes += [sentence for sentence in account.sentences() if sentence not in self.notes]
        left_out = {frame.index for frame in bad}
        return [index for index in asked if index not in left_out]


def choose_indices(
    total: int, start_share: float = 0.0, stop_share: float = 1.0, limit: int | None = None
) -> list[int]:
    """Choose a part of a series, and at even steps at most ``limit`` of its frames.

    Args:
        total: frames there are.
        start_share: share of the series, 0..1, where the part begins.
        stop_share: share where it ends.
        limit: most frames to take.

    Raises:
        DataError: the part is empty or its limits are not 0 <= start < stop <= 1.
    """
    if not 0.0 <= start_share < stop_share <= 1.0:
        raise DataError(
            f"a part of the data needs 0 <= from < to <= 1, not from {start_share:g} to {stop_share:g}"
        )
    first, last = int(total * start_share), int(total * stop_share)
    count = last - first
    if count < 1:
        raise DataError(
            f"nothing left to evaluate: {total} frames from share {start_share:g} to {stop_share:g}"
        )
    if limit is None or limit >= count:
        return list(range(first, last))
    if limit < 1:
        raise DataError(f"at least 1 frame must be evaluated, not {limit}")
    return [first + (2 * step + 1) * count // (2 * limit) for step in range(limit)]


def split_data_spec(spec: str) -> tuple[Path, str | None]:
    """Split ``LABELS@FRAMES`` into both; a path that exists as a whole is not split.

    Raises:
        DataError: the labels do not exist.
    """
    whole = Path(spec).expanduser()
    if whole.exists():
        return whole, None
    labels, at, frames = spec.rpartition("@")
    if at and labels and frames:
        path = Path(labels).expanduser()
        if path.exists():
            return path, frames
        raise DataError(f"no such labels: {path} (in the data specification {spec})")
    raise DataError(f"no such data: {whole}; expected a folder, a file of labels, or LABELS@FRAMES")


def default_frames(labels: Path) -> str:
    """Return the default folder of a labels file's frames: images/ beside it, else the file's own folder."""
    folder = labels.parent / "images"
    return str(folder if folder.is_dir() else labels.parent)
