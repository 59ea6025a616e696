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

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.output_contract import check_finite
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
        self._input_size = (manifest.input.height, manifest.input.width)
        self._layout: str = self.options.layout
        self._output: str | None = self.options.output
        self._planes: list[NDArray[Any]] = []

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when labels, class axis, height or width do not fit the file's output."""
        tensor = self.find_output(outputs, self._output)
        shape, described = tensor.shape, f"the file's output {tensor.name!r} {list(tensor.shape)}"
        if self._classes < 2:
            raise ModelFileError(
                f"model {self.model!r}: with one label every pixel has it, whatever {described} holds; name "
                "the label of the other pixels too, such as background"
            )
        size = self._size(shape)
        if size is None:
            raise ModelFileError(
                f"model {self.model!r}: {self._layout} scores of {self._classes} labels do not fit "
                f"{described}"
            )
        if not _fits(size, self._input_size):
            height, width = self._input_size
            raise ModelFileError(
                f"model {self.model!r}: a mask needs height and width like the input's ({height}x{width}), "
                f"not {size[0]}x{size[1]} of {described}; is it a classifier, or has it other axes?"
            )
        self._output = tensor.name

    def _size(self, shape: tuple[int | None, ...]) -> tuple[int | None, int | None] | None:
        """Return height and width; None where the other axes do not fit layout and labels."""
        axes: dict[str, tuple[tuple[int | None, ...], ...]] = {
            "NCHW": ((1, self._classes, None, None),),
            "NHWC": ((1, None, None, self._classes),),
            "LABELS": ((None, None), (1, None, None), (1, 1, None, None), (1, None, None, 1)),
        }
        for fixed in axes[self._layout]:
            if len(fixed) == len(shape) and all(
                one is None or size in (None, one) for size, one in zip(shape, fixed, strict=True)
            ):
                height, width = (size for size, one in zip(shape, fixed, strict=True) if one is None)
                return height, width
        return None

    def label_ids(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return (h, w) label ids; equal scores go to the lower id.

        Raises:
            OutputError: a score is not finite, or ready ids are not whole numbers below the number of labels.
        """
        scores, where = self.read(outputs, self._output), self.where(self._output)
        size = self._size(scores.shape)
        if size is None or not _fits(size, self._input_size):
            raise OutputError(
                f"{where}: {list(scores.shape)} is no {self._layout} output of {self._classes} labels for an "
                f"input of {list(self._input_size)}"
            )
        if self._layout == "LABELS":
            return _whole_ids(scores.reshape([side or 0 for side in size]), where)
        planes = list(scores[0]) if self._layout == "NCHW" else self._split(scores[0])
        return _argmax_planes([np.ascontiguousarray(plane, np.float32) for plane in planes], where)

    def _split(self, scores: NDArray[Any]) -> list[NDArray[Any]]:
        if scores.dtype == np.float16:  # OpenCV 4.5 cannot split it
            scores = scores.astype(np.float32)
        # Reused between frames: newly allocated planes of this size would cause page faults every time.
        if not self._planes or self._planes[0].shape != scores.shape[:2]:
            self._planes = [np.empty(scores.shape[:2], scores.dtype) for _ in range(scores.shape[2])]
        return [np.asarray(plane) for plane in cv2.split(scores, self._planes)]


def _argmax_planes(planes: list[NDArray[np.float32]], where: str) -> NDArray[np.uint8]:
    # Comparing whole planes is several times faster than numpy.argmax over a short axis.
    best = planes[0]
    label_ids = np.zeros(best.shape, np.uint8)
    # A comparison with NaN is false, and the maximum may lose it: numpy's min keeps it, and -inf. An
    # infinite score is the largest anyway.
    lowest = [best.min()]
    for label_id, plane in enumerate(planes[1:], start=1):
        stronger = np.asarray(cv2.compare(plane, best, cv2.CMP_GT), np.uint8)
        # Ids ascend, so the maximum of old id and new id is the id of the last plane that was larger.
        label_ids = np.asarray(cv2.max(label_ids, stronger & np.uint8(label_id)), np.uint8)
        best = np.asarray(cv2.max(best, plane), np.float32)
        lowest.append(plane.min())
    if not (np.isfinite(lowest).all() and np.isfinite(best.max())):
        check_finite(np.stack(planes), where)
    return label_ids


def _whole_ids(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return ready ids as uint8; a cast alone would turn 0.9 into 0, inf into 0 and 256 into 0."""
    if values.dtype == np.uint8:
        return values
    with np.errstate(invalid="ignore"):
        label_ids = values.astype(np.uint8)
    if np.array_equal(label_ids, values):
        return label_ids
    check_finite(values, where)
    low, high = float(values.min()), float(values.max())
    if np.array_equal(np.rint(values), values):
        raise OutputError(f"{where}: label ids from {low:.4g} to {high:.4g}; they must be within 0 to 255")
    if low >= 0.0 and high <= 1.0:
        raise OutputError(
            f"{where}: values from {low:.4g} to {high:.4g} are a probability, not label ids; end the "
            "graph in a comparison with a threshold, or in a plane of scores for every label (layout NCHW)"
        )
    raise OutputError(
        f"{where}: values from {low:.4g} to {high:.4g} are not whole numbers, so no label ids; end the "
        "graph in ArgMax, or in a plane of scores for every label (layout NCHW)"
    )


def _fits(size: tuple[int | None, int | None], input_size: tuple[int, int]) -> bool:
    """Return whether a mask of several rows and columns has the input's aspect ratio, to one pixel.

    Or half or double that, by whole factors: a head may be coarser along one axis.
    """
    height, width = size
    if height is None or width is None:
        return True
    high, wide = input_size
    has_aspect = abs(height * wide - width * high) <= max(high, wide)
    is_whole = high % height == wide % width == 0 and 0.5 <= (high * width) / (height * wide) <= 2.0
    return min(height, width) > 1 and (has_aspect or is_whole)
