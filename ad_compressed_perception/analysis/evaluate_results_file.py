# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of detections that another program wrote: a COCO results file against the same labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.analysis.accuracy import DetectionAccuracy
from ad_compressed_perception.analysis.evaluate import EvaluationResult, Subject, summarize
from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.coco import read_coco_results
from ad_compressed_perception.data.labeled.label_map import normalized


def evaluate_results_file(
    path: Path,
    data: BoxData,
    labels: Sequence[str],
    indices: Sequence[int],
    settings: dict[str, Any],
    model: str,
) -> EvaluationResult:
    """Return the accuracy of the detections in a COCO results file; it stands for a variant of its name.

    Args:
        path: of the file; its numbers of images and categories are those of the data.
        data: labeled frames.
        labels: of the model that it is compared with.
        indices: which frames.
        settings: ``score_threshold`` and ``max_detections`` hold for it too; suppression is the file's own.
        model: the manifest's name.

    Raises:
        DataError: the file is malformed or not for these labels, or none of its categories is evaluated.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(f"cannot read results {path}: {getattr(cause, 'strerror', None) or cause}") from cause
    found = read_coco_results(path, content, data.labels)
    place = {normalized(name): index for index, name in enumerate(labels)}
    score = DetectionAccuracy(data, settings["max_detections"])
    labeled = data.ground_truths
    counted = 0
    for index in indices:
        boxes = [
            box
            for box in found[index]
            if (box.score or 0.0) >= settings["score_threshold"] and normalized(box.category) in place
        ]
        counted += len(boxes)
        score.add(
            Detections(
                np.array([box.box_xyxy for box in boxes], np.float32).reshape(-1, 4),
                np.array([box.score for box in boxes], np.float32),
                np.array([place[normalized(box.category)] for box in boxes], np.int64),
                tuple(labels),
            ),
            labeled[index],
        )
    if not counted:
        raise DataError(f"{path} has no detection of an evaluated category on these images")
    score.finish()
    info = SessionInfo("file", "", "", path.name, "-", 0, None, 0.0, 0.0, (), ())
    return summarize(score, data, tuple(indices), Subject(model, path.name, info, dict(settings)))
