# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the mean of a window to few figures, each at its usual size where nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.drift.frame_statistics import (
    BRIGHTNESS,
    CHANGE,
    CHANNEL_ROWS,
    DETAIL,
    FIGURES,
    LATER_FIGURES,
    ROWS,
    image_names,
)
from ad_compressed_perception.drift.result_statistics import QUALITY

Array = NDArray[np.float64]

IMAGE: Final = tuple(name for name in FIGURES if name != "motion")
"""Figures that the distance of an image is taken of; how much moves is no property of a camera or a place."""

TINTS: Final = tuple(f"tint_{row}" for row in range(ROWS))
"""Of each row of cells, logarithm of blue over red."""

RESULTS: Final = ("results", "result quality")
"""Figures of results; all others are of images."""

ONE_FIGURE: Final = "one figure"
"""How far a single figure's unexplained part is beyond its own threshold, see WindowFigures.unexplained."""

FIRST_ALARMS: Final = ("image", "layout", "blur", "channel order", "covered", *RESULTS)
"""Figures with thresholds of references of schema adcp-drift/1."""

ALARMS: Final = ("image", "pattern", "blur", "exchange", "spots", *RESULTS)
"""Figures with thresholds.

image: distance of the window's IMAGE and TINTS from the reference (Mahalanobis).
layout: of the cells' brightness, root mean square of standard deviations; pattern: after their mean is
subtracted, so that light alone does not change it.
blur: by how much the image is less sharp than its other figures lead to expect, standard deviations.
channel order: how much more the colors look like the reference with red and blue exchanged (linear
discriminant); exchange: by how much nearer to the reference the image would be with red and blue exchanged.
covered: by how much the patches that change least change less than usual, against the median of all patches;
spots: root of the summed squares of what patches lack of detail against those beside them, beyond 2 standard
deviations.
results, result quality: distance of what results say, and of how sure and steady they are, from what the
reference has for such images.
"""

_COVERED_PATCHES: Final = 3
_USUAL_LOSS: Final = 2.0
"""Standard deviations of detail that some patch always lacks."""
_FEW: Final = 0.5
_ODD: Final = ("warmth", "warmth_near", "chroma_grain", "tint_slope")
"""Figures that change their sign where red and blue are exchanged, as tints do."""
_PAIR: Final = ("blue_green", "red_green")
"""Figures that change places then."""


def joint_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return what the distance of an image is taken of, for values of these names."""
    return (*IMAGE, *(name for name in LATER_FIGURES if name in names), *TINTS)


def single_names(joint: Sequence[str]) -> tuple[str, ...]:
    """Return the figures of an image that are looked at one by one.

    Left out are those that a single red or blue vehicle changes.
    """
    return tuple(name for name in joint if name not in (*TINTS, "warmth", "warmth_near"))


@dataclass(frozen=True)
class Columns:
    """Where the parts of a frame's values are.

    Attributes:
        joint_names: names of the image's figures in the joint vector.
        image: indices of these, without TINTS.
        rows: (3, ROWS) indices of the channels' rows, blue first.
        cells, patches, details: indices of the maps; details may be empty.
        results: indices of the figures of results that are compared.
        is_quality: of each of these, whether it is of the results' quality.
        is_objects: of each of these, whether it is the number of objects.
    """

    joint_names: tuple[str, ...]
    image: NDArray[np.intp]
    rows: NDArray[np.intp]
    cells: NDArray[np.intp]
    patches: NDArray[np.intp]
    details: NDArray[np.intp]
    results: NDArray[np.intp]
    is_quality: NDArray[np.bool_]
    is_objects: NDArray[np.bool_]

    @classmethod
    def of(cls, names: tuple[str, ...], compared: tuple[str, ...]) -> Columns:
        """Find the parts by the names of all values; ``compared`` names the figures of results."""
        at = {name: index for index, name in enumerate(names)}

        def beginning(*prefixes: str) -> NDArray[np.intp]:
            found = [at[name] for name in image_names() if name in at and name.startswith(prefixes)]
            return np.array(found, np.intp)

        joint = joint_names(names)
        return cls(
            joint_names=joint,
            image=np.array([at[name] for name in joint[: -len(TINTS)]]),
            rows=beginning(*CHANNEL_ROWS).reshape(3, ROWS),
            cells=beginning(BRIGHTNESS),
            patches=beginning(CHANGE),
            details=beginning(DETAIL),
            results=np.array([at[name] for name in compared], np.intp),
            is_quality=np.array([name in QUALITY for name in compared], bool),
            is_objects=np.array([name == "objects" for name in compared], bool),
        )

    def joint(self, means: Array) -> Array:
        """Return what the covariance is of: joint_names, results; (..., N) to (..., M)."""
        tints = means[..., self.rows[0]] - means[..., self.rows[2]]
        return np.concatenate([means[..., self.image], tints, means[..., self.results]], axis=-1)


class WindowFigures:
    """Computes the figures of windows by what is usual.

    The covariance is that of *window means*: serial correlation is in it.
    """

    def __init__(
        self, columns: Columns, center: Array, spread: Array, covariance: Array, scales: Array | None = None
    ) -> None:
        """Prepare.

        Args:
            columns: of the values.
            center: (N,) usual mean.
            spread: (N,) standard deviation of the window mean.
            covariance: (M, M) of the joint vector of window means, positive definite.
            scales: (len(columns.joint_names),) what is usual of unexplained(); None: 1.
        """
        self._columns, self._center, self._spread = columns, center, spread
        self._joint = columns.joint(center)
        named = np.flatnonzero(columns.is_objects)
        self._objects = int(columns.results[named[0]]) if len(named) else None
        names = columns.joint_names
        given = self._given = len(names)
        self._scales = np.ones(given) if scales is None else scales
        self._sharpness = names.index("sharpness")
        self._single = np.array([at for at, name in enumerate(names) if name in single_names(names)])
        self._precision = np.linalg.inv(covariance[:given, :given])
        self._precision_scale = np.sqrt(np.diag(self._precision))
        odd = self._odd = np.array(
            [*(names.index(one) for one in _ODD if one in names), *range(given - ROWS, given)]
        )
        pair = [names.index(one) for one in _PAIR]
        self._order, self._sign = np.arange(given), np.ones(given)
        self._order[pair], self._sign[odd] = pair[::-1], -1.0
        weights = np.linalg.solve(covariance[np.ix_(odd, odd)], self._joint[odd])
        self._odd_size = float(np.sqrt(max(float(self._joint[odd] @ weights), 1e-12)))
        self._odd_weights = weights / self._odd_size
        # Results given the image: regression on it, and the covariance of what remains.
        self._regression = np.linalg.solve(covariance[:given, :given], covariance[:given, given:])
        rest = covariance[given:, given:] - covariance[:given, given:].T @ self._regression
        chosen = {name: columns.is_quality == (name == RESULTS[1]) for name in RESULTS}
        self._results = {
            name: (one, np.linalg.inv(rest[np.ix_(one, one)])) for name, one in chosen.items() if one.any()
        }

    def unexplained(self, means: Array) -> Array:
        """Return by how much each of joint_names is off what the others lead to expect.

        In standard deviations, as partial residuals of a normal distribution: a row of the precision matrix
        times the offset, divided by the root of its diagonal; (..., N) to (..., len(joint_names)). Then
        divided by what was usual of it in parts that were left out.
        """
        offset = (self._columns.joint(means) - self._joint)[..., : self._given]
        return np.asarray(offset @ self._precision / self._precision_scale / self._scales)

    def signed(self, means: Array) -> Array:
        """Return unexplained(), upwards and then downwards, of the figures that are looked at one by one."""
        parts = self.unexplained(means)[..., self._single]
        return np.concatenate([parts, -parts], axis=-1)

    def exchanged(self, means: Array) -> Array:
        """Return how far colors went towards exchanged red and blue: 0 not at all, 0.5 gray, 1 exchanged."""
        if self._columns.details.size:
            now, back = self._distances(means)
            return np.asarray(now / np.maximum(now + back, 1e-9))
        offset = (self._columns.joint(means) - self._joint)[..., self._odd]
        return np.asarray(-(offset @ self._odd_weights) / (2.0 * self._odd_size))

    def _distances(self, means: Array) -> tuple[Array, Array]:
        """Return the distance of an image, and what it would be with red and blue exchanged back."""
        image, center = self._columns.joint(means)[..., : self._given], self._joint[: self._given]
        return self._distance(image - center), self._distance(image[..., self._order] * self._sign - center)

    def _distance(self, offset: Array) -> Array:
        return np.sqrt(np.einsum("...i,ij,...j->...", offset, self._precision, offset))

    def compute(self, means: Array) -> dict[str, Array]:
        """Return the figures of window means, (..., N) to (...) each; NaN where a part is unknown."""
        columns = self._columns
        offset = columns.joint(means) - self._joint
        image = offset[..., : self._given]
        cells, patches, details = (
            (means[..., one] - self._center[one]) / self._spread[one]
            for one in (columns.cells, columns.patches, columns.details)
        )
        patches = patches - np.median(patches, axis=-1, keepdims=True)
        unexplained = self.unexplained(means)
        found = {
            "image": self._distance(image),
            "layout": np.sqrt((cells**2).mean(axis=-1)),
            "blur": -unexplained[..., self._sharpness],
            "channel order": -(offset[..., self._odd] @ self._odd_weights),
            "covered": -np.partition(patches, _COVERED_PATCHES - 1, axis=-1)[..., _COVERED_PATCHES - 1],
        }
        if details.size:
            found |= {
                "exchange": found["image"] - self._distances(means)[1],
                "pattern": np.sqrt(((cells - cells.mean(axis=-1, keepdims=True)) ** 2).mean(axis=-1)),
                "spots": np.sqrt((np.maximum(-details - _USUAL_LOSS, 0.0) ** 2).sum(axis=-1)),
            }
        rest = offset[..., self._given :] - image @ self._regression
        for name, (chosen, inverse) in self._results.items():
            values = np.where(np.isfinite(rest[..., chosen]), rest[..., chosen], 0.0)
            found[name] = np.sqrt(np.einsum("...i,ij,...j->...", values, inverse, values))
        if self._objects is not None and RESULTS[1] in found:
            # Few objects have no usual mean score.
            few = means[..., self._objects] < _FEW * self._center[self._objects]
            found[RESULTS[1]] = np.where(few, 0.0, found[RESULTS[1]])
        return found
