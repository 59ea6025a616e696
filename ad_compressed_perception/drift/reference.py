# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What frames and results of a model are like where it works: ``drift_reference`` of a manifest.

Thresholds. A window's figures are strongly correlated with those of the windows beside it, so none is
treated as an independent sample. The recording is cut into drives (with fewer than four, into parts); each
one's windows are compared with what the *other* ones say (the block jackknife: Künsch 1989,
doi:10.1214/aos/1176347265), which is what a live window of a drive not yet seen is. A bound follows for any
rate of false alarms:

* with parts of one drive, the largest value of each block of ``BLOCK_S`` seconds is fitted by a Gumbel
  distribution (Coles 2001, "An introduction to statistical modeling of extreme values", section 3);
* with several drives, the largest value of each drive, to the power of ROOT, is one sample, and the bound is
  the upper prediction limit for one more of a normal distribution (Hahn and Meeker 1991, "Statistical
  intervals", section 4.8): mean plus Student's t times the standard deviation times sqrt(1 + 1/n). Places
  differ from each other by more than a drive differs from itself, and few drives say little about that: the
  standard deviation is moderated by that of all figures, relative to their means (Smyth 2004,
  doi:10.2202/1544-6115.1027).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.drift.figures import ALARMS, FIRST_ALARMS, RESULTS, joint_names, single_names
from ad_compressed_perception.drift.frame_statistics import image_names
from ad_compressed_perception.drift.windows import BIN_S

BLOCK_S: Final = 10.0
ROOT: Final = 2.0 / 3.0
"""The cube root of a chi-squared variable is about normal, even of one degree of freedom (Wilson and Hilferty
1931, doi:10.1073/pnas.17.12.684); figures are square roots of such."""

LEAST_THRESHOLD: Final = 3.0
"""Standard deviations: no smaller difference is alarmed, however even a recording is."""

MAX_REPEAT_S: Final = 30.0
"""A frozen image is alarmed after 1.5 times the longest repetition: a longer one would hide it."""

_LEAST_SINGLE: Final = 4.5
"""That of single figures, of which there are many."""

_MAX_THRESHOLD: Final = 1e4
"""Standard deviations; no recording is as uneven, and nothing exceeds it."""
_MAX_LOGARITHM: Final = 100.0
"""Figures of images are shares and logarithms of pixel values."""
_TEXT = Annotated[str, Field(max_length=64)]
_FINITE = Annotated[float, Field(allow_inf_nan=False)]
_MAX = 512


def block_s(window_s: float) -> float:
    """Return the length of the blocks whose largest values are fitted: not shorter than a window."""
    return max(BLOCK_S, window_s)


def upper(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper triangle of a symmetric matrix, by rows."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


@lru_cache(maxsize=512)
def student_limit(share: float, degrees: int) -> float:
    """Return what Student's t exceeds in this share of cases.

    With tan(a) = t / sqrt(degrees) the density is proportional to cos(a)^(degrees - 1), which is summed from
    the far end.
    """
    angles = np.linspace(np.pi / 2.0, -np.pi / 2.0, 100_001)
    density = np.cos(angles) ** (degrees - 1)
    above = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2.0)])
    angle = float(np.interp(share, above / above[-1], angles))
    return math.sqrt(degrees) * math.tan(min(angle, 1.5707))


class DriveSpread(StrictModel):
    """The largest values of drives that were left out, to the power of ROOT."""

    drives: int = Field(ge=2, le=1000)
    degrees: int = Field(ge=1, le=2000, description="degrees of freedom of the spread")
    drive_s: float = Field(gt=0.0, le=1e6, description="mean length")
    mean: float = Field(ge=0.0, le=_MAX_THRESHOLD)
    spread: float = Field(ge=0.0, le=_MAX_THRESHOLD, description="standard deviation")

    def threshold(self, per_hour: float) -> float:
        """Return the value that the largest of one more drive exceeds ``per_hour`` times an hour."""
        share = min(per_hour * self.drive_s / 3600.0, 0.5)
        widened = self.spread * math.sqrt(1.0 + 1.0 / self.drives)
        return (self.mean + student_limit(share, self.degrees) * widened) ** (1.0 / ROOT)


class GumbelTail(StrictModel):
    """How large the square of the largest value of a block is, where nothing has changed."""

    location: float = Field(ge=-(_MAX_THRESHOLD**2), le=_MAX_THRESHOLD**2)
    scale: float = Field(gt=0.0, le=_MAX_THRESHOLD**2)
    largest: float = Field(ge=0.0, le=_MAX_THRESHOLD, description="value that was seen, not its square")
    between: DriveSpread | None = Field(None, description="of drives; references of adcp-drift/1 have none")

    def threshold(self, per_hour: float, window_s: float) -> float:
        """Return the value that windows of a length exceed ``per_hour`` times an hour."""
        share = min(per_hour * block_s(window_s) / 3600.0, 0.5)
        square = self.location - self.scale * math.log(-math.log1p(-share))
        bound = self.between.threshold(per_hour) if self.between else math.sqrt(max(square, 0.0))
        return max(bound, 1.05 * self.largest, LEAST_THRESHOLD)


class SignedSpread(StrictModel):
    """The largest unexplained parts of drives left out, upwards and then downwards, as DriveSpread."""

    drives: int = Field(ge=2, le=1000)
    degrees: int = Field(ge=1, le=2000)
    drive_s: float = Field(gt=0.0, le=1e6)
    mean: list[Annotated[float, Field(ge=0.0, le=_MAX_THRESHOLD)]] = Field(max_length=128)
    spread: list[Annotated[float, Field(ge=0.0, le=_MAX_THRESHOLD)]] = Field(max_length=128)

    def thresholds(self, per_hour: float) -> NDArray[np.float64]:
        """Return the values that are exceeded ``per_hour`` times an hour, all of them together."""
        share = min(per_hour / len(self.mean) * self.drive_s / 3600.0, 0.5)
        widened = student_limit(share, self.degrees) * math.sqrt(1.0 + 1.0 / self.drives)
        limits = (np.array(self.mean) + widened * np.array(self.spread)) ** (1.0 / ROOT)
        return np.maximum(limits, _LEAST_SINGLE)


class WindowTails(StrictModel):
    """What windows of one length are like where nothing has changed."""

    window_s: float = Field(ge=BIN_S, le=60.0, description="length of a window")
    tails: dict[_TEXT, GumbelTail] = Field(max_length=_MAX, description="by figure of a window")
    signed: SignedSpread | None = Field(
        None, description="of each image figure's unexplained part; references of adcp-drift/1 have none"
    )


class DriftReference(StrictModel):
    """Statistics of a recording on which a model works, and how far its windows lie from each other."""

    model_config = ConfigDict(protected_namespaces=())  # "model_" is pydantic's in its 2.9 and older

    schema_: Literal["adcp-drift/1", "adcp-drift/2"] = Field("adcp-drift/2", alias="schema")
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file that gave the results")
    camera: str = Field("", max_length=256, description="topic or recording that it was learned from")
    width: int = Field(gt=0, description="of the frames, pixels")
    height: int = Field(gt=0, description="of the frames, pixels")
    channels: int = Field(ge=1, le=4, description="1 for gray frames")
    labels: list[str] = Field(default_factory=list, max_length=100, description="class names with figures")
    frames: int = Field(ge=1)
    duration_s: float = Field(gt=0.0, allow_inf_nan=False)
    period_s: float = Field(gt=0.0, allow_inf_nan=False, description="median from frame to frame")
    correlation_s: float = Field(ge=0.0, allow_inf_nan=False, description="integral of the autocorrelation")
    longest_repeat_s: float = Field(ge=0.0, le=MAX_REPEAT_S, description="of equal images")
    names: list[_TEXT] = Field(max_length=_MAX, description="figures of a frame and its result")
    center: list[_FINITE] = Field(max_length=_MAX, description="mean of each figure")
    spread: list[_FINITE] = Field(
        max_length=_MAX, description="standard deviation of each figure's window mean"
    )
    compared: list[_TEXT] = Field(max_length=32, description="figures of results that are compared")
    covariance: list[_FINITE] = Field(
        max_length=2048, description="of window means: image figures, tints, results; upper triangle by rows"
    )
    unexplained: list[_FINITE] = Field(
        default_factory=list,
        max_length=64,
        description="usual size of each image figure's part that the others do not explain; empty: 1",
    )
    windows: list[WindowTails] = Field(min_length=1, max_length=8, description="of each length, ascending")

    @model_validator(mode="after")
    def _consistent(self) -> DriftReference:
        if not len(self.names) == len(self.center) == len(self.spread) == len(set(self.names)):
            raise ValueError("names, center and spread need one entry for each figure")
        if any(one <= 0.0 for one in self.spread):
            raise ValueError("spread must be above 0")
        is_first = self.schema_ == "adcp-drift/1"
        known = image_names(with_later=not is_first)
        images = len(known)
        if max(map(abs, (*self.center[:images], *self.spread[:images])), default=0.0) > _MAX_LOGARITHM:
            raise ValueError(f"center and spread of images must be within {_MAX_LOGARITHM:g}")
        if not set(self.compared) <= set(self.names) or self.names[:images] != list(known):
            raise ValueError("names are not those of this version: learn the reference anew")
        joint = len(joint_names(known))
        singles = len(single_names(joint_names(known)))
        if self.unexplained and (len(self.unexplained) != joint or min(self.unexplained) <= 0.0):
            raise ValueError(f"unexplained needs {joint} entries above 0")
        if any(
            one.signed is None or {len(one.signed.mean), len(one.signed.spread)} != {2 * singles}
            for one in self.windows
            if not is_first
        ):
            raise ValueError(f"signed needs {2 * singles} entries")
        # Fewer figures would be looked at than the docs say, and so less alarmed.
        allowed = set(FIRST_ALARMS if is_first else ALARMS)
        if any(not allowed - set(RESULTS) <= set(one.tails) <= allowed for one in self.windows):
            raise ValueError(f"tails need the figures of images, and at most {', '.join(sorted(allowed))}")
        size = joint + len(self.compared)
        if len(self.covariance) != size * (size + 1) // 2:
            raise ValueError(f"covariance needs {size * (size + 1) // 2} entries")
        if not np.linalg.eigvalsh(self.full_covariance())[0] > 0.0:  # NaN where numbers overflow
            raise ValueError("covariance is not positive definite")
        return self

    def full_covariance(self) -> NDArray[np.float64]:
        """Return the whole symmetric matrix."""
        size = len(joint_names(self.names)) + len(self.compared)
        matrix = np.zeros((size, size))
        matrix[np.triu_indices(size)] = self.covariance
        return matrix + np.triu(matrix, 1).T

    def chosen_windows(self, window_s: float) -> list[WindowTails]:
        """Return the windows of a length; all for 0; raise ManifestError naming those that exist."""
        found = [one for one in self.windows if window_s in (0.0, one.window_s)]
        if found:
            return found
        lengths = ", ".join(f"{one.window_s:g}" for one in self.windows)
        raise ManifestError(f"the drift reference has no window of {window_s:g} s; it has: {lengths} s")
