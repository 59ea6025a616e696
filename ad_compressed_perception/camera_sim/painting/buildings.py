# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Buildings: walls with rows of windows in perspective, doors, ledges and roofs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import NEAR_M, Camera
from ad_compressed_perception.camera_sim.painting.canvas import PROP, SHIFT, Canvas, fixed
from ad_compressed_perception.camera_sim.painting.light import Light, mix
from ad_compressed_perception.camera_sim.painting.shapes import FOREIGN, Mesh, MeshBuilder

Array = NDArray[np.float64]

_TEXELS_PER_M = 20
_STOREY_M = 3.1
# Channels of a facade: the wall's own colour, light trim, glass, and windows with a light behind them.
_WALL, _TRIM, _GLASS, _LIT = 0, 1, 2, 3
_TRIM_BGR = np.array([218.0, 222.0, 224.0])
_LAMP_BGR = np.array([120.0, 205.0, 250.0])
_ROOFS = ((66.0, 74.0, 128.0), (72.0, 70.0, 70.0), (58.0, 72.0, 104.0))


def eaves_m(height_m: float, length_m: float, width_m: float) -> float:
    """Return how high the walls are: low houses have a gabled roof above them, high ones are flat."""
    return height_m if height_m > 9.5 else height_m - min(0.3 * height_m, 0.4 * min(length_m, width_m))


@lru_cache(maxsize=96)
def _facade(width_dm: int, height_dm: int, seed: int) -> list[NDArray[np.uint8]]:
    """Return a facade in sizes halved from step to step; rows run down from the eaves."""
    draw = np.random.default_rng([7, seed])
    width_m, height_m = width_dm / 10.0, height_dm / 10.0
    texels = _TEXELS_PER_M
    width, height = max(8, int(width_m * texels)), max(8, int(height_m * texels))
    face = np.zeros((height, width, 4), np.uint8)
    stain = cv2.resize(
        draw.normal(0, 1, (max(2, height // 24), max(2, width // 24))).astype(np.float32), (width, height)
    )
    grain = draw.normal(0.0, 5.0, (height, width)).astype(np.float32)
    face[..., _WALL] = np.clip(222.0 + 9.0 * stain + grain, 0, 255).astype(np.uint8)
    style = int(draw.integers(0, 4))
    if style == 1:
        _bricks(face, draw)
    storeys = max(1, int(round(height_m / _STOREY_M)))
    storey = height / storeys
    bays = max(1, int(round(width_m / float(draw.uniform(2.3, 3.4)))))
    bay = width / bays
    glass_width, glass_height = (
        bay * float(draw.uniform(0.40, 0.62)),
        storey * float(draw.uniform(0.42, 0.56)),
    )
    if style == 3:
        glass_width = bay * 0.9
    shop = storeys > 2 and bool(draw.integers(0, 2))
    door = int(draw.integers(0, bays))
    for floor in range(storeys):
        bottom = height - floor * storey
        if floor > 0:
            ledge = int(bottom)
            face[max(0, ledge - 2) : ledge + 2] = (150, 70, 0, 0) if style != 2 else (190, 0, 0, 0)
        for index in range(bays):
            middle = (index + 0.5) * bay
            lit = bool(draw.uniform() < 0.45)
            if floor == 0 and index == door:
                _opening(face, middle, bottom, 1.15 * texels, 2.2 * texels, (0, 60, 60, 0), lit)
            elif floor == 0 and shop:
                _opening(
                    face, middle, bottom - 0.35 * texels, bay * 0.86, storey * 0.72, (0, 0, 235, 0), True
                )
            else:
                sill = bottom - 0.9 * texels if storey > 2.4 * texels else bottom - 0.25 * storey
                _opening(face, middle, sill, glass_width, glass_height, (0, 0, 230, 0), lit)
    face[: max(2, int(0.28 * texels))] = (120, 110, 0, 0)
    face[-max(2, int(0.5 * texels)) :, :, _WALL] = (
        face[-max(2, int(0.5 * texels)) :, :, _WALL] * 0.7
    ).astype(np.uint8)
    sizes = [face]
    while min(sizes[-1].shape[:2]) > 12:
        sizes.append(cv2.resize(sizes[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return sizes


def _bricks(face: NDArray[np.uint8], draw: np.random.Generator) -> None:
    """Vary the wall course by course."""
    height, width = face.shape[:2]
    stones = draw.normal(0.0, 14.0, (height // 3 + 1, width // 8 + 1)).astype(np.float32)
    pattern = cv2.resize(stones, (width, height), interpolation=cv2.INTER_NEAREST)
    face[..., _WALL] = np.clip(face[..., _WALL].astype(np.float32) - 10.0 + pattern, 0, 255).astype(np.uint8)


def _opening(
    face: NDArray[np.uint8],
    middle: float,
    bottom: float,
    width: float,
    height: float,
    fill: tuple[int, int, int, int],
    is_lit: bool,
) -> None:
    """Draw a window or door: frame, pane, sash bar, and the shadow of the lintel."""
    left, right, top, low = (
        int(middle - width / 2),
        int(middle + width / 2),
        int(bottom - height),
        int(bottom),
    )
    cv2.rectangle(face, (left - 2, top - 2), (right + 2, low + 2), (0.0, 225.0, 0.0, 0.0), -1)
    pane = (fill[0], fill[1], fill[2], 220 if is_lit else 0)
    cv2.rectangle(face, (left, top), (right, low), tuple(float(value) for value in pane), -1)
    cv2.rectangle(
        face, (left, top), (right, top + 2), (0.0, 0.0, float(fill[2] // 3), float(pane[3] // 2)), -1
    )
    cv2.line(face, (int(middle), top), (int(middle), low), (0.0, 200.0, 0.0, 0.0), 1)
    cv2.rectangle(face, (left - 3, low + 2), (right + 3, low + 4), (70.0, 110.0, 0.0, 0.0), -1)


@dataclass(frozen=True)
class Building:
    """One building in camera-relative coordinates.

    Attributes:
        corners_m: (4, 2) of the footprint, clockwise, forward and left.
        length_m, width_m, height_m: of the box around it.
        colour_bgr: of the walls.
        seed: of the facades.
    """

    corners_m: Array
    length_m: float
    width_m: float
    height_m: float
    colour_bgr: tuple[int, int, int]
    seed: int

    def paint(self, canvas: Canvas, light: Light, sun: Array, with_ids: bool) -> None:
        """Paint the walls that look at the camera, the farther one first."""
        top = eaves_m(self.height_m, self.length_m, self.width_m)
        walls = []
        for index in range(4):
            first, second = self.corners_m[index], self.corners_m[(index + 1) % 4]
            edge = second - first
            outward = np.array([-edge[1], edge[0], 0.0]) / max(1e-9, float(np.hypot(*edge)))
            if float(outward[:2] @ first) < 0.0:
                walls.append((float(np.hypot(*(first + second))), index, first, second, outward))
        for _, index, first, second, outward in sorted(walls, key=lambda wall: -wall[0]):
            # Seen from outside, a clockwise footprint runs from right to left.
            self._wall(canvas, light, sun, second, first, outward, index, top, with_ids)

    def _wall(
        self,
        canvas: Canvas,
        light: Light,
        sun: Array,
        left: Array,
        right: Array,
        outward: Array,
        index: int,
        top_m: float,
        with_ids: bool,
    ) -> None:
        camera = canvas.camera
        span = _ahead(camera, left, right)
        if span is None:
            return
        begin, end = span
        near, far = left + (right - left) * begin, left + (right - left) * end
        corners, depth = _corners(camera, near, far, top_m)
        window = canvas.window(corners)
        if window is None:
            return
        rows, columns = window
        width_m = float(np.hypot(*(right - left)))
        sizes = _facade(int(round(width_m * 10)), int(round(top_m * 10)), self.seed * 2 + index % 2)
        nearest_px_per_m = camera.focal_px / max(0.5, float(depth.min()))
        level = int(np.clip(np.floor(np.log2(_TEXELS_PER_M * 1.2 / nearest_px_per_m)), 0, len(sizes) - 1))
        source = sizes[level]
        height, width = source.shape[:2]
        texels = np.array(
            [[begin * width, height], [end * width, height], [end * width, 0], [begin * width, 0]]
        )
        origin = np.array([columns.start, rows.start])
        matrix = cv2.getPerspectiveTransform(
            (corners - origin).astype(np.float32), (texels - 0.5).astype(np.float32)
        )
        patch = cv2.warpPerspective(
            source,
            matrix,
            (columns.stop - columns.start, rows.stop - rows.start),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        mixing = self._mixing(light, sun, outward, float(np.hypot(*(near + far))) / 2.0)
        painted = cv2.transform(patch, mixing)
        outline = fixed(corners)
        mean = np.clip(cv2.transform(np.array([[source.mean(axis=(0, 1))]]), mixing)[0, 0], 0, 255).tolist()
        cv2.fillConvexPoly(canvas.image, outline, mean, cv2.LINE_AA, SHIFT)
        # The smooth edge keeps the wall's mean colour; inside it the facade is copied.
        inside = np.zeros(painted.shape[:2], np.uint8)
        middle = corners.mean(axis=0)
        away = corners - middle
        shrunk = middle + away * (1.0 - 0.8 / np.maximum(np.abs(away), 1.6)) - origin
        cv2.fillConvexPoly(inside, fixed(shrunk), (255,), cv2.LINE_8, SHIFT)
        cv2.copyTo(painted, inside, canvas.image[rows, columns])
        if with_ids:
            cv2.fillConvexPoly(canvas.ids, outline, PROP, cv2.LINE_8, SHIFT)

    def _mixing(self, light: Light, sun: Array, outward: Array, distance_m: float) -> Array:
        """Return the (3, 5) colours of the facade's channels in this light."""
        gain = light.ambient * 0.85 + light.sun * float(np.clip(outward @ sun, 0.0, 1.0))
        haze = float(light.haze_share(distance_m))
        clear = (1.0 - haze) / 255.0
        # Panes mirror the sky, and the more so the more they look away from the sun.
        glass = mix(light.sky_top * 0.5, light.sky_low * 0.62, 0.5) * 0.72
        mixing = np.zeros((3, 5))
        mixing[:, _WALL] = np.array(self.colour_bgr) * gain * clear * 1.12
        mixing[:, _TRIM] = _TRIM_BGR * gain * clear
        mixing[:, _GLASS] = glass * clear * (1.0 - 0.5 * light.night)
        mixing[:, _LIT] = _LAMP_BGR * clear * light.night
        mixing[:, 4] = light.haze * haze
        return mixing


def _ahead(camera: Camera, left: Array, right: Array) -> tuple[float, float] | None:
    """Return which shares of a wall's foot lie beyond the near plane."""
    near = NEAR_M + 0.2
    first, second = float(left[0]) - near, float(right[0]) - near
    if first <= 0.0 and second <= 0.0:
        return None
    cut = first / (first - second) if first != second else 0.0
    return (cut if first < 0.0 else 0.0), (cut if second < 0.0 else 1.0)


def _corners(camera: Camera, left: Array, right: Array, top_m: float) -> tuple[Array, Array]:
    """Return pixels of foot left, foot right, top right, top left, and their depths."""
    forward = np.array([left[0], right[0], right[0], left[0]])
    aside = np.array([left[1], right[1], right[1], left[1]])
    up = np.array([0.0, 0.0, top_m, top_m]) - camera.z_m
    across, down, depth = camera.to_optical(forward, aside, up)
    column, row = camera.pixels(across, down, np.maximum(depth, 0.1))
    return np.stack([column, row], axis=-1), depth


@lru_cache(maxsize=256)
def roof(
    length_m: float, width_m: float, height_m: float, colour: tuple[float, float, float], seed: int
) -> Mesh | None:
    """Return a gabled roof over the longer side, None for flat ones."""
    low = eaves_m(height_m, length_m, width_m)
    if low >= height_m:
        return None
    build = MeshBuilder(middle=(0.0, 0.0, low), role=FOREIGN)
    x, y = 0.5 * length_m, 0.5 * width_m
    tiles = _ROOFS[seed % len(_ROOFS)]
    over = 0.35
    # The slopes hang a little over the walls; built along x and turned where the building is wider than long.
    swap = width_m > length_m
    along, across = (y, x) if swap else (x, y)
    drop = over * (height_m - low) / across

    def put(corners: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
        return [(b, a, z) for a, b, z in corners] if swap else corners

    for end in (-1.0, 1.0):
        gable = [(end * along, -across, low), (end * along, across, low), (end * along, 0.0, height_m)]
        build.face(put(gable), colour)
    for hand in (-1.0, 1.0):
        foot = hand * (across + over)
        slope = [
            (-along - over, foot, low - drop),
            (along + over, foot, low - drop),
            (along + over, 0.0, height_m),
            (-along - over, 0.0, height_m),
        ]
        build.face(put(slope), tiles)
    return build.mesh()
