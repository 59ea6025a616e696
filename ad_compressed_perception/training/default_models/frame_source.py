# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where synthetic frames with their ground truth come from: one small interface that simulators implement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.registry import FRAME_SOURCES, find


@dataclass(frozen=True)
class GroundTruthFrame:
    """A camera image and what is true of it.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        boxes: (N, 5) float32: label id and x1, y1, x2, y2 in pixels, the nearest object first.
        mask: (H, W) uint8 label ids; None where no training asks for masks.
        plan: (LENGTH,) float32, see plan_targets.encode_plan.
    """

    image_bgr: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    plan: NDArray[np.float32]


class GroundTruthSource(ABC):
    """A sequence of frames that its seed determines.

    A simulator registers its class in the entry-point group ``ad_compressed_perception.frame_sources``; a
    training names it as ``synthetic.source``. Instances are made and used in worker processes.

    Attributes:
        image_size: (width, height) of all frames, pixels.
    """

    image_size: ClassVar[tuple[int, int]]

    @abstractmethod
    def __init__(self, seed: int, with_masks: bool) -> None:
        """Begin a sequence; equal seeds give equal frames."""

    @abstractmethod
    def next(self) -> GroundTruthFrame:
        """Return the next frame. Sequences do not end."""


def find_source(name: str) -> type[GroundTruthSource]:
    """Return a registered source; raise RecipeError naming the known ones."""
    source: type[GroundTruthSource] = find(FRAME_SOURCES, name, RecipeError)
    return source
