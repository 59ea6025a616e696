# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground's grain, shadows, headlights and haze, laid over its flat colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import Camera
from ad_compressed_perception.camera_sim.painting import noise
from ad_compressed_perception.camera_sim.painting.canvas import Canvas
from ad_compressed_perception.camera_sim.painting.figures import Viewpoint
from ad_compressed_perception.camera_sim.painting.light import HORIZON_M, Light

_FINE_M, _COARSE_M = 0.02, 0.14
"""Sizes of a texel of the two grains."""
_FINE_FAR_M, _COARSE_FAR_M = 14.0, 70.0
"""Beyond these they are not seen."""
# By how much grain lightens and darkens grass, road, kerb, marking and pavement: fine and coarse.
_FINE = np.array([1.0, 0.50, 0.35, 0.40, 0.40], np.float32)
_COARSE = np.array([1.1, 0.26, 0.20, 0.30, 0.28], np.float32)

# How the patches' second channel, from bluish to yellowish, shows in blue, green and red.
_HUE = (-0.6, 0.1, 0.5)

Image = NDArray[np.float32]


def _repeated(texture: NDArray[np.uint8], places: tuple[Image, Image]) -> tuple[NDArray[np.uint8], int]:
    """Return a texture side by side with itself, and where in it to begin for all places to be inside."""
    period = texture.shape[0]
    reach = int(np.hypot(np.abs(places[0]), np.abs(places[1])).max()) + 2
    middle = -(-reach // period) * period
    times = -(-(middle + period + reach) // period)
    return np.tile(texture, (times, times) + (1,) * (texture.ndim - 2)), middle


def _read(
    texture: NDArray[np.uint8],
    period: int,
    middle: int,
    texel_m: float,
    places: tuple[Image, Image],
    view: Viewpoint,
) -> NDArray[np.uint8]:
    """Return a texture where places are on the ground of the world.

    Args:
        texture: as _repeated gives it.
        period: texels after which it repeats.
        middle: where in it to begin.
        texel_m: size of a texel.
        places: forward and left of the camera, in texels.
        view: of the camera.
    """
    cos, sin = float(np.cos(view.heading_rad)), float(np.sin(view.heading_rad))
    forward, left = places
    east = cv2.addWeighted(forward, cos, left, -sin, middle + view.x_m / texel_m % period)
    north = cv2.addWeighted(forward, sin, left, cos, middle + view.y_m / texel_m % period)
    return np.asarray(cv2.remap(texture, east, north, cv2.INTER_LINEAR), np.uint8)


class Grain:
    """Textures of the ground that stay where they are while the camera moves over them."""

    def __init__(self, camera: Camera) -> None:
        """Find out how far away each row sees the ground."""
        self._camera = camera
        self.first_row = int(np.floor(camera.horizon_px)) + 1
        rows = np.arange(self.first_row, camera.height_px) - camera.centre_px[1]
        below = np.arctan2(rows, camera.focal_px) + camera.pitch_rad
        self._away_m = camera.z_m / np.tan(np.maximum(below, 1e-4))
        # Grain is seen as long as a pixel does not cover many of its texels.
        fine = np.clip(1.4 * (1.0 - self._away_m / _FINE_FAR_M), 0.0, 1.0)
        coarse = np.clip(1.4 * (1.0 - self._away_m / _COARSE_FAR_M), 0.0, 1.0)
        self._fine = (fine / 128.0).astype(np.float32)[:, None]
        self._coarse = (coarse / 128.0).astype(np.float32)[:, None]
        self._fine_from = int(np.argmax(fine > 0.0))
        self._fine_places = self._places(self._fine_from, 1, _FINE_FAR_M, _FINE_M)
        self._coarse_places = self._places(0, 2, _COARSE_FAR_M, _COARSE_M)
        # Repeated so far that no place lies outside: reading over an edge is slow.
        self._fine_texture, self._fine_middle = _repeated(noise.grain(), self._fine_places)
        self._coarse_texture, self._coarse_middle = _repeated(noise.patches(), self._coarse_places)
        self._headlights = self._cone()
        # Haze of the last light: a world keeps its weather.
        self._light: Light | None = None
        self._veil = (np.zeros((0, 0), np.float32), np.zeros((0, 0), np.uint8))

    def _cone(self) -> NDArray[np.float32]:
        """Return what the ego's own headlights add on every pixel of the ground."""
        columns = (np.arange(self._camera.width_px) - self._camera.centre_px[0]) / self._camera.focal_px
        away = self._away_m[:, None]
        beam = np.exp(-((columns[None, :] - 0.03) ** 2) / 0.12) * np.exp(-((away - 11.0) ** 2) / 320.0)
        return (1.3 * beam + 0.25 * np.exp(-away / 10.0)).astype(np.float32)

    def lay(
        self, canvas: Canvas, view: Viewpoint, light: Light, shade: NDArray[np.uint8], blur_m: float
    ) -> None:
        """Change the colours of the ground.

        Args:
            canvas: with the flat colours and the materials.
            view: of the camera.
            light: of the weather.
            shade: (H, W) how much of the light is taken away, 255 all.
            blur_m: distance driven while the shutter is open.
        """
        first = self.first_row
        picture, ground = canvas.image[first:], canvas.ground[first:]
        if light is not self._light:
            self._light, self._veil = light, self._haze(light)
        clear, added = self._veil
        lit = shade[first:].astype(np.float32)
        lit *= np.float32(-1.0 / 255.0)
        lit += 1.0
        if light.night > 0.0:
            lit += np.float32(light.night) * self._headlights
        # 128 leaves a colour as it is.
        lit *= 128.0 * clear

        begin = self._fine_from
        fine = _read(
            self._fine_texture, noise.grain().shape[0], self._fine_middle, _FINE_M, self._fine_places, view
        )
        bright = np.zeros_like(lit)
        bright[begin:] = self._blurred(fine, begin, blur_m)
        bright[begin:] -= np.float32(128.0)
        bright[begin:] *= self._fine[begin:]
        bright[begin:] *= self._table(ground[begin:], _FINE, light)
        soft = _read(
            self._coarse_texture,
            noise.patches().shape[0],
            self._coarse_middle,
            _COARSE_M,
            self._coarse_places,
            view,
        )
        # Every second pixel is enough for what is many pixels large.
        tufts, hue = cv2.split(
            cv2.resize(soft, (ground.shape[1], ground.shape[0]), interpolation=cv2.INTER_LINEAR)
        )
        amplitude = self._table(ground, _COARSE, light)
        amplitude *= self._coarse
        coarse = tufts.astype(np.float32)
        coarse -= np.float32(128.0)
        coarse *= amplitude
        bright += coarse
        bright += 1.0
        bright *= lit
        tint = hue.astype(np.float32)
        tint -= np.float32(128.0)
        amplitude *= lit
        tint *= amplitude
        factor = cv2.merge(
            [cv2.scaleAdd(tint, weight, bright).clip(0.0, 255.0).astype(np.uint8) for weight in _HUE]
        )
        cv2.multiply(picture, factor, dst=picture, scale=1.0 / 128.0)
        cv2.add(picture, added, dst=picture)

    def _table(
        self, ground: NDArray[np.uint8], values: NDArray[np.float32], light: Light
    ) -> NDArray[np.float32]:
        """Return a value by material; a film of water hides half of the grain."""
        table = np.zeros((1, 256), np.float32)
        table[0, : len(values)] = values
        table[0, 1 : len(values)] *= 1.0 - 0.5 * light.wet
        return np.asarray(cv2.LUT(ground, table), np.float32)

    def _places(self, row: int, coarseness: int, far_m: float, texel_m: float) -> tuple[Image, Image]:
        """Return where the pixels from a row on see the ground: forward and left in texels, float32.

        Args:
            row: the first one below the horizon.
            coarseness: every so many pixels only.
            far_m: farthest place in either direction.
            texel_m: size of a texel.
        """
        camera = self._camera
        size = (camera.width_px // coarseness, (camera.height_px - self.first_row - row) // coarseness)
        columns = (np.arange(size[0]) + 0.5) * coarseness - 0.5 - camera.centre_px[0]
        rows = (np.arange(size[1]) + 0.5) * coarseness - 0.5 + self.first_row + row - camera.centre_px[1]
        cos, sin = np.cos(camera.pitch_rad), np.sin(camera.pitch_rad)
        fall = np.maximum(cos * rows + sin * camera.focal_px, 1e-3)
        forward = np.minimum((cos * camera.focal_px - sin * rows) / fall * camera.z_m, far_m)
        left = np.clip(-columns[None, :] / fall[:, None] * camera.z_m, -far_m, far_m)
        ahead = np.repeat(forward[:, None], size[0], axis=1)
        return (ahead / texel_m).astype(np.float32), (left / texel_m).astype(np.float32)

    def _blurred(self, fine: NDArray[np.uint8], begin: int, blur_m: float) -> NDArray[np.uint8]:
        """Smear the fine grain along the way driven, in three bands."""
        moved = self._camera.focal_px * self._camera.z_m / self._away_m[begin:] ** 2 * blur_m
        edges = np.linspace(0, len(fine), 4).astype(int).tolist()
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            size = int(moved[(low + high) // 2]) | 1
            if size >= 3:
                fine[low:high] = cv2.blur(fine[low:high], (1, size))
        return fine

    def _haze(self, light: Light) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return what haze leaves of each row's light, and what it adds to the picture."""
        share = light.haze_share(np.minimum(self._away_m, HORIZON_M))
        added = np.clip(light.haze * share[:, None], 0.0, 255.0).astype(np.uint8)
        whole = np.repeat(added[:, None], self._camera.width_px, axis=1)
        return (1.0 - share).astype(np.float32)[:, None], whole
