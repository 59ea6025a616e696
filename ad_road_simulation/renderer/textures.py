# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground textures, shadows, headlights and haze, applied to the ground's flat colors."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer import noise
from ad_road_simulation.renderer.framebuffer import Framebuffer
from ad_road_simulation.renderer.lighting import HORIZON_M, Light
from ad_road_simulation.renderer.sprites import Viewpoint
from ad_road_simulation.world.camera import Camera

_FINE_M, _COARSE_M = 0.02, 0.14
"""Texel sizes of the two textures."""
_FINE_FAR_M, _COARSE_FAR_M = 14.0, 70.0
"""Distances beyond which the textures are not visible."""
# Amplitudes of the fine and coarse texture on grass, road, curb, marking and sidewalk.
_FINE = np.array([1.0, 0.50, 0.35, 0.40, 0.40], np.float32)
_COARSE = np.array([1.1, 0.26, 0.20, 0.30, 0.28], np.float32)

# Weights of the coarse texture's second channel, from bluish to yellowish, on blue, green and red.
_HUE = (-0.6, 0.1, 0.5)

Image = NDArray[np.float32]


def _around_zero(fine_noise: NDArray[np.uint8]) -> Image:
    """Return a texture of bytes minus its mean of 128."""
    values = fine_noise.astype(np.float32)
    values -= np.float32(128.0)
    return values


class _TiledTexture:
    """A tiled texture on the ground of the world, as seen by one camera.

    It is sampled at every second pixel and interpolated: nearby its texels are larger than that, and farther
    away it fades.
    """

    def __init__(
        self, camera: Camera, first_row: int, texture: NDArray[np.uint8], texel_m: float, far_m: float
    ) -> None:
        """Precompute the ground coordinates of the pixels.

        Args:
            camera: of the image.
            first_row: first image row to sample.
            texture: to tile.
            texel_m: size of a texel.
            far_m: ground coordinates are clipped to this distance in either direction.
        """
        self._size = (camera.width_px, camera.height_px - first_row)
        columns = np.arange(self._size[0] // 2) * 2.0 + 0.5 - camera.center_px[0]
        rows = np.arange(self._size[1] // 2) * 2.0 + 0.5 + first_row - camera.center_px[1]
        cos, sin = np.cos(camera.pitch_rad), np.sin(camera.pitch_rad)
        fall = np.maximum(cos * rows + sin * camera.focal_px, 1e-3)[:, None]
        forward = np.minimum((cos * camera.focal_px - sin * rows[:, None]) / fall * camera.z_m, far_m)
        left = np.clip(-columns / fall * camera.z_m, -far_m, far_m)
        self._forward = (np.broadcast_to(forward, left.shape) / texel_m).astype(np.float32)
        self._left = (left / texel_m).astype(np.float32)
        self._texel_m, self._period = texel_m, texture.shape[0]
        # Tiled so that all samples are inside, as wrapping at an edge is slow.
        reach = int(np.hypot(self._forward, self._left).max()) + 2
        self._middle = -(-reach // self._period) * self._period
        times = -(-(self._middle + self._period + reach) // self._period)
        # Single channels are sampled faster than two at once.
        self._channels = [np.tile(channel, (times, times)) for channel in cv2.split(texture)]

    def read(self, view: Viewpoint) -> list[NDArray[np.uint8]]:
        """Return the texture's channels in the rows of the image."""
        cos, sin = float(np.cos(view.heading_rad)), float(np.sin(view.heading_rad))
        x, y = view.x_m / self._texel_m % self._period, view.y_m / self._texel_m % self._period
        east = cv2.addWeighted(self._forward, cos, self._left, -sin, self._middle + x)
        north = cv2.addWeighted(self._forward, sin, self._left, cos, self._middle + y)
        seen = [cv2.remap(channel, east, north, cv2.INTER_LINEAR) for channel in self._channels]
        return [
            np.asarray(cv2.resize(channel, self._size, interpolation=cv2.INTER_LINEAR), np.uint8)
            for channel in seen
        ]


class GroundTexture:
    """Textures fixed to the ground of the world, with lighting and haze."""

    def __init__(self, camera: Camera) -> None:
        """Precompute the ground distance of each row, and the textures."""
        self._camera = camera
        self.first_row = int(np.floor(camera.horizon_px)) + 1
        rows = np.arange(self.first_row, camera.height_px) - camera.center_px[1]
        below = np.arctan2(rows, camera.focal_px) + camera.pitch_rad
        self._away_m = camera.z_m / np.tan(np.maximum(below, 1e-4))
        # A texture is visible while a pixel does not cover many of its texels.
        fine = np.clip(1.4 * (1.0 - self._away_m / _FINE_FAR_M), 0.0, 1.0)
        coarse = np.clip(1.4 * (1.0 - self._away_m / _COARSE_FAR_M), 0.0, 1.0)
        self._fine_from = int(np.argmax(fine > 0.0))
        self._fine = self._in_all_columns(fine[self._fine_from :] / 128.0)
        self._coarse = self._in_all_columns(coarse / 128.0)
        self._fine_texture = _TiledTexture(
            camera, self.first_row + self._fine_from, noise.fine_noise(), _FINE_M, _FINE_FAR_M
        )
        self._coarse_texture = _TiledTexture(
            camera, self.first_row, noise.coarse_noise(), _COARSE_M, _COARSE_FAR_M
        )
        self._headlights = self._cone()
        # Cached for the last light, as the weather is constant in a world.
        self._light: Light | None = None
        self._beam, self._clear, self._added = self._headlights, self._coarse, np.zeros((0, 0), np.uint8)

    def _in_all_columns(self, rows: NDArray[np.floating]) -> Image:
        """Expand one value per row to an image: products of whole images are faster than broadcasting."""
        return np.repeat(rows.astype(np.float32)[:, None], self._camera.width_px, axis=1)

    def _cone(self) -> NDArray[np.float32]:
        """Return the light that the ego's headlights add at every ground pixel."""
        columns = (np.arange(self._camera.width_px) - self._camera.center_px[0]) / self._camera.focal_px
        away = self._away_m[:, None]
        beam = np.exp(-((columns[None, :] - 0.03) ** 2) / 0.12) * np.exp(-((away - 11.0) ** 2) / 320.0)
        return (1.3 * beam + 0.25 * np.exp(-away / 10.0)).astype(np.float32)

    def apply(
        self,
        framebuffer: Framebuffer,
        view: Viewpoint,
        light: Light,
        shadows: NDArray[np.uint8],
        blur_m: float,
    ) -> None:
        """Apply textures, shadows and haze to the colors of the ground.

        Args:
            framebuffer: with the flat colors and the materials.
            view: of the camera.
            light: of the weather.
            shadows: (H, W) attenuation of the light, 255 for all of it.
            blur_m: distance driven while the shutter is open.
        """
        first = self.first_row
        image, ground = framebuffer.image[first:], framebuffer.ground[first:]
        if light is not self._light:
            self._light, self._beam = light, np.float32(light.night) * self._headlights
            self._clear, self._added = self._haze(light)
        lit = shadows[first:].astype(np.float32)
        lit *= np.float32(-1.0 / 255.0)
        lit += 1.0
        if light.night > 0.0:
            lit += self._beam
        # 128 leaves a color as it is.
        lit *= self._clear

        (tufts, hue), (near,) = self._coarse_texture.read(view), self._fine_texture.read(view)
        amplitude = self._table(ground, _COARSE, light)
        amplitude *= self._coarse
        bright = _around_zero(tufts)
        bright *= amplitude
        begin = self._fine_from
        fine = _around_zero(self._blurred(near, blur_m))
        fine *= self._fine
        fine *= self._table(ground[begin:], _FINE, light)
        bright[begin:] += fine
        bright += 1.0
        bright *= lit
        tint = _around_zero(hue)
        amplitude *= lit
        tint *= amplitude
        channels = []
        for weight in _HUE:
            cv2.scaleAdd(tint, weight, bright, dst=lit)
            # The fastest way to clip to 0..255.
            cv2.threshold(lit, 255.0, 0.0, cv2.THRESH_TRUNC, dst=lit)
            cv2.threshold(lit, 0.0, 0.0, cv2.THRESH_TOZERO, dst=lit)
            channels.append(lit.astype(np.uint8))
        cv2.multiply(image, cv2.merge(channels), dst=image, scale=1.0 / 128.0)
        cv2.add(image, self._added, dst=image)

    def _table(
        self, ground: NDArray[np.uint8], values: NDArray[np.float32], light: Light
    ) -> NDArray[np.float32]:
        """Return a value by material; wetness halves the texture's amplitude except on grass."""
        table = np.zeros((1, 256), np.float32)
        table[0, : len(values)] = values
        table[0, 1 : len(values)] *= 1.0 - 0.5 * light.wet
        return np.asarray(cv2.LUT(ground, table), np.float32)

    def _blurred(self, fine: NDArray[np.uint8], blur_m: float) -> NDArray[np.uint8]:
        """Apply motion blur to the fine texture along the driving direction, in three bands."""
        moved = self._camera.focal_px * self._camera.z_m / self._away_m[self._fine_from :] ** 2 * blur_m
        edges = np.linspace(0, len(fine), 4).astype(int).tolist()
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            size = int(moved[(low + high) // 2]) | 1
            if size >= 3:
                cv2.blur(fine[low:high], (1, size), dst=fine[low:high])
        return fine

    def _haze(self, light: Light) -> tuple[Image, NDArray[np.uint8]]:
        """Return the light each row keeps in the haze, 128 for all of it, and the color that haze adds."""
        share = light.haze_share(np.minimum(self._away_m, HORIZON_M))
        added = np.clip(light.haze * share[:, None], 0.0, 255.0).astype(np.uint8)
        whole = np.repeat(added[:, None], self._camera.width_px, axis=1)
        return self._in_all_columns(1.0 - share) * np.float32(128.0), whole
