# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation against ground truth: confusion matrices and intersection over union (Jaccard).

Definition as in the PASCAL VOC challenge (Everingham et al., IJCV 111, 2015, section 4.2): pixels
of all images are counted together, and ``IoU = TP / (TP + FP + FN)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (classes,) IoU; NaN for a class that is neither in the ground truth nor predicted."""
    hits = np.diagonal(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)
