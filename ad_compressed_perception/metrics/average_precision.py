# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision of detections as COCO defines it, and its spread over resampled images.

Definition: T.-Y. Lin et al., Microsoft COCO, ECCV 2014, and the COCO detection challenge: precision
at 101 recall levels, averaged over IoU thresholds 0.50 to 0.95 in steps of 0.05 (mAP) or at 0.50
(AP50), then over the classes that occur. Computed by faster-coco-eval.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GroundTruthBoxes:
    """The objects of one image.

    Attributes:
        boxes_xyxy: (N, 4) float64, left, top, right, bottom, pixels.
        class_ids: (N,) int64, indices of the evaluated classes.
        is_crowd: (N,) bool, crowd regions: a detection inside is neither a true nor a false positive.
    """

    boxes_xyxy: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    is_crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class FoundBoxes:
    """The detections of one image.

    Attributes:
        boxes_xyxy: (N, 4), left, top, right, bottom, pixels.
        scores: (N,) in 0..1.
        class_ids: (N,) int64, indices of the evaluated classes.
    """

    boxes_xyxy: NDArray[np.floating[Any]]
    scores: NDArray[np.floating[Any]]
    class_ids: NDArray[np.int64]


class AveragePrecision:
    """Matches detections to objects once per image, then computes figures over any selection of images."""

    def __init__(
        self,
        ground_truths: Sequence[GroundTruthBoxes],
        found: Sequence[FoundBoxes],
        classes: int,
        max_detections: int = 100,
    ) -> None:
        """Match every image's detections.

        Args:
            ground_truths: objects, one entry an image.
            found: detections of the same images.
            classes: how many classes are evaluated.
            max_detections: how many of an image's strongest detections of a class count.

        Raises:
            ValueError: the sequences differ in length or are empty.
        """
        if len(ground_truths) != len(found) or not ground_truths:
            raise ValueError(f"{len(ground_truths)} images with objects, {len(found)} with detections")
        from faster_coco_eval import COCO
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster

        self.images = len(ground_truths)
        self.classes = classes
        dataset = {
            "images": [{"id": index} for index in range(1, self.images + 1)],
            "categories": [{"id": index, "name": str(index)} for index in range(classes)],
            "annotations": _annotations(ground_truths),
        }
        ground_truth = COCO(dataset)
        # The library's loadRes fails without detections, so the result is built as a dataset.
        result = COCO({**dataset, "annotations": _results(found)})
        evaluation = COCOeval_faster(
            ground_truth, result, "bbox", print_function=_discard_output, separate_eval=True
        )
        parameters = evaluation.params
        parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], ["all"]
        parameters.maxDets = [max_detections]
        evaluation.evaluate()
        self._parameters = evaluation._paramsEval
        # Class-major: the entries of one class follow each other, one an image.
        self._matches = evaluation._evalImgs_cpp
        self._table = self._precision(None)

    def _precision(self, images: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """Return (10 thresholds, classes) average precisions; NaN for a class without objects."""
        import faster_coco_eval.faster_eval_api_cpp as native

        matches, parameters = self._matches, self._parameters
        if images is not None:
            chosen = images.tolist()
            if len(chosen) != self.images:
                # The library takes the number of images from its parameters.
                parameters = copy(parameters)
                parameters.imgIds = np.arange(1, len(chosen) + 1)
            matches = [
                matches[group * self.images + image] for group in range(self.classes) for image in chosen
            ]
        accumulated = native.COCOevalAccumulate(parameters, matches)
        precision = np.asarray(accumulated["precision"], dtype=np.float64)
        precision = precision.reshape(accumulated["counts"])[:, :, :, 0, 0]
        return np.where(precision > -1.0, precision, np.nan).mean(axis=1)

    def figures(self, images: NDArray[np.int64] | None = None) -> tuple[float, float]:
        """Return (mAP, AP50) of all images, or of these, which may repeat; NaN without objects."""
        table = self._table if images is None else self._precision(images)
        return (_mean(table), _mean(table[0]))

    def per_class(self) -> list[tuple[float, float]]:
        """Return (AP over all thresholds, AP50) of each class; NaN for one without objects."""
        return [(_mean(column), float(column[0])) for column in self._table.T]


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _discard_output(*_: object) -> None:
    """Replace the library's print function."""


def _annotations(ground_truths: Sequence[GroundTruthBoxes]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for image, ground_truth in enumerate(ground_truths, 1):
        for box, class_id, is_crowd in zip(
            ground_truth.boxes_xyxy.tolist(),
            ground_truth.class_ids.tolist(),
            ground_truth.is_crowd.tolist(),
            strict=True,
        ):
            rows.append(_row(len(rows) + 1, image, class_id, box) | {"iscrowd": int(is_crowd)})
    return rows


def _results(found: Sequence[FoundBoxes]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for image, boxes in enumerate(found, 1):
        for box, class_id, score in zip(
            boxes.boxes_xyxy.tolist(), boxes.class_ids.tolist(), boxes.scores.tolist(), strict=True
        ):
            rows.append(_row(len(rows) + 1, image, class_id, box) | {"iscrowd": 0, "score": score})
    return rows


def _row(number: int, image: int, class_id: int, box: list[float]) -> dict[str, Any]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {
        "id": number,
        "image_id": image,
        "category_id": class_id,
        "bbox": [left, top, width, height],
        "area": width * height,
    }
