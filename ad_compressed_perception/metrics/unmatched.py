# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects of two detection results without a counterpart in the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.metrics.agreement import MATCH_IOU, labels_of, match_boxes


def unmatched_objects(
    baseline: Detections, variant: Detections, iou: float = MATCH_IOU
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the baseline's and of the variant's boxes without a match on the other side.

    The matching is that of ``detection_agreement``.

    Returns:
        Ascending indices into the baseline's boxes (missed) and into the variant's (extra).
    """
    reference_labels, found_labels = np.array(labels_of(baseline), str), np.array(labels_of(variant), str)
    missed, extra = np.ones(len(reference_labels), bool), np.ones(len(found_labels), bool)
    for label in {*reference_labels.tolist(), *found_labels.tolist()}:
        reference, found = (
            np.flatnonzero(reference_labels == label),
            np.flatnonzero(found_labels == label),
        )
        found = found[np.argsort(-variant.scores[found], kind="stable")]
        for row, column, _ in match_boxes(baseline.boxes_xyxy[reference], variant.boxes_xyxy[found], iou):
            extra[found[row]] = missed[reference[column]] = False
    return np.flatnonzero(missed), np.flatnonzero(extra)
