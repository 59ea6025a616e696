# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of camera and world that are applied to recorded images; each draws its strength from its seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Change = Callable[[Image], Image]

HORIZON: Final = 0.45
"""Row of the horizon of the recorded cameras, as a share of the height."""


def _near(height: int) -> NDArray[np.float32]:
    """Return how near the ground is at each row, (H, 1, 1): 0 at the horizon and above, 1 at the bottom."""
    rows = np.linspace(0.0, 1.0, height, dtype=np.float32)
    return np.clip((rows - HORIZON) / (1.0 - HORIZON), 0.0, 1.0)[:, None, None]


def _to_image(values: NDArray[np.float32]) -> Image:
    return np.clip(values, 0.0, 255.0).astype(np.uint8)


def night(seed: int) -> Change:
    """Little light from above, headlights on the near road, lamps stay bright, a noisy sensor."""
    rng = np.random.default_rng(seed)
    light, noise = rng.uniform(0.08, 0.16), rng.uniform(4.0, 8.0)

    def change(image: Image) -> Image:
        height, width = image.shape[:2]
        beam = np.exp(-(((np.linspace(-1.0, 1.0, width, dtype=np.float32)) / 0.6) ** 2))[None, :, None]
        gain = light + 0.45 * np.sqrt(_near(height)) * beam
        gain = np.where(np.arange(height)[:, None, None] < HORIZON * height, light * 0.5, gain)
        dark = (image.astype(np.float32) / 255.0) ** 1.3 * 255.0 * gain
        dark *= np.array([1.1, 1.0, 0.95], np.float32)
        return _to_image(dark + rng.normal(0.0, noise, image.shape[:2])[..., None].astype(np.float32))

    return change


def fog(seed: int) -> Change:
    """Light scattered into the view, by the distance of the ground at each row (Koschmieder's law).

    What stands above the horizon is taken to be 60 m away.
    """
    rng = np.random.default_rng(seed)
    visibility_m, air = rng.uniform(60.0, 130.0), rng.uniform(170.0, 215.0)

    def change(image: Image) -> Image:
        distance_m = np.minimum(1.35 / np.maximum(_near(image.shape[0]), 1e-3) * 4.0, 60.0)
        seen = np.exp(-3.0 * distance_m / visibility_m)
        return _to_image(image * seen + air * (1.0 - seen))

    return change


def rain(seed: int) -> Change:
    """Streaks that change from frame to frame, less contrast, a darker sky."""
    rng = np.random.default_rng(seed)
    streaks, haze = int(rng.integers(500, 1200)), rng.uniform(0.25, 0.45)

    def change(image: Image) -> Image:
        height, width = image.shape[:2]
        layer = np.zeros((height, width), np.uint8)
        for x, y, length in rng.uniform((0, -40, 12), (width, height, 45), (streaks, 3)).astype(int):
            cv2.line(layer, (x, y), (x + length // 8, y + length), int(rng.integers(20, 80)), 1, cv2.LINE_AA)
        veiled = image * (1.0 - haze) + 105.0 * haze
        return _to_image(veiled * 0.8 + cv2.GaussianBlur(layer, (0, 0), 0.7)[..., None])

    return change


def blur(seed: int) -> Change:
    """Out of focus."""
    sigma = np.random.default_rng(seed).uniform(1.5, 3.5)
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def dirt(seed: int) -> Change:
    """Mud on the lens: blurred opaque spots that stay where they are."""
    rng = np.random.default_rng(seed)
    spots = rng.uniform((0.1, 0.15, 0.05), (0.9, 0.9, 0.13), (int(rng.integers(3, 7)), 3))

    def change(image: Image) -> Image:
        height, width = image.shape[:2]
        cover = np.zeros((height, width), np.float32)
        for x, y, radius in spots:
            cv2.circle(cover, (int(x * width), int(y * height)), int(radius * width), 0.9, -1)
        cover = cv2.GaussianBlur(cover, (0, 0), 0.015 * width)[..., None]
        return _to_image(image * (1.0 - cover) + np.array([45.0, 60.0, 75.0], np.float32) * cover)

    return change


def frozen(seed: int) -> Change:
    """The same image again and again."""
    first: list[Image] = []

    def change(image: Image) -> Image:
        if not first:
            first.append(image)
        return first[0]

    return change


def other_camera(seed: int) -> Change:
    """Another lens (narrower view), pitch, tone curve, colors, vignetting, sharpening and noise."""
    rng = np.random.default_rng(seed)
    zoom, shift = rng.uniform(1.2, 1.5), rng.choice([-1.0, 1.0]) * rng.uniform(0.04, 0.09)
    gamma, noise, falloff = rng.uniform(0.75, 1.3), rng.uniform(2.0, 4.0), rng.uniform(0.15, 0.4)
    colors = np.array([rng.uniform(0.85, 1.15), 1.0, rng.uniform(0.85, 1.15)], np.float32)

    def change(image: Image) -> Image:
        height, width = image.shape[:2]
        center = ((1.0 - zoom) * width / 2, (1.0 - zoom) * height / 2 + shift * height)
        matrix = np.array([[zoom, 0.0, center[0]], [0.0, zoom, center[1]]], np.float32)
        moved = cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        soft = cv2.GaussianBlur(moved, (0, 0), 1.2).astype(np.float32)
        sharp = moved + 0.8 * (moved - soft)
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        tone = (
            (np.clip(sharp, 0, 255) / 255.0) ** gamma * 255.0 * (1.0 - falloff * (x**2 + y**2) / 2)[..., None]
        )
        return _to_image(tone * colors + rng.normal(0.0, noise, (height, width, 1)))

    return change


def swapped_channels(seed: int) -> Change:
    """Red and blue exchanged."""
    return lambda image: np.ascontiguousarray(image[:, :, ::-1])


def exposure(seed: int) -> Change:
    """Twice or half the exposure or more; what is too bright is cut off."""
    rng = np.random.default_rng(seed)
    gain = rng.uniform(1.7, 2.5) if seed % 2 else rng.uniform(0.3, 0.5)
    return lambda image: _to_image(image * np.float32(gain))


CHANGES: Final[dict[str, tuple[str, Callable[[int], Change]]]] = {
    "night": ("world", night),
    "fog": ("world", fog),
    "rain": ("world", rain),
    "blur": ("camera", blur),
    "dirt": ("camera", dirt),
    "frozen frame": ("camera", frozen),
    "other camera": ("camera", other_camera),
    "swapped channels": ("camera", swapped_channels),
    "exposure": ("camera", exposure),
}
"""Name to what has changed, and the change of a seed."""
