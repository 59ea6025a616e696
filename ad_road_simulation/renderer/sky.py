# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sky, clouds, hills and trees on the horizon: a cylindrical panorama, of which the camera sees a part."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer import noise
from ad_road_simulation.renderer.lighting import HORIZON_M, Light, mix
from ad_road_simulation.world.camera import Camera

Array = NDArray[np.float64]

_FINER = 2.0
"""Columns of the panorama per pixel, which keep the sky's error below half a pixel when the car turns."""


def _ridge(bearing: Array, waves: list[int], seed: int) -> Array:
    """Return periodic heights of about -1..1: a sum of waves whose amplitude falls with frequency."""
    rng = np.random.default_rng(seed)
    ridge = np.zeros_like(bearing)
    for wave in waves:
        ridge += np.sin(wave * bearing + rng.uniform(0.0, 2.0 * np.pi)) * rng.uniform(0.6, 1.0) / wave**0.8
    return ridge / max(1e-9, float(np.abs(ridge).max()))


class Sky:
    """Panorama of one world and weather, in the camera's rows, and the columns that the camera sees.

    The magnification of a flat image towards its sides is ignored, so that an image is a selection of
    columns.
    """

    def __init__(self, camera: Camera, light: Light, seed: int) -> None:
        """Draw the panorama."""
        self._rows = int(np.floor(camera.horizon_px)) + 2
        self._columns = int(round(2.0 * np.pi * camera.focal_px * _FINER))
        across, down = camera.center_px
        # A cylinder around the camera; elevations are those of the middle column's rows.
        below = np.arctan2(np.arange(self._rows) - down, camera.focal_px) + camera.pitch_rad
        self._tangent = -np.tan(below)[:, None]
        ahead = camera.focal_px * np.cos(camera.pitch_rad)
        bearing = np.arctan2(np.arange(camera.width_px) - across, ahead)
        self._seen = np.rint(bearing * (self._columns / (2.0 * np.pi))).astype(np.int64)

        around = np.linspace(0.0, 2.0 * np.pi, self._columns, endpoint=False)
        strip = self._sky(around, light, seed)
        for layer in self._layers(around, light, seed):
            strip = self._put_ridge(strip, *layer, camera.focal_px)
        pixels = np.zeros((*strip.shape[:2], 4), np.uint8)
        pixels[..., :3] = np.clip(strip, 0.0, 255.0)
        # Copying whole columns of four-byte pixels is fastest.
        self._strip = np.ascontiguousarray(pixels.view(np.int32)[..., 0].T)

    def _sky(self, bearing: Array, light: Light, seed: int) -> Array:
        """Return the sky: a gradient, the sun's glow, clouds on a high plane."""
        tangent = np.maximum(self._tangent, 0.0)
        rise = 1.0 - np.exp(-3.5 * tangent)
        strip = mix(light.sky_low, light.sky_top, rise[..., None])
        strip = np.repeat(strip, len(bearing), axis=1)
        # The strip's bearings run to the right, the world's to the left.
        sun = float(np.arctan2(light.sun_direction[1], light.sun_direction[0]))
        apart = np.abs((bearing + sun + np.pi) % (2.0 * np.pi) - np.pi)
        sun_height = light.sun_direction[2] / max(1e-3, float(np.hypot(*light.sun_direction[:2])))
        away = np.hypot(apart[None, :], np.arctan(tangent) - np.arctan(sun_height))
        shine = (1.0 - light.overcast) * (0.55 * np.exp(-3.0 * away) + 1.2 * np.exp(-22.0 * away))
        strip += (shine * 150.0)[..., None] * np.array([0.55, 0.85, 1.0])
        # Intersection of the line of sight with a high plane; the offset limits its distance at the horizon.
        reach = 1.0 / (tangent + 0.12)
        offset = np.random.default_rng(seed).uniform(0.0, 512.0, 2)
        across = (np.cos(bearing) * reach * 30.0 + offset[0]).astype(np.float32)
        down = (np.sin(bearing) * reach * 30.0 + offset[1]).astype(np.float32)
        field = cv2.remap(noise.cloud_density(), across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        cover = np.clip((field - 0.35 + 1.6 * light.overcast) * 0.75, 0.0, 1.0) * np.clip(
            tangent * 9.0, 0.15, 0.9
        )
        # Thick parts of a cloud are darker.
        tone = 1.04 - 0.12 * np.clip(field - 0.8, 0.0, 1.5)
        color = (light.cloud + 0.35 * shine[..., None] * 90.0) * tone[..., None]
        return mix(strip, color, cover[..., None])

    def _layers(self, bearing: Array, light: Light, seed: int) -> list[tuple[Array, Array, Array]]:
        """Return height (in tangents), roughness and color of hills and trees, from far to near."""
        far = 0.035 + 0.025 * _ridge(bearing, [2, 3, 5, 8, 13], seed + 1)
        middle = 0.018 + 0.016 * _ridge(bearing, [3, 4, 7, 11, 17, 29], seed + 2)
        trees = 0.014 + 0.006 * _ridge(bearing, [5, 9, 14, 23], seed + 3)
        rough = np.random.default_rng(seed + 4).standard_normal(len(bearing))
        rough = cv2.GaussianBlur(rough[None, :].astype(np.float32), (0, 0), 1.5)[0].astype(np.float64)
        crowns = rough + 0.6 * _ridge(bearing, [61, 97, 143, 211], seed + 5)
        flat = light.flat
        return [
            (
                far,
                np.zeros_like(far),
                mix(np.array([120.0, 112.0, 88.0]) * flat, light.haze, self._haze(light, 3.5)),
            ),
            (
                middle,
                rough * 0.0006,
                mix(np.array([70.0, 108.0, 84.0]) * flat, light.haze, self._haze(light, 2.0)),
            ),
            (
                trees,
                crowns * 0.0028,
                mix(np.array([34.0, 66.0, 48.0]) * flat, light.haze, self._haze(light, 1.0)),
            ),
        ]

    def _haze(self, light: Light, times: float) -> float:
        """Return the haze share at a multiple of the ground's end, HORIZON_M."""
        return float(light.haze_share(times * HORIZON_M))

    def _put_ridge(self, strip: Array, height: Array, rough: Array, color: Array, focal_px: float) -> Array:
        top = (height + rough)[None, :]
        cover = np.clip((top - self._tangent) * focal_px + 0.5, 0.0, 1.0)
        # Haze is thicker at the foot of a hill.
        foot = np.clip(1.0 - self._tangent / np.maximum(top, 1e-6), 0.0, 1.0)
        tinted = color * (1.0 + 0.10 * foot[..., None])
        return mix(strip, tinted, cover[..., None])

    def draw(self, image: NDArray[np.uint8], heading_rad: float) -> None:
        """Draw the rows above the horizon for a heading in the world."""
        # The strip's bearings run to the right, the world's to the left.
        start = int(round(-heading_rad * self._columns / (2.0 * np.pi)))
        part = cv2.transpose(self._strip.take((self._seen + start) % self._columns, axis=0))
        pixels = part.view(np.uint8).reshape(*part.shape, 4)
        cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR, dst=image[: self._rows])
