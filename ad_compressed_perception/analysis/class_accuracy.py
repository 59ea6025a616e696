# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of classifications: share of frames with the right class, recall of each class, confusion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.accuracy_score import AccuracyScore, Indices
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.data.labeled.classes import ClassData, GroundTruthClass

NOTHING_FOUND = "(no label)"
"""Column of the confusion for frames without a published label, or with one that the data does not have."""


class ClassAccuracy(AccuracyScore):
    """Right and wrong classes."""

    names = ("accuracy", "mean_recall")

    def __init__(self, data: ClassData) -> None:
        super().__init__()
        self._classes = data.classes
        self._pairs: list[tuple[int, int]] = []
        self._table: NDArray[np.int64] = np.zeros((0, 2), np.int64)

    def _add(self, result: Classification, ground_truth: GroundTruthClass) -> None:
        found = int(self._classes.of_label[int(result.ranked[0])]) if len(result.ranked) else -1
        self._pairs.append((ground_truth.index, found))

    def finish(self) -> None:
        """Stack the frames' classes."""
        self._table = np.array(self._pairs, np.int64).reshape(-1, 2)

    def figures(self, indices: Indices | None = None) -> tuple[float, ...]:
        """Return (accuracy, mean of the recall of the classes that occur)."""
        confusion = self._confusion(indices)
        of_class = confusion.sum(axis=1)
        right = np.diagonal(confusion)[of_class > 0]
        total = int(of_class.sum())
        if not total:
            return (float("nan"), float("nan"))
        return (float(right.sum()) / total, float((right / of_class[of_class > 0]).mean()))

    def _confusion(self, indices: Indices | None = None) -> NDArray[np.int64]:
        """Return (C, C + 1) frames by their class and the class found; the last column is of none."""
        table = self._table if indices is None else self._table[indices]
        count = len(self._classes.names)
        columns = np.where(table[:, 1] < 0, count, table[:, 1])
        codes = table[:, 0] * (count + 1) + columns
        return np.bincount(codes, minlength=count * (count + 1)).reshape(count, count + 1).astype(np.int64)

    def of_nothing(self) -> dict[str, float]:
        """Return the figures of always saying the most frequent class."""
        counts = np.bincount(self._table[:, 0])
        return {
            "accuracy": float(counts.max()) / self.samples,
            "mean_recall": 1.0 / int(np.count_nonzero(counts)),
        }

    def per_class(self) -> dict[str, dict[str, float]]:
        """Return recall, precision and the number of frames of the classes that occur."""
        confusion = self._confusion()
        found = confusion.sum(axis=0)
        return {
            name: {
                "recall": float(confusion[place, place] / frames),
                "precision": float(confusion[place, place] / found[place]) if found[place] else float("nan"),
                "frames": int(frames),
            }
            for place, (name, frames) in enumerate(
                zip(self._classes.names, confusion.sum(axis=1), strict=True)
            )
            if frames
        }

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return each class's frames by the class that was found, without zeros."""
        columns = (*self._classes.names, NOTHING_FOUND)
        return {
            name: {columns[place]: int(row[place]) for place in np.flatnonzero(row)}
            for name, row in zip(self._classes.names, self._confusion(), strict=True)
            if row.any()
        }

    def notes(self) -> list[str]:
        """Return the accuracy of a classifier that always says the most frequent class, for comparison."""
        least = self.of_nothing()["accuracy"]
        return [f"Always saying the most frequent class would give an accuracy of {least:.4f}."]
