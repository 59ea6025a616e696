# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Argmax: the strongest class of every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, ResultError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.segmentation import SegmentationDecoder


class ArgmaxOptions(StrictModel):
    """Options of the argmax decoder."""

    layout: Literal["NCHW", "NHWC", "LABELS"] = Field(
        "NCHW", description="axes of the scores; LABELS when the graph already ends in label ids"
    )
    output: str | None = Field(None, description="output tensor; the only output when absent")


class ArgmaxDecoder(SegmentationDecoder):
    """Decodes per-class scores (any monotone function of the probability) or ready label ids."""

    options_type = ArgmaxOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options and the number of labels."""
        super().__init__(manifest)
        if len(manifest.labels) > 256:
            raise ManifestError(f"model {manifest.name!r}: a mask of bytes holds at most 256 labels")
        self._classes = len(manifest.labels)
        self._layout: str = self.options.layout
        self._output: str | None = self.options.output
        self._planes: list[NDArray[Any]] = []

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when the class axis is not as long as the list of labels."""
        tensor = self.find_output(outputs, self._output)
        shape = tensor.shape
        if self._layout == "LABELS":
            fits = len(shape) in (2, 3, 4)
        else:
            axis = 1 if self._layout == "NCHW" else 3
            fits = len(shape) == 4 and shape[axis] in (None, self._classes)
        if not fits:
            raise ModelFileError(
                f"model {self.model!r}: {self._layout} scores of {self._classes} labels do not fit "
                f"the file's output {tensor.name!r} {list(shape)}"
            )
        self._output = tensor.name

    def label_ids(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return (h, w) label ids; equal scores go to the lower id.

        Raises:
            ResultError: the scores hold no finite number.
        """
        scores = outputs[self._output or next(iter(outputs))]
        if self._layout == "LABELS":
            return scores.reshape(scores.shape[-2:]).astype(np.uint8)
        planes = list(scores[0]) if self._layout == "NCHW" else self._split(scores[0])
        return _argmax_planes([np.ascontiguousarray(plane, np.float32) for plane in planes], self.model)

    def _split(self, scores: NDArray[Any]) -> list[NDArray[Any]]:
        # Reused between frames: newly allocated planes of this size would cause page faults every time.
        if not self._planes or self._planes[0].shape != scores.shape[:2]:
            self._planes = [np.empty(scores.shape[:2], scores.dtype) for _ in range(scores.shape[2])]
        return [np.asarray(plane) for plane in cv2.split(scores, self._planes)]


def _argmax_planes(planes: list[NDArray[np.float32]], model: str) -> NDArray[np.uint8]:
    # Comparing whole planes is several times faster than numpy.argmax over a short axis.
    best = planes[0]
    label_ids = np.zeros(best.shape, np.uint8)
    for label_id, plane in enumerate(planes[1:], start=1):
        stronger = np.asarray(cv2.compare(plane, best, cv2.CMP_GT), np.uint8)
        # Ids ascend, so the maximum of old id and new id is the id of the last plane that was larger.
        label_ids = np.asarray(cv2.max(label_ids, stronger & np.uint8(label_id)), np.uint8)
        best = np.asarray(cv2.max(best, plane), np.float32)
    if not np.isfinite(best.sum(dtype=np.float64)):
        raise ResultError(f"model {model!r} gave scores that are not finite")
    return label_ids
