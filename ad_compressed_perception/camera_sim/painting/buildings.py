# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Buildings: walls with rows of windows in perspective, and roofs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import NEAR_M, Camera
from ad_compressed_perception.camera_sim.painting.canvas import PROP, SHIFT, Canvas, fixed
from ad_compressed_perception.camera_sim.painting.facades import (
    BAYS,
    GLASS,
    LAMPLIGHT,
    STOREYS,
    STYLES,
    TRIM,
    WALL,
    facade,
)
from ad_compressed_perception.camera_sim.painting.light import Light, mix
from ad_compressed_perception.camera_sim.painting.shapes import FOREIGN, Colour, Mesh, MeshBuilder, Point

Array = NDArray[np.float64]

_STOREY_M, _BAY_M = 3.0, 2.9
_FLAT_FROM_M = 9.5
"""Lower houses have a gabled roof, of three tenths of their height."""
_EAVES_SHARE = 0.7
_TRIM_BGR = np.array([218.0, 222.0, 224.0])
_LAMP_BGR = np.array([120.0, 205.0, 250.0])
_ROOFS: tuple[Colour, ...] = ((66.0, 74.0, 128.0), (76.0, 74.0, 74.0), (58.0, 72.0, 104.0))
_PLAIN_PX = 5.0
"""Walls narrower or lower than this are painted in one colour."""


def eaves_m(height_m: float) -> float:
    """Return how high the walls of a building are."""
    return height_m if height_m >= _FLAT_FROM_M else _EAVES_SHARE * height_m


@dataclass(frozen=True)
class Building:
    """One building in camera-relative coordinates.

    Attributes:
        corners_m: (4, 2) of the footprint, clockwise, forward and left.
        height_m: of the box around it.
        colour_bgr: of the walls.
        seed: of the facades.
    """

    corners_m: Array
    height_m: float
    colour_bgr: tuple[int, int, int]
    seed: int

    def paint(self, canvas: Canvas, light: Light, sun: Array, with_ids: bool) -> None:
        """Paint the walls that look at the camera, the farther one first.

        Args:
            canvas: to paint on.
            light: of the weather.
            sun: (3,) direction to it along base_link's axes.
            with_ids: whether the truth is wanted.
        """
        following = np.roll(self.corners_m, -1, axis=0)
        edges = following - self.corners_m
        outward = np.stack([-edges[:, 1], edges[:, 0], np.zeros(4)], axis=-1)
        looks = (outward[:, :2] * self.corners_m).sum(axis=1) < 0.0
        away = np.abs(self.corners_m + following).sum(axis=1)
        for index in sorted(np.flatnonzero(looks).tolist(), key=lambda wall: -away[wall]):
            # Seen from outside, a clockwise footprint runs from right to left.
            normal = outward[index] / max(1e-9, float(np.hypot(*edges[index])))
            self._wall(canvas, light, sun, (following[index], self.corners_m[index]), normal, index, with_ids)

    def _wall(
        self,
        canvas: Canvas,
        light: Light,
        sun: Array,
        foot: tuple[Array, Array],
        outward: Array,
        index: int,
        with_ids: bool,
    ) -> None:
        camera, (left, right), top_m = canvas.camera, foot, eaves_m(self.height_m)
        span = _ahead(left, right)
        if span is None:
            return
        begin, end = span
        near, far = left + (right - left) * begin, left + (right - left) * end
        corners, depth_m = _corners(camera, near, far, top_m)
        window = canvas.window(corners)
        if window is None:
            return
        outline = fixed(corners)
        mixing = self._mixing(light, sun, outward, 0.5 * float(np.hypot(*(near + far))))
        extent = corners.max(axis=0) - corners.min(axis=0)
        style = (self.seed + 5 * (index % 2)) % STYLES
        sizes = facade(style)
        mean = np.clip(mixing[:, :4] @ sizes[-1].mean(axis=(0, 1)) + mixing[:, 4], 0.0, 255.0).tolist()
        cv2.fillConvexPoly(canvas.image, outline, mean, cv2.LINE_AA, SHIFT)
        if with_ids:
            cv2.fillConvexPoly(canvas.ids, outline, PROP, cv2.LINE_8, SHIFT)
        if extent.min() < _PLAIN_PX:
            return
        # Whole storeys and whole bays of the facade, begun somewhere.
        storeys = int(np.clip(round(top_m / _STOREY_M), 1, STOREYS))
        bays = int(np.clip(round(float(np.hypot(*(right - left))) / _BAY_M), 1, BAYS))
        # As many texels as pixels: by the nearest edge, and, for walls seen at a flat angle, by area.
        texel_px = camera.focal_px / depth_m * _STOREY_M / (sizes[0].shape[0] / STOREYS)
        texels_of_all = storeys * bays * sizes[0].shape[0] * sizes[0].shape[1] / (STOREYS * BAYS)
        rows, columns = window
        seen_px = (rows.stop - rows.start) * (columns.stop - columns.start)
        fine = max(-np.log2(1.2 * texel_px), 0.5 * np.log2(texels_of_all / (2.0 * seen_px)))
        level = int(np.clip(fine, 0, len(sizes) - 1))
        height, width = sizes[level].shape[0] // STOREYS, sizes[level].shape[1] // BAYS
        first = self.seed // 16 % (BAYS - bays + 1)
        part = sizes[level][(STOREYS - storeys) * height :, first * width : (first + bays) * width]
        painted = cv2.transform(part, mixing)
        wide, high = bays * width, storeys * height
        texels = (
            np.array([[begin * wide, high], [end * wide, high], [end * wide, 0.0], [begin * wide, 0.0]]) - 0.5
        )
        origin = np.array([columns.start, rows.start])
        matrix = cv2.getPerspectiveTransform((corners - origin).astype(np.float32), texels.astype(np.float32))
        # Pixels outside the wall stay; along its edge the smooth edge of the mean colour does.
        cv2.warpPerspective(
            painted,
            matrix,
            (columns.stop - columns.start, rows.stop - rows.start),
            dst=canvas.image[rows, columns],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_TRANSPARENT,
        )

    def _mixing(self, light: Light, sun: Array, outward: Array, distance_m: float) -> Array:
        """Return the (3, 5) colours of the facade's channels in this light."""
        gain = light.shade(outward[None, :], sun)[0]
        haze = float(light.haze_share(distance_m))
        clear = (1.0 - haze) / 255.0
        # Panes mirror the sky.
        panes = mix(light.sky_top * 0.5, light.sky_low * 0.62, 0.5) * 0.72
        mixing = np.zeros((3, 5))
        mixing[:, WALL] = np.array(self.colour_bgr) * gain * clear * 1.12
        mixing[:, TRIM] = _TRIM_BGR * gain * clear
        mixing[:, GLASS] = panes * clear * (1.0 - 0.5 * light.night)
        mixing[:, LAMPLIGHT] = _LAMP_BGR * clear * light.night
        mixing[:, 4] = light.haze * haze
        return mixing


def _ahead(left: Array, right: Array) -> tuple[float, float] | None:
    """Return which shares of a wall's foot lie beyond the near plane."""
    near = NEAR_M + 0.2
    first, second = float(left[0]) - near, float(right[0]) - near
    if first <= 0.0 and second <= 0.0:
        return None
    cut = first / (first - second) if first != second else 0.0
    return (cut if first < 0.0 else 0.0), (cut if second < 0.0 else 1.0)


def _corners(camera: Camera, left: Array, right: Array, top_m: float) -> tuple[Array, float]:
    """Return pixels of foot left, foot right, top right, top left, and the least depth."""
    forward = np.array([left[0], right[0], right[0], left[0]])
    aside = np.array([left[1], right[1], right[1], left[1]])
    up = np.array([0.0, 0.0, top_m, top_m]) - camera.z_m
    across, down, depth = camera.to_optical(forward, aside, up)
    # A high wall close by leans behind the tilted near plane with its top first.
    depth = np.maximum(depth, 0.1)
    column, row = camera.pixels(across, down, depth)
    return np.stack([column, row], axis=-1), max(0.5, float(depth.min()))


@lru_cache(maxsize=8)
def roof(seed: int, is_broad: bool) -> Mesh | None:
    """Return a gabled roof on a house 1 m long, wide and high; its ridge runs along the longer side."""
    build = MeshBuilder(middle=(0.0, 0.0, _EAVES_SHARE), role=FOREIGN)
    over, low = 0.03, _EAVES_SHARE
    drop = low - over * 2.0 * (1.0 - low)

    def put(corners: list[Point]) -> list[Point]:
        return [(y, x, z) for x, y, z in corners] if is_broad else corners

    for end in (-0.5, 0.5):
        build.face(put([(end, -0.5, low), (end, 0.5, low), (end, 0.0, 1.0)]), 1.0)
    for hand in (-1.0, 1.0):
        foot, side = hand * (0.5 + over), 0.5 + over
        slope: list[Point] = [(-side, foot, drop), (side, foot, drop), (side, 0.0, 1.0), (-side, 0.0, 1.0)]
        build.face(put(slope), _ROOFS[seed % len(_ROOFS)])
    return build.mesh()
