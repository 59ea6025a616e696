# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trees and bushes: sprites of many leaves, generated once and drawn as billboards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, hypot, log2

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer.framebuffer import Framebuffer
from ad_road_simulation.renderer.lighting import Light

Array = NDArray[np.float64]

_SIZE_PX = 256
_VARIANTS = 5
_TRUNK_BGR = np.array([58.0, 74.0, 92.0])
# Channels of a sprite, premultiplied by its alpha: leaves in the shade, leaves in the sun, wood, alpha.
_SHADED, _SUNLIT, _WOOD, _COVER = 0, 1, 2, 3


def _blobs(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (N, 3) centers and radii of the clumps of a crown, in shares of the sprite's size."""
    if kind == "bush":
        middles = np.stack([rng.uniform(0.16, 0.84, 40), rng.uniform(0.35, 0.85, 40)], axis=-1)
        radii = rng.uniform(0.08, 0.16, 40)
        inside = ((middles[:, 0] - 0.5) / 0.40) ** 2 + ((middles[:, 1] - 0.75) / 0.45) ** 2 < 1.0
    elif kind == "fir":
        up = rng.uniform(0.0, 1.0, 90) ** 0.7
        middles = np.stack([0.5 + rng.uniform(-1, 1, 90) * 0.36 * up, 0.07 + 0.8 * up], axis=-1)
        radii = 0.025 + 0.06 * up
        inside = np.ones(90, np.bool_)
    elif kind == "poplar":
        middles = np.stack([rng.normal(0.5, 0.11, 80), rng.uniform(0.08, 0.82, 80)], axis=-1)
        radii = rng.uniform(0.05, 0.10, 80)
        inside = ((middles[:, 0] - 0.5) / 0.25) ** 2 + ((middles[:, 1] - 0.45) / 0.42) ** 2 < 1.0
    else:
        middles = np.stack([rng.uniform(0.1, 0.9, 110), rng.uniform(0.13, 0.68, 110)], axis=-1)
        radii = rng.uniform(0.06, 0.12, 110)
        inside = ((middles[:, 0] - 0.5) / 0.38) ** 2 + ((middles[:, 1] - 0.40) / 0.27) ** 2 < 1.0
    return np.concatenate([middles, radii[:, None]], axis=1)[inside]


def _branches(sprite: NDArray[np.uint8], kind: str, rng: np.random.Generator) -> None:
    """Draw the trunk and some boughs."""
    size = _SIZE_PX
    bark = (0.0, 0.0, 200.0, 255.0)
    if kind == "bush":
        return
    top = 0.35 if kind != "fir" else 0.2
    foot, middle = 0.045 * size, 0.022 * size
    trunk = np.array(
        [
            (size / 2 - foot, size),
            (size / 2 - middle, top * size),
            (size / 2 + middle, top * size),
            (size / 2 + foot, size),
        ]
    )
    cv2.fillConvexPoly(sprite, trunk.astype(np.int32), bark, cv2.LINE_AA)
    for side in (-1.0, 1.0) if kind == "round" else ():
        for start in (0.62, 0.52):
            end = (int(size * (0.5 + side * rng.uniform(0.15, 0.25))), int(size * (start - 0.22)))
            cv2.line(sprite, (size // 2, int(size * start)), end, bark, max(2, size // 50), cv2.LINE_AA)
    # The trunk's side away from the light.
    shade = trunk.copy()
    shade[:2, 0] = size / 2
    cv2.fillConvexPoly(sprite, shade.astype(np.int32), (0.0, 0.0, 130.0, 255.0), cv2.LINE_AA)


@lru_cache(maxsize=2 * 4 * _VARIANTS)
def _sprites(kind: str, variant: int) -> list[NDArray[np.uint8]]:
    """Return the mipmap of a sprite, lit from above left."""
    rng = np.random.default_rng([{"round": 1, "poplar": 2, "fir": 3, "bush": 4}[kind], variant])
    size = _SIZE_PX
    sprite = np.zeros((size, size, 4), np.uint8)
    _branches(sprite, kind, rng)
    blobs = _blobs(kind, rng)
    # Back to front and bottom to top: dark clumps first, then lighter leaves.
    blobs = blobs[np.argsort(-blobs[:, 1] + 0.1 * rng.standard_normal(len(blobs)))]
    for x, y, radius in blobs:
        middle, reach = (int(x * size), int(y * size)), int(radius * size)
        cv2.circle(sprite, middle, reach, (112.0, 4.0, 0.0, 255.0), -1, cv2.LINE_AA)
    count = 46
    for x, y, radius in blobs:
        angle = rng.uniform(0.0, 2.0 * np.pi, count)
        away = radius * np.sqrt(rng.uniform(0.0, 1.25, count))
        across, down = np.cos(angle) * away, np.sin(angle) * away
        # A leaf is brighter on the side of its clump that faces the light.
        lit = np.clip(0.42 - 0.75 * (0.45 * across + 0.9 * down) / radius, 0.0, 1.0)
        high = float(np.clip(1.25 - y, 0.4, 1.0))
        shaded = (90.0 + 80.0 * lit * high + rng.uniform(-22.0, 22.0, count)).tolist()
        sunny = (235.0 * lit * high).tolist()
        for index in range(count):
            at = (int((x + across[index]) * size), int((y + down[index]) * size))
            cv2.circle(sprite, at, int(rng.integers(2, 5)), (shaded[index], sunny[index], 0.0, 255.0), -1)
    sizes: list[NDArray[np.uint8]] = [np.asarray(cv2.blur(sprite, (3, 3)), np.uint8)]
    while sizes[-1].shape[0] > 8:
        half = sizes[-1].shape[0] // 2
        sizes.append(np.asarray(cv2.resize(sizes[-1], (half, half), interpolation=cv2.INTER_AREA), np.uint8))
    return sizes


@dataclass(frozen=True)
class Plant:
    """One plant in camera-relative coordinates.

    Attributes:
        kind: "tree" or "bush".
        forward_m, left_m: of its foot.
        width_m, height_m: its size.
        color_bgr: of its leaves.
        seed: of its shape.
    """

    kind: str
    forward_m: float
    left_m: float
    width_m: float
    height_m: float
    color_bgr: tuple[int, int, int]
    seed: int

    def draw(self, framebuffer: Framebuffer, light: Light, sun: Array, with_ids: bool) -> None:
        """Draw it as a billboard that faces the camera.

        Args:
            framebuffer: to draw into.
            light: of the weather.
            sun: (3,) direction to it along base_link's axes.
            with_ids: whether to write object ids for the ground truth.
        """
        camera = framebuffer.camera
        if self.forward_m < 1.0:
            return
        middle, foot, depth = camera.pixel_of(self.forward_m, self.left_m, -camera.z_m)
        _, top, _ = camera.pixel_of(self.forward_m, self.left_m, self.height_m - camera.z_m)
        half = 0.5 * self.width_m * camera.focal_px / depth
        left, right = middle - half, middle + half
        window = framebuffer.window_between(left, top, right, foot)
        if window is None or foot - top < 1.0:
            return
        rows, columns = window
        sizes = _sprites(self._shape(), self.seed % _VARIANTS)
        level = min(max(int(log2(_SIZE_PX / (foot - top))), 0), len(sizes) - 1)
        source = sizes[level]
        scale_x, scale_y = source.shape[1] / (right - left), source.shape[0] / (foot - top)
        start = columns.start + 0.5 - left
        across = [scale_x, 0.0, start * scale_x - 0.5]
        # A sprite is lit from the left; it is mirrored where the sun is on the right, or at random.
        if (sun[1] < 0.0) if abs(sun[1]) > 0.3 else self.seed // 7 % 2:
            across = [-scale_x, 0.0, source.shape[1] - start * scale_x - 0.5]
        patch = cv2.warpAffine(
            source,
            np.array([across, [0.0, scale_y, (rows.start + 0.5 - top) * scale_y - 0.5]]),
            (columns.stop - columns.start, rows.stop - rows.start),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        # A transform of four channels to four is fastest; the fourth output is not used.
        colored = cv2.cvtColor(cv2.transform(patch, self._mixing(light)), cv2.COLOR_BGRA2BGR)
        cover = cv2.extractChannel(patch, _COVER)
        rest = cv2.cvtColor(cv2.bitwise_not(cover), cv2.COLOR_GRAY2BGR)
        image = framebuffer.image[rows, columns]
        cv2.multiply(image, rest, dst=rest, scale=1.0 / 255.0)
        cv2.add(rest, colored, dst=image)
        if with_ids:
            is_solid = cv2.threshold(cover, 127, 255, cv2.THRESH_BINARY)[1]
            cv2.copyTo(framebuffer.unlabeled_ids[rows, columns], is_solid, dst=framebuffer.ids[rows, columns])

    def _shape(self) -> str:
        """Return the sprite's shape: slender trees are poplars or firs."""
        if self.kind == "bush":
            return "bush"
        if self.height_m > 2.4 * self.width_m:
            return "fir" if self.seed % 2 else "poplar"
        return "fir" if self.seed % 5 == 2 else "round"

    def _mixing(self, light: Light) -> Array:
        """Return the (4, 4) matrix from the sprite's channels to BGR and an unused channel, haze included."""
        clear = exp(-3.0 * hypot(self.forward_m, self.left_m) / light.visibility_m)
        mixing = _mixing(self.color_bgr, light) * clear
        mixing[:3, _COVER] = light.haze * ((1.0 - clear) / 255.0)
        return mixing


@lru_cache(maxsize=512)
def _mixing(color_bgr: tuple[int, int, int], light: Light) -> Array:
    """Return the (4, 4) matrix from the sprite's channels to colors in a light, without haze."""
    leaves, mixing = np.array(color_bgr, np.float64), np.zeros((4, 4))
    # Leaves transmit light, so that the sunny side is yellowish.
    mixing[:3, _SHADED] = leaves * light.ambient * (1.25 / 255.0)
    mixing[:3, _SUNLIT] = (leaves * np.array([0.9, 1.15, 1.2]) + 12.0) * light.sun * (1.5 / 255.0)
    mixing[:3, _WOOD] = _TRUNK_BGR * (light.ambient + 0.5 * light.sun) / 255.0
    return mixing
