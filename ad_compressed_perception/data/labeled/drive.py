# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames matched to labels by time stamp: common to steering logs and ground-truth trajectories."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.input_frames import with_inputs
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame
from ad_compressed_perception.image.decode import Frame

DEFAULT_TOLERANCE_MS = 50.0
"""Default for the largest time between a frame and its label: one period of a 20 Hz log."""


def nearest(stamps_ns: NDArray[np.int64], query_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each query time the index of the nearest stamp; of two equally near the earlier one.

    Args:
        stamps_ns: (N,) ascending, at least one.
        query_ns: (M,) in any order.
    """
    after = np.clip(np.searchsorted(stamps_ns, query_ns), 0, len(stamps_ns) - 1)
    before = np.maximum(after - 1, 0)
    is_nearer = np.abs(query_ns - stamps_ns[before]) <= np.abs(stamps_ns[after] - query_ns)
    return np.where(is_nearer, before, after)


class DriveData(LabeledData):
    """Time-stamped frames matched to time-stamped labels."""

    task = "planning"

    def _match(self, frames: str, stamps_ns: NDArray[np.int64], tolerance_ms: float) -> None:
        """Match every frame with the nearest label.

        Args:
            frames: folder of images named by their stamps, or BAG[:TOPIC].
            stamps_ns: (N,) of the labels, ascending.
            tolerance_ms: a frame without a label this near is left out.

        Raises:
            DataError: no frames, or none with a label near enough.
        """
        self._source = open_frames(frames)
        self.notes = list(self._source.problems)
        self.ignored_files = self._source.ignored_files
        frames_ns = np.array(self._source.stamps_ns(), np.int64)
        found = nearest(stamps_ns, frames_ns)
        distances_ms = np.abs(stamps_ns[found] - frames_ns) / 1e6
        matched = np.flatnonzero(distances_ms <= tolerance_ms)
        if not matched.size:
            raise DataError(
                f"no frame of {self._source.describe} has a label within {tolerance_ms:g} ms: frames "
                f"{frames_ns.min()}..{frames_ns.max()}, labels {stamps_ns[0]}..{stamps_ns[-1]} (ns)"
            )
        self._frames = matched
        self._labels = found[matched]
        if matched.size < frames_ns.size:
            self.notes.append(
                f"{frames_ns.size - matched.size} frames without a label within {tolerance_ms:g} ms "
                "were left out."
            )

    def take_inputs(self, manifest: Manifest) -> None:
        """Let the frames come with what a model's inputs need; raise DataError where the source has none."""
        self._source = with_inputs(self._source, manifest)

    def readable(self, indices: Iterable[int], max_bad: BadFrameLimit | None = None) -> list[int]:
        """Return what LabeledData.readable does; what the frames' source assumed is in ``notes``, too."""
        found = super().readable(indices, max_bad)
        self.notes += [note for note in self._source.account().notes if note not in self.notes]
        return found

    @abstractmethod
    def _labeled(self, frame: Frame, label: int) -> LabeledFrame:
        """Return a frame with the label of this index."""

    def __len__(self) -> int:
        """Number of frames with a label."""
        return len(self._frames)

    def read(self, indices: Iterable[int]) -> Iterator[LabeledFrame | BadFrame]:
        """Read the frames; one that cannot be decoded, or that the recording ends before, is bad."""
        chosen = list(indices)
        frames = self._source.read(int(self._frames[index]) for index in chosen)
        for index, frame in zip(chosen, frames, strict=True):
            if isinstance(frame, BadFrame):
                yield BadFrame(index, f"frame {frame.index} of {self._source.describe}: {frame.reason}")
            else:
                yield self._labeled(frame, int(self._labels[index]))
