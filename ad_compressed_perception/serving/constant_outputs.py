# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds a model whose outputs no longer depend on its inputs."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLES = 4096
_INPUT_SAMPLES = 512
_FEWEST_VALUES = 8
"""A few quantized numbers, such as the scores of three classes, are equal in many scenes."""
_MOST_USUAL = 20
_REMEMBERED = 512
"""Outputs with the inputs that gave them first: a megabyte, 25 s at 20 Hz."""
_KEPT = 32
"""So many of them are the model's first, which are never forgotten."""


class ConstantOutputs:
    """Counts frames in a row with outputs that another scene has given before, bit by bit.

    An input counts as another one where its mean absolute difference from the one that gave the outputs first
    is at least ``min_change`` of its standard deviation. Noise of a camera in a standing car stays below:
    quantized outputs may well be equal then. Without such inputs nothing is known, and nothing is reported.
    Looked at are the model's first 32 different outputs and the 480 seen last: a runtime that stops may
    return its first result as well as its last one. Outputs of one value only are those of any scene.

    Where another model confirmed the results all the same (see note), as of a classifier that is sure, so
    many equal outputs are taken for usual from then on.

    Attributes:
        is_informative: outputs have so many values that equal ones are no chance.
        run: frames in a row, each of a changed scene, with the outputs of another one.
    """

    def __init__(self, frames: int = 5, min_change: float = 0.05) -> None:
        """Report from ``frames`` in a row on."""
        self._frames, self._min_change = frames, min_change
        self._first: dict[tuple[int, ...], NDArray[np.float32]] = {}
        self._seen: OrderedDict[tuple[int, ...], NDArray[np.float32]] = OrderedDict()
        self._last: tuple[int, ...] = ()
        self._counted: NDArray[np.float32] | None = None
        self._usual, self._confirmed, self._is_disputed = 0, 0, False
        self.is_informative = False
        self.run = 0

    @property
    def is_doubtful(self) -> bool:
        """Whether the last outputs are those of another scene: another model should answer meanwhile."""
        return self.run > self._usual

    @property
    def is_constant(self) -> bool:
        """Whether the model's outputs are constant."""
        return self.run >= self._usual + self._frames

    def see(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Look at a frame's model input and raw outputs of any shapes."""
        samples = [_sample(array, _SAMPLES) for array in outputs.values()]
        present = tuple(hash(each.tobytes()) for each in samples)
        shown = _sample(next(iter(feeds.values())), _INPUT_SAMPLES).astype(np.float32)
        known = self._remember(present, shown)
        self.is_informative = sum(each.size for each in samples) >= _FEWEST_VALUES
        is_flat = self.is_informative and all(bool((each == each[:1]).all()) for each in samples)
        if is_flat or self._differs(shown, known):
            if self._counted is None or self._differs(shown, self._counted):
                self.run, self._counted = self.run + 1, shown
        elif present != self._last:
            if not self._is_disputed:
                self._usual = min(max(self._usual, self._confirmed), _MOST_USUAL)
            self.run, self._counted, self._confirmed, self._is_disputed = 0, None, 0, False
        self._last = present

    def note(self, *, agreed: bool) -> None:
        """Note whether another model confirms a doubtful frame: what nobody confirmed is not usual."""
        self._is_disputed |= not agreed
        self._confirmed = self.run if agreed else 0

    def _remember(self, present: tuple[int, ...], shown: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the input that gave these outputs first; ``shown`` where they are new."""
        if len(self._first) < _KEPT:
            return self._first.setdefault(present, shown)
        if present in self._first:
            return self._first[present]
        known = self._seen.setdefault(present, shown)
        self._seen.move_to_end(present)
        if len(self._seen) > _REMEMBERED - _KEPT:
            self._seen.popitem(last=False)
        return known

    def _differs(self, shown: NDArray[np.float32], before: NDArray[np.float32]) -> bool:
        if shown.shape != before.shape:
            return False
        change = float(np.abs(shown - before).mean())
        return change > self._min_change * float(shown.std()) and change > 0.0


class OutputsByCamera:
    """The outputs of one model for the frames of each camera.

    Attributes:
        camera: whose frame the model has; set by the thread that is in it.
    """

    def __init__(self) -> None:
        """Begin without outputs."""
        self._of: defaultdict[str, ConstantOutputs] = defaultdict(ConstantOutputs)
        self.camera = ""

    def of(self, camera: str) -> ConstantOutputs:
        """Return what is known of the outputs for a camera's frames."""
        return self._of[camera]

    def see(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Look at a frame; see ConstantOutputs.see."""
        self._of[self.camera].see(feeds, outputs)


def _sample(array: NDArray[Any], samples: int) -> NDArray[Any]:
    """Return about so many values of an array, spread over it; an odd step, as sizes are even."""
    flat = array.reshape(-1)
    return flat[:: (flat.size // samples) | 1]
