# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facade textures: generated once in a few styles, as large as the largest wall; a wall shows a part."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

STYLES = 12
STORIES, BAYS = 7, 10
STORY_PX, BAY_PX = 56, 52
"""Size of a story and a bay in the largest image."""
WALL, TRIM, GLASS = 0, 1, 2
"""Channels: the wall's own color, light frames, and glass; at night the third is lamplight."""

_TEXELS_PER_M = 18

Image = NDArray[np.uint8]


@lru_cache(maxsize=2 * STYLES)
def facade(style: int, is_night: bool) -> list[Image]:
    """Return the mipmap of a facade: (STORIES * h, BAYS * w, 3) images, each half as large as the one before.

    Rows run down; the lowest story is the ground floor. By night some windows are lit and the rest dark.
    """
    rng = np.random.default_rng([7, style])
    height, width = STORIES * STORY_PX, BAYS * BAY_PX
    face = np.zeros((height, width, 3), np.uint8)
    face[..., WALL] = _wall(rng, height, width, has_bricks=style % 3 == 1)
    glass_px = (int(BAY_PX * rng.uniform(0.38, 0.62)), int(STORY_PX * rng.uniform(0.42, 0.56)))
    if style % 4 == 3:
        glass_px = (int(BAY_PX * 0.9), glass_px[1])
    has_ledges, has_shops = style % 2 == 0, style % 3 == 0
    door_px = (int(1.2 * _TEXELS_PER_M), int(2.2 * _TEXELS_PER_M))
    for floor in range(STORIES):
        foot = height - floor * STORY_PX
        if floor > 0 and has_ledges:
            face[foot - 2 : foot + 2] = (120, 110, 0)
        for bay in range(BAYS):
            middle, is_lit = (bay + 0.5) * BAY_PX, bool(rng.uniform() < 0.45)
            if floor == 0 and bay % 4 == 1:
                _opening(face, middle, foot, door_px, _pane(60, is_night, is_lit))
            elif floor == 0 and has_shops:
                shop_px = (int(BAY_PX * 0.86), int(STORY_PX * 0.7))
                _opening(face, middle, foot - 6, shop_px, _pane(235, is_night, True))
            else:
                sill = foot - int(0.85 * _TEXELS_PER_M)
                _opening(face, middle, sill, glass_px, _pane(230, is_night, is_lit))
    plinth = face[-int(0.45 * _TEXELS_PER_M) :, :, WALL]
    plinth[:] = (plinth * 0.7).astype(np.uint8)
    sizes: list[Image] = [face]
    while sizes[-1].shape[0] > 4 * STORIES:
        half = (sizes[-1].shape[1] // 2, sizes[-1].shape[0] // 2)
        sizes.append(np.asarray(cv2.resize(sizes[-1], half, interpolation=cv2.INTER_AREA), np.uint8))
    return sizes


@lru_cache(maxsize=2)
def facade_means(is_night: bool) -> NDArray[np.float64]:
    """Return the (STYLES, 3) means of the facades' channels."""
    return np.stack([facade(style, is_night)[-1].mean(axis=(0, 1)) for style in range(STYLES)])


def _pane(glass: int, is_night: bool, is_lit: bool) -> tuple[float, float, float]:
    if not is_night:
        return 0.0, 0.0, float(glass)
    return (0.0, 0.0, 220.0) if is_lit else (40.0, 10.0, 0.0)


def _wall(rng: np.random.Generator, height: int, width: int, *, has_bricks: bool) -> Image:
    """Return plaster with stains, or bricks."""
    stains = rng.normal(0.0, 9.0, (height // 24, width // 24)).astype(np.float32)
    tone = 220.0 + cv2.resize(stains, (width, height)) + rng.normal(0.0, 4.0, (height, width))
    if has_bricks:
        stones = rng.normal(-10.0, 14.0, (height // 3 + 1, width // 8 + 1)).astype(np.float32)
        tone = tone + cv2.resize(stones, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(np.clip(tone, 0, 255), np.uint8)


def _opening(
    face: Image, middle: float, foot: int, size_px: tuple[int, int], pane: tuple[float, float, float]
) -> None:
    """Draw a window or door: frame, pane, the shadow of the lintel, sash bar and sill."""
    left, right = int(middle) - size_px[0] // 2, int(middle) + size_px[0] // 2
    top = foot - size_px[1]
    cv2.rectangle(face, (left - 2, top - 2), (right + 2, foot + 2), (0.0, 225.0, 0.0), -1)
    cv2.rectangle(face, (left, top), (right, foot), pane, -1)
    cv2.rectangle(face, (left, top), (right, top + 3), (pane[0] / 2, pane[1] / 2, pane[2] / 2.5), -1)
    cv2.line(face, (int(middle), top), (int(middle), foot), (0.0, 200.0, 0.0), 1)
    cv2.rectangle(face, (left - 3, foot + 2), (right + 3, foot + 4), (70.0, 110.0, 0.0), -1)
