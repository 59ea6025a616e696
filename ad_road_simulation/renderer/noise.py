# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tileable noise, generated once: ground textures, clouds and sensor noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SENSOR_DEVIATION = 30.0


def tile(size_px: int, from_px: float, to_px: float, seed: int, slope: float = 1.0) -> NDArray[np.float64]:
    """Return (size, size) tileable noise of mean 0 and standard deviation 1.

    Args:
        size_px: of the tile.
        from_px: shortest wavelength in it.
        to_px: longest wavelength in it.
        seed: of the draw.
        slope: amplitude is proportional to frequency ** -slope.
    """
    white = np.random.default_rng(seed).standard_normal((size_px, size_px))
    rows = np.fft.fftfreq(size_px)[:, None]
    columns = np.fft.rfftfreq(size_px)[None, :]
    frequency = np.hypot(rows, columns)
    band = (frequency >= 1.0 / to_px) & (frequency <= 1.0 / from_px)
    weight = np.where(band, np.maximum(frequency, 1e-9) ** -slope, 0.0)
    field = np.fft.irfft2(np.fft.rfft2(white) * weight, s=(size_px, size_px))
    return np.asarray(field / field.std())


def _bytes(field: NDArray[np.floating], deviation: float) -> NDArray[np.uint8]:
    return np.clip(np.rint(128.0 + deviation * field), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def fine_noise() -> NDArray[np.uint8]:
    """(512, 512) fine noise around 128: stones of the asphalt, blades of the grass."""
    return _bytes(tile(512, 2.0, 12.0, 11, 0.3) + 0.5 * tile(512, 12.0, 200.0, 12), 32.0)


@lru_cache(maxsize=1)
def coarse_noise() -> NDArray[np.uint8]:
    """(512, 512, 2) coarse noise around 128, of brightness and of hue: tufts, dry spots, stains."""
    return _bytes(np.stack([tile(512, 3.0, 60.0, 21, 0.5), tile(512, 20.0, 500.0, 22, 0.8)], axis=-1), 26.0)


@lru_cache(maxsize=1)
def cloud_density() -> NDArray[np.float32]:
    """(512, 512) cloud density of mean 0 and deviation 1."""
    return tile(512, 4.0, 400.0, 31, 1.6).astype(np.float32)


@lru_cache(maxsize=4)
def sensor_noise(height_px: int, width_px: int) -> NDArray[np.uint8]:
    """(height, width, 3) noise of deviation SENSOR_DEVIATION around 128, partly common to the colors."""
    rng = np.random.default_rng(41)
    gray = rng.standard_normal((height_px, width_px, 1), np.float32)
    color = rng.standard_normal((height_px, width_px, 3), np.float32)
    return _bytes(0.8 * gray + 0.6 * color, SENSOR_DEVIATION)
