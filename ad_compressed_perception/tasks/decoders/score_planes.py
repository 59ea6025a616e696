# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planes of scores, one for each class: which output they are, in which order of axes, and the strongest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.output_contract import check_finite
from ad_compressed_perception.tasks.segmentation import SegmentationDecoder

Size = tuple[int | None, int | None]
"""Height and width; None where the file leaves them open."""


class ScorePlanesOptions(StrictModel):
    """Options of every decoder of score planes."""

    output: str | None = Field(
        None, description="output tensor; when absent the only one, or the only one of a fitting shape"
    )
    upsampling: Literal["nearest", "bilinear"] = Field(
        "nearest",
        description="scores coarser than the input: nearest enlarges the labels, bilinear the scores before "
        "the labels are chosen",
    )


class ScorePlanesDecoder(SegmentationDecoder):
    """Finds an output of ``channels`` planes by name or shape; the axes of batch and channel may lack.

    ``upsampling: bilinear`` is resize with half-pixel centers (``align_corners=False``) to the model's input,
    then the choice of labels: the arithmetic of SegFormer's and MMSegmentation's inference.
    """

    def __init__(self, manifest: Manifest, channels: int) -> None:
        """Keep the input's size and the number of planes."""
        super().__init__(manifest)
        self._channels = channels
        self._input_size = (manifest.input.height, manifest.input.width)
        self._output: str | None = self.options.output
        self._planes: list[NDArray[Any]] = []

    def shapes(self, layout: str) -> tuple[tuple[int | None, ...], ...]:
        """Return the shapes of a layout, with None for height and width."""
        channels = self._channels
        planar: tuple[tuple[int | None, ...], ...] = ((1, channels, None, None), (channels, None, None))
        return planar if layout == "NCHW" else ((1, None, None, channels), (None, None, channels))

    def layout_of(self, shape: tuple[int | None, ...]) -> str | None:
        """Return the layout that a shape has; None where it has none."""
        return next((one for one in ("NCHW", "NHWC") if self.size_in(one, shape)), None)

    def size_in(self, layout: str, shape: tuple[int | None, ...]) -> Size | None:
        """Return height and width of a shape in a layout; None where it does not fit the other axes."""
        for fixed in self.shapes(layout):
            if len(fixed) == len(shape) and all(
                one is None or size in (None, one) for size, one in zip(shape, fixed, strict=True)
            ):
                height, width = (size for size, one in zip(shape, fixed, strict=True) if one is None)
                return height, width
        return None

    def size_of(self, shape: tuple[int | None, ...]) -> Size | None:
        """Return height and width of an output's shape; None where its axes do not fit."""
        layout = self.layout_of(shape)
        return None if layout is None else self.size_in(layout, shape)

    def find_planes(self, outputs: tuple[TensorSpec, ...]) -> TensorSpec:
        """Return the output by name, or the only one whose shape fits.

        Raises:
            ModelFileError: none or several fit.
        """
        if self._output is not None or len(outputs) == 1:
            return self.find_output(outputs, self._output)
        fitting = [
            one
            for one in outputs
            if (size := self.size_of(one.shape)) is not None and has_aspect(size, self._input_size)
        ]
        if len(fitting) == 1:
            return fitting[0]
        shown = ", ".join(f"{one.name!r} {list(one.shape)}" for one in fitting or outputs)
        raise ModelFileError(
            f"model {self.model!r}: {'several' if fitting else 'none'} of its outputs fit, among {shown}; "
            "name the one to decode with decoder option output"
        )

    def check_size(self, tensor: TensorSpec) -> None:
        """Take an output; raise ModelFileError unless its height and width are like the input's."""
        size = self.size_of(tensor.shape)
        described = f"the file's output {tensor.name!r} {list(tensor.shape)}"
        if size is None:
            raise ModelFileError(f"model {self.model!r}: {self.expected()} do not fit {described}")
        if not has_aspect(size, self._input_size):
            height, width = self._input_size
            raise ModelFileError(
                f"model {self.model!r}: a mask needs height and width like the input's ({height}x{width}), "
                f"not {size[0]}x{size[1]} of {described}; is it a classifier, or has it other axes?"
            )
        self._output = tensor.name

    def expected(self) -> str:
        """Return in words what the decoder takes."""
        return f"scores of {self._channels} channels"

    def checked(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a frame's values; raise OutputError where their shape changed at run time."""
        size = self.size_of(values.shape)
        if size is None or not has_aspect(size, self._input_size):
            raise OutputError(
                f"{self.where(self._output)}: {list(values.shape)} are no {self.expected()} for an input of "
                f"{list(self._input_size)}"
            )
        return values

    def planes(self, scores: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the (h, w) float32 planes, enlarged to the input's size where the options ask for it."""
        layout = self.layout_of(scores.shape)
        inner = scores[0] if scores.ndim == 4 else scores
        if inner.ndim == 2 or self._channels == 1:
            parts = [inner.reshape([side or 0 for side in self.size_of(scores.shape) or ()])]
        else:
            parts = list(inner) if layout == "NCHW" else self._split(inner)
        height, width = self._input_size
        for part in parts:
            plane = np.ascontiguousarray(part, np.float32)
            if self.options.upsampling == "bilinear" and plane.size < height * width:
                plane = np.asarray(cv2.resize(plane, (width, height)), np.float32)
            yield plane

    def _split(self, scores: NDArray[Any]) -> list[NDArray[Any]]:
        if scores.dtype != np.float32:  # OpenCV cannot split every type
            scores = scores.astype(np.float32)
        # Reused between frames: newly allocated planes of this size would cause page faults every time.
        if not self._planes or self._planes[0].shape != scores.shape[:2]:
            self._planes = [np.empty(scores.shape[:2], scores.dtype) for _ in range(scores.shape[2])]
        return [np.asarray(plane) for plane in cv2.split(scores, self._planes)]


def strongest(
    planes: Iterable[NDArray[np.float32]], scores: NDArray[Any], where: str
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return (h, w) indices of the largest plane, the lower one where equal, and (h, w) its scores.

    Comparing whole planes is several times faster than numpy.argmax over a short axis.

    Args:
        planes: of one frame.
        scores: what they were made of, for the message.
        where: model and output, for the message.

    Raises:
        OutputError: a score is not finite.
    """
    found = iter(planes)
    best = next(found)
    indices = np.zeros(best.shape, np.uint8)
    # A comparison with NaN is false, and the maximum may lose it: numpy's min keeps it, and -inf. An
    # infinite score is the largest anyway.
    lowest = [best.min()]
    for index, plane in enumerate(found, start=1):
        stronger = np.asarray(cv2.compare(plane, best, cv2.CMP_GT), np.uint8)
        # Indices ascend, so the maximum of old and new is that of the last plane that was larger.
        indices = np.asarray(cv2.max(indices, stronger & np.uint8(index)), np.uint8)
        best = np.asarray(cv2.max(best, plane), np.float32)
        lowest.append(plane.min())
    if not (np.isfinite(lowest).all() and np.isfinite(best.max())):
        check_finite(scores.astype(np.float32), where)
    return indices, best


def has_aspect(size: Size, input_size: tuple[int, int]) -> bool:
    """Return whether a mask of several rows and columns has the input's aspect ratio, to one pixel.

    Or half or double that, by whole factors: a head may be coarser along one axis.
    """
    height, width = size
    if height is None or width is None:
        return True
    if min(height, width) < 2:
        return False
    high, wide = input_size
    is_alike = abs(height * wide - width * high) <= max(high, wide)
    is_whole = high % height == wide % width == 0 and 0.5 <= (high * width) / (height * wide) <= 2.0
    return is_alike or is_whole
