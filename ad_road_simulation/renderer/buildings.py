# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Buildings: walls with rows of windows in perspective, and roofs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer.facades import (
    BAY_PX,
    BAYS,
    GLASS,
    STORIES,
    STORY_PX,
    STYLES,
    TRIM,
    WALL,
    facade,
    facade_means,
)
from ad_road_simulation.renderer.framebuffer import SHIFT, UNLABELED_ID, Framebuffer, Outline, fixed
from ad_road_simulation.renderer.lighting import NIGHT, Light, mix
from ad_road_simulation.renderer.meshes import UNLABELED, Color, Mesh, MeshBuilder, Point
from ad_road_simulation.renderer.sprites import RelativePose
from ad_road_simulation.world.camera import NEAR_M, Camera
from ad_road_simulation.world.scene import RoadsideObject

Array = NDArray[np.float64]

_STORY_M, _BAY_M = 3.0, 2.9
_FLAT_FROM_M = 9.5
"""Lower houses have a gabled roof, of three tenths of their height."""
_EAVES_SHARE = 0.7
_TRIM_BGR = np.array([218.0, 222.0, 224.0])
_LAMP_BGR = np.array([120.0, 205.0, 250.0])
_ROOFS: tuple[Color, ...] = ((66.0, 74.0, 128.0), (76.0, 74.0, 74.0), (58.0, 72.0, 104.0))
_PLAIN_PX = 6
"""Walls narrower or lower than this are drawn in one color."""


def eaves_m(height_m: float) -> float:
    """Return the height of a building's walls."""
    return height_m if height_m >= _FLAT_FROM_M else _EAVES_SHARE * height_m


@dataclass(slots=True)
class Wall:
    """One wall in the image.

    Attributes:
        bounds_px: left, top, right, bottom of its bounding box.
        corners_px: (4, 2) bottom left, bottom right, top right, top left, relative to the clipped box.
        outline: the corners in the image, for drawing.
        mean: BGR of the whole facade.
        mixing: (3, 4) BGR of the facade's channels, and an offset.
        style: of the facade.
        stories, bays: of the facade, that the whole wall shows.
        first_bay: of the facade, at the wall's left end.
        begin, end: shares of the wall's length, from the left, between which it is in the field of view.
        scale: mipmap level with about as many texels as pixels, 0 the largest.
        is_night: whether lamps are lit behind the windows.
    """

    bounds_px: list[float]
    corners_px: NDArray[np.float32]
    outline: Outline
    mean: list[float]
    mixing: Array
    style: int
    stories: int
    bays: int
    first_bay: int
    begin: float
    end: float
    scale: float
    is_night: bool

    def draw(self, framebuffer: Framebuffer, with_ids: bool) -> None:
        """Draw the wall in its mean color with anti-aliased edges, then its windows inside."""
        window = framebuffer.window_between(*self.bounds_px)
        if window is None:
            return
        rows, columns = window
        sizes = facade(self.style, self.is_night)
        cv2.fillConvexPoly(framebuffer.image, self.outline, self.mean, cv2.LINE_AA, SHIFT)
        if with_ids:
            cv2.fillConvexPoly(framebuffer.ids, self.outline, UNLABELED_ID, cv2.LINE_8, SHIFT)
        if min(rows.stop - rows.start, columns.stop - columns.start) < _PLAIN_PX:
            return
        # The level by the nearest edge, and, for walls seen at a flat angle, by area.
        seen_px = (rows.stop - rows.start) * (columns.stop - columns.start)
        texels = self.stories * self.bays * (self.end - self.begin) * STORY_PX * BAY_PX
        level = int(min(max(self.scale, 0.5 * log2(texels / (1.5 * seen_px)), 0.0), len(sizes) - 1))
        height, width = sizes[level].shape[0] // STORIES, sizes[level].shape[1] // BAYS
        wide, high = self.bays * width, self.stories * height
        left, right = int(self.begin * wide), ceil(self.end * wide)
        start = self.first_bay * width
        part = sizes[level][(STORIES - self.stories) * height :, start + left : start + right]
        begin, end = self.begin * wide - left - 0.5, self.end * wide - left - 0.5
        matrix = cv2.getPerspectiveTransform(
            self.corners_px,
            np.array([[begin, high], [end, high], [end, -0.5], [begin, -0.5]], np.float32),
        )
        # Pixels outside the wall are unchanged; its border keeps the anti-aliased mean color.
        cv2.warpPerspective(
            cv2.transform(part, self.mixing),
            matrix,
            (columns.stop - columns.start, rows.stop - rows.start),
            dst=framebuffer.image[rows, columns],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_TRANSPARENT,
        )


def draw_walls(walls: list[Wall], framebuffer: Framebuffer, with_ids: bool) -> None:
    """Draw the walls of one building, given from back to front."""
    for wall in walls:
        wall.draw(framebuffer, with_ids)


def visible_walls(
    buildings: list[RoadsideObject], poses: list[RelativePose], camera: Camera, light: Light, sun: Array
) -> list[list[Wall]]:
    """Return the walls of each building that face the camera, from back to front.

    Args:
        buildings: to draw.
        poses: of the buildings.
        camera: of the image.
        light: of the weather.
        sun: (3,) direction to it along base_link's axes.
    """
    found: list[list[Wall]] = [[] for _ in buildings]
    if not buildings:
        return found
    corners = np.stack([pose.corners_m for pose in poses])
    # Seen from outside, a clockwise footprint is ordered from right to left.
    right, left = corners, corners[:, [1, 2, 3, 0]]
    across, along = right[..., 1] - left[..., 1], left[..., 0] - right[..., 0]
    faces_camera = across * right[..., 0] + along * right[..., 1] < 0.0
    begin, end = _spans(left, right, camera)
    owner, side = np.nonzero(faces_camera & (begin < end))
    left, right, begin, end, across, along = (
        table[owner, side] for table in (left, right, begin, end, across, along)
    )
    length = np.hypot(across, along)
    outward = np.stack([across, along, np.zeros(len(owner))], axis=-1) / np.maximum(length, 1e-9)[:, None]
    near, far = left + (right - left) * begin[:, None], left + (right - left) * end[:, None]
    distance = 0.5 * np.hypot(*(near + far).T)
    high = np.array([eaves_m(building.height_m) for building in buildings])[owner]
    pixels, depth = _corners(camera, near, far, high)
    plaster = np.array([building.color_bgr for building in buildings], np.float64)[owner]
    mixing = _mixings(plaster, light, light.shade(outward, sun), distance)
    stories = np.clip(np.rint(high / _STORY_M), 1, STORIES).astype(int).tolist()
    bays = np.clip(np.rint(length / _BAY_M), 1, BAYS).astype(int).tolist()
    scale = np.log2(np.maximum(STORY_PX / _STORY_M * depth / (1.2 * camera.focal_px), 0.1)).tolist()
    begins, ends, owners, vertices = begin.tolist(), end.tolist(), owner.tolist(), fixed(pixels)
    is_night = light.night >= NIGHT
    style = (np.array([building.seed for building in buildings])[owner] + 5 * (side % 2)) % STYLES
    channels = facade_means(is_night)[style]
    means = (mixing[..., :3] * channels[:, None]).sum(axis=-1) + mixing[..., 3]
    colors = means.clip(0.0, 255.0).tolist()
    styles, low = style.tolist(), pixels.min(axis=1)
    bounds = np.concatenate([low, pixels.max(axis=1)], axis=1).tolist()
    within = (pixels - np.maximum(np.trunc(low), 0.0)[:, None]).astype(np.float32)
    for index in np.argsort(-distance).tolist():
        seed = buildings[owners[index]].seed
        found[owners[index]].append(
            Wall(
                bounds_px=bounds[index],
                corners_px=within[index],
                outline=vertices[index],
                mean=colors[index],
                mixing=mixing[index],
                style=styles[index],
                stories=stories[index],
                bays=bays[index],
                first_bay=seed // 16 % (BAYS - bays[index] + 1),
                begin=begins[index],
                end=ends[index],
                scale=scale[index],
                is_night=is_night,
            )
        )
    return found


def _spans(left: Array, right: Array, camera: Camera) -> tuple[Array, Array]:
    """Return the first and last share of each wall's length that is ahead and in the field of view."""
    slope, margin = 0.5 * camera.width_px / camera.focal_px, 0.5
    forward = np.array([1.0, slope, slope])[:, None, None]
    aside = np.array([0.0, 1.0, -1.0])[:, None, None]
    shift = np.array([-(NEAR_M + 0.2), margin, margin])[:, None, None]
    first = forward * left[..., 0] + aside * left[..., 1] + shift
    second = forward * right[..., 0] + aside * right[..., 1] + shift
    apart, is_first_out, is_second_out = first - second, first < 0.0, second < 0.0
    cut = first / np.where(np.abs(apart) > 1e-9, apart, 1.0)
    begin = np.where(is_first_out, np.where(is_second_out, 1.0, cut), 0.0)
    end = np.where(is_second_out, np.where(is_first_out, 0.0, cut), 1.0)
    return begin.max(axis=0), end.min(axis=0)


def _corners(camera: Camera, left: Array, right: Array, top_m: Array) -> tuple[Array, Array]:
    """Return (N, 4, 2) pixels of bottom left, bottom right, top right, top left, and the minimum depths."""
    around = np.stack([left, right, right, left], axis=1)
    up = top_m[:, None] * np.array([0.0, 0.0, 1.0, 1.0]) - camera.z_m
    across, down, depth = camera.to_optical(around[..., 0], around[..., 1], up)
    # The tilted near plane is farther ahead at a wall's bottom than at its top.
    depth = np.maximum(depth, 0.1)
    column, row = camera.pixels(across, down, depth)
    return np.stack([column, row], axis=-1), depth.min(axis=1)


def _mixings(colors: Array, light: Light, gains: Array, distance_m: Array) -> Array:
    """Return the (N, 3, 4) colors of facades' channels in this light."""
    haze = light.haze_share(distance_m)[:, None]
    clear = (1.0 - haze) / 255.0
    # Panes reflect the sky; at night the third channel is lamplight.
    panes = (
        _LAMP_BGR * light.night
        if light.night >= NIGHT
        else mix(light.sky_top * 0.36, light.sky_low * 0.45, 0.5)
    )
    mixing = np.empty((len(colors), 3, 4))
    mixing[:, :, WALL] = colors * gains * clear * 1.12
    mixing[:, :, TRIM] = _TRIM_BGR * gains * clear
    mixing[:, :, GLASS] = panes * clear
    mixing[:, :, 3] = light.haze * haze
    return mixing


@lru_cache(maxsize=8)
def roof(seed: int, is_broad: bool) -> Mesh | None:
    """Return a gabled roof on a house 1 m long, wide and high; its ridge runs along the longer side."""
    build = MeshBuilder(middle=(0.0, 0.0, _EAVES_SHARE), role=UNLABELED)
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
