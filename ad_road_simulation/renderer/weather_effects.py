# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image effects of weather and camera: halos, rain, glare, motion blur and sensor noise."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer import noise
from ad_road_simulation.renderer.framebuffer import Framebuffer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.scene import Scene

Image = NDArray[np.uint8]

_MARGIN_PX = 64
"""The buffers are this much larger than the image, so that every image uses a random window of them."""


@lru_cache(maxsize=512)
def _halo(radius_px: int, color: tuple[int, int, int]) -> Image:
    """Return a soft disc of light."""
    away = np.hypot(*np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]) / max(1, radius_px)
    bright = np.clip(1.0 - away, 0.0, 1.0) ** 2.2
    return (bright[..., None] * np.array(color)).astype(np.uint8)


def add_halo(image: Image, column: float, row: float, radius_px: float, color: tuple[int, int, int]) -> None:
    """Add a halo to an image, clipped at its edges."""
    radius = int(min(max(radius_px, 1.0), 120.0))
    halo = _halo(radius, color)
    left, top = int(round(column)) - radius, int(round(row)) - radius
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (
        max(0, left),
        max(0, top),
        min(width, left + 2 * radius + 1),
        min(height, top + 2 * radius + 1),
    )
    if x1 > x0 and y1 > y0:
        part = image[y0:y1, x0:x1]
        cv2.add(part, halo[y0 - top : y1 - top, x0 - left : x1 - left], dst=part)


def add_streak(
    image: Image, column: float, top: float, foot: float, width_px: float, color: tuple[int, int, int]
) -> None:
    """Add the elongated reflection of a lamp on a wet road."""
    height, width = image.shape[:2]
    half = max(1, int(width_px))
    x0, x1 = max(0, int(column) - half), min(width, int(column) + half + 1)
    y0, y1 = max(0, int(top)), min(height, int(foot))
    if x1 <= x0 or y1 <= y0:
        return
    across = 1.0 - np.abs(np.arange(x0, x1) - column) / (half + 1)
    down = np.sin(np.linspace(0.15, np.pi, y1 - y0)) ** 1.5
    glow = (down[:, None] * across[None, :])[..., None] * np.array(color)
    part = image[y0:y1, x0:x1]
    part[:] = cv2.add(part, np.clip(glow, 0, 255).astype(np.uint8))


@lru_cache(maxsize=4)
def _streaks(height_px: int, width_px: int) -> Image:
    """Return an image of rain streaks on black."""
    rng = np.random.default_rng(51)
    rain = np.zeros((height_px + _MARGIN_PX, width_px + _MARGIN_PX), np.uint8)
    scale = height_px / 360.0
    for _ in range(650):
        x, y = float(rng.uniform(0, rain.shape[1])), float(rng.uniform(-30, rain.shape[0]))
        length, slant = float(rng.uniform(8, 30)) * scale, float(rng.normal(0.08, 0.05))
        end = (int(x + slant * length), int(y + length))
        cv2.line(rain, (int(x), int(y)), end, (float(rng.uniform(14, 54)),), 1, cv2.LINE_AA)
    return np.asarray(cv2.cvtColor(cv2.GaussianBlur(rain, (0, 0), 0.6), cv2.COLOR_GRAY2BGR), np.uint8)


def _random_window(image: Image, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return rows and columns of a random window of a buffer, of the size of the image."""
    height, width = image.shape[:2]
    top, left = int(rng.integers(0, _MARGIN_PX + 1)), int(rng.integers(0, _MARGIN_PX + 1))
    return slice(top, top + height), slice(left, left + width)


@lru_cache(maxsize=8)
def _mirrored_share(rows: int, wet: float) -> NDArray[np.float32]:
    """Return the (rows, 1) reflectivity of a wet road, from the horizon down."""
    return np.linspace(1.0, 0.0, rows, dtype=np.float32)[:, None] ** 1.5 * np.float32(0.6 * wet)


def add_wet_reflection(framebuffer: Framebuffer, first_row: int, wet: float) -> None:
    """Add the reflection of the image above the horizon on the wet road, stronger at flatter angles."""
    rows = min(first_row, framebuffer.image.shape[0] - first_row)
    above = framebuffer.image[first_row - rows : first_row][::-1]
    mirrored = cv2.blur(np.ascontiguousarray(above), (5, 25))
    below = framebuffer.image[first_row : first_row + rows]
    weight = (framebuffer.ground[first_row : first_row + rows] > 0).astype(np.float32)
    weight *= _mirrored_share(rows, wet)
    # blendLinear divides by the sum of the weights.
    cv2.blendLinear(np.ascontiguousarray(below), mirrored, 1.0 - weight, weight, dst=below)


def add_rain(image: Image, amount: float, rng: np.random.Generator, lens: np.random.Generator) -> None:
    """Add rain streaks, and drops on the windscreen, which show the image upside down and blurred.

    Args:
        image: changed in place.
        amount: 0..1.
        rng: of this image.
        lens: random generator of the drops, which are constant over several images.
    """
    height, width = image.shape[:2]
    streaks = _streaks(height, width)[_random_window(image, rng)]
    cv2.addWeighted(image, 1.0, streaks, min(0.8, 0.25 + 0.6 * amount), -1.0, dst=image)
    for _ in range(int(14 * amount)):
        x, y = float(lens.uniform(0, width)), float(lens.uniform(0, height))
        radius = max(2, int(lens.uniform(2.0, 6.5) * width / 640.0))
        _drop(image, int(x), int(y), radius)


def _drop(image: Image, x: int, y: int, radius: int) -> None:
    height, width = image.shape[:2]
    if not (radius <= x < width - radius and radius <= y < height - radius):
        return
    reach = 4 * radius
    x0, x1, y0, y1 = max(0, x - reach), min(width, x + reach), max(0, y - reach), min(height, y + reach)
    side = 2 * radius + 1
    seen = cv2.resize(image[y0:y1, x0:x1], (side, side), interpolation=cv2.INTER_AREA)[::-1, ::-1]
    weight = _drop_cover(radius)
    part = image[y - radius : y + radius + 1, x - radius : x + radius + 1]
    part[:] = (part * (1.0 - weight) + seen * weight).astype(np.uint8)


@lru_cache(maxsize=32)
def _drop_cover(radius: int) -> NDArray[np.float32]:
    """Return the (side, side, 1) alpha mask of a drop."""
    side, size = 2 * radius + 1, (max(1, int(radius * 0.85)), radius)
    mask = np.zeros((side, side), np.uint8)
    cv2.ellipse(mask, (radius, radius), size, 0, 0, 360, (255,), -1, cv2.LINE_AA)
    return cv2.blur(mask, (3, 3))[..., None].astype(np.float32) / 255.0 * 0.8


@lru_cache(maxsize=4)
def _veil(height_px: int, width_px: int, with_disc: bool) -> Image:
    """Return the veiling glare of a low sun, twice the image size per side, with the sun in its center."""
    rows, columns = np.mgrid[-height_px:height_px, -width_px:width_px] / (width_px / 640.0)
    away = np.hypot(rows, columns)
    rays = 0.85 + 0.15 * np.cos(12.0 * np.arctan2(rows, columns))
    bright = 60.0 + 110.0 * np.exp(-away / 150.0) * rays
    if with_disc:
        bright += 255.0 * np.exp(-((away / 26.0) ** 2))
    return np.clip(bright[..., None] * np.array([0.78, 0.92, 1.0]), 0, 255).astype(np.uint8)


def add_glare(framebuffer: Framebuffer, sun: NDArray[np.float64], amount: float) -> None:
    """Add the veiling glare of a low sun around its position, and lens ghosts on the opposite side.

    Args:
        framebuffer: rendered, including the ids: a sun occluded by an object glares less.
        sun: (3,) direction to it along base_link's axes.
        amount: 0..1.
    """
    image, camera = framebuffer.image, framebuffer.camera
    height, width = image.shape[:2]
    if sun[0] <= 0.2:
        cv2.addWeighted(image, 1.0 - 0.15 * amount, image, 0.0, 24.0 * amount, dst=image)
        return
    across, along, _ = camera.pixel_of(float(sun[0]), float(sun[1]), float(sun[2]))
    column, row = int(np.clip(across, 0, width)), int(np.clip(along, 0, height))
    around = framebuffer.ids[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5]
    hidden = float(np.count_nonzero(around)) / max(1, around.size)
    amount *= 1.0 - 0.5 * hidden
    veil = _veil(height, width, hidden < 0.5)
    veil = veil[height - row : 2 * height - row, width - column : 2 * width - column]
    cv2.addWeighted(image, 1.0 - 0.25 * amount, veil, amount, 0.0, dst=image)
    if hidden > 0.5:
        return
    middle = np.array(camera.center_px)
    for share, size, color in ((0.0, 14, (30, 50, 40)), (0.8, 26, (40, 30, 22)), (1.2, 10, (24, 36, 60))):
        position = middle + (middle - (across, along)) * share
        tint = (int(color[0] * amount), int(color[1] * amount), int(color[2] * amount))
        add_halo(image, float(position[0]), float(position[1]), size * width / 640.0, tint)


def add_turn_blur(image: Image, camera: Camera, scene: Scene) -> None:
    """Blur the image horizontally where the car's yaw exceeds a pixel during the exposure."""
    moved = abs(scene.ego_yaw_rate_radps) * scene.weather.exposure_s * camera.focal_px
    size = int(moved) | 1
    if size >= 3:
        cv2.blur(image, (size, 1), dst=image)


@lru_cache(maxsize=4)
def _noise_steps(height_px: int, width_px: int, gain: float) -> tuple[Image, Image] | None:
    """Return the positive and negative part of the noise, in whole gray levels.

    None where the rounding of a sum depends on the image, as where a step is half a level.
    """
    values = np.arange(256, dtype=np.uint8)
    every, stepped = (np.ascontiguousarray(table) for table in np.meshgrid(values, values, indexing="ij"))
    sums = cv2.addWeighted(every, 1.0, stepped, gain, -128.0 * gain)
    steps = np.rint(gain * (values - 128.0))
    up, down = np.clip(steps, 0, 255).astype(np.uint8), np.clip(-steps, 0, 255).astype(np.uint8)
    if (cv2.subtract(cv2.add(every, up[stepped]), down[stepped]) != sums).any():
        return None
    buffer = noise.sensor_noise(height_px, width_px)
    return np.asarray(cv2.LUT(buffer, up), np.uint8), np.asarray(cv2.LUT(buffer, down), np.uint8)


def add_sensor_noise(image: Image, deviation: float, rng: np.random.Generator) -> None:
    """Add the sensor's noise."""
    if deviation <= 0.0:
        return
    height, width = image.shape[:2]
    size, gain = (height + _MARGIN_PX, width + _MARGIN_PX), deviation / noise.SENSOR_DEVIATION
    window, steps = _random_window(image, rng), _noise_steps(*size, gain)
    if steps is None:
        cv2.addWeighted(image, 1.0, noise.sensor_noise(*size)[window], gain, -128.0 * gain, dst=image)
        return
    # Sums of bytes are faster than a weighted sum.
    lighter, darker = steps
    cv2.add(image, lighter[window], dst=image)
    cv2.subtract(image, darker[window], dst=image)
