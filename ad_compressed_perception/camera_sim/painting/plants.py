# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trees and bushes: crowns of many leaves, drawn once, and set up like stage scenery."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.painting.canvas import PROP, Canvas
from ad_compressed_perception.camera_sim.painting.light import Light

_SIZE_PX = 256
_VARIANTS = 5
_TRUNK_BGR = np.array([58.0, 74.0, 92.0])
# Channels of a sprite, all weighed by how far it covers: leaves in the shade, leaves in the sun, wood, cover.
_SHADED, _SUNLIT, _WOOD, _COVER = 0, 1, 2, 3


def _blobs(kind: str, draw: np.random.Generator) -> NDArray[np.float64]:
    """Return (N, 3) middles and radii of the clumps that make a crown, in shares of the sprite's size."""
    if kind == "bush":
        middles = np.stack([draw.uniform(0.16, 0.84, 40), draw.uniform(0.35, 0.85, 40)], axis=-1)
        radii = draw.uniform(0.08, 0.16, 40)
        inside = ((middles[:, 0] - 0.5) / 0.40) ** 2 + ((middles[:, 1] - 0.75) / 0.45) ** 2 < 1.0
    elif kind == "fir":
        up = draw.uniform(0.0, 1.0, 90) ** 0.7
        middles = np.stack([0.5 + draw.uniform(-1, 1, 90) * 0.36 * up, 0.07 + 0.8 * up], axis=-1)
        radii = 0.025 + 0.06 * up
        inside = np.ones(90, np.bool_)
    elif kind == "poplar":
        middles = np.stack([draw.normal(0.5, 0.11, 80), draw.uniform(0.08, 0.82, 80)], axis=-1)
        radii = draw.uniform(0.05, 0.10, 80)
        inside = ((middles[:, 0] - 0.5) / 0.25) ** 2 + ((middles[:, 1] - 0.45) / 0.42) ** 2 < 1.0
    else:
        middles = np.stack([draw.uniform(0.1, 0.9, 110), draw.uniform(0.08, 0.68, 110)], axis=-1)
        radii = draw.uniform(0.06, 0.12, 110)
        inside = ((middles[:, 0] - 0.5) / 0.38) ** 2 + ((middles[:, 1] - 0.36) / 0.30) ** 2 < 1.0
    return np.concatenate([middles, radii[:, None]], axis=1)[inside]


def _branches(sprite: NDArray[np.uint8], kind: str, draw: np.random.Generator) -> None:
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
            end = (int(size * (0.5 + side * draw.uniform(0.15, 0.25))), int(size * (start - 0.22)))
            cv2.line(sprite, (size // 2, int(size * start)), end, bark, max(2, size // 50), cv2.LINE_AA)
    # The trunk's side away from the light.
    shade = trunk.copy()
    shade[:2, 0] = size / 2
    cv2.fillConvexPoly(sprite, shade.astype(np.int32), (0.0, 0.0, 130.0, 255.0), cv2.LINE_AA)


@lru_cache(maxsize=2 * 4 * _VARIANTS)
def _sprites(kind: str, variant: int) -> list[NDArray[np.uint8]]:
    """Return a sprite in sizes halved from step to step; light comes from above left."""
    draw = np.random.default_rng([{"round": 1, "poplar": 2, "fir": 3, "bush": 4}[kind], variant])
    size = _SIZE_PX
    sprite = np.zeros((size, size, 4), np.uint8)
    _branches(sprite, kind, draw)
    blobs = _blobs(kind, draw)
    # From behind and below to the front and above: dark first, then leaf by leaf lighter.
    blobs = blobs[np.argsort(-blobs[:, 1] + 0.1 * draw.standard_normal(len(blobs)))]
    for x, y, radius in blobs:
        middle, reach = (int(x * size), int(y * size)), int(radius * size)
        cv2.circle(sprite, middle, reach, (112.0, 4.0, 0.0, 255.0), -1, cv2.LINE_AA)
    count = 46
    for x, y, radius in blobs:
        angle = draw.uniform(0.0, 2.0 * np.pi, count)
        away = radius * np.sqrt(draw.uniform(0.0, 1.25, count))
        across, down = np.cos(angle) * away, np.sin(angle) * away
        # A leaf is the brighter the more its clump bends towards the light.
        lit = np.clip(0.42 - 0.75 * (0.45 * across + 0.9 * down) / radius, 0.0, 1.0)
        high = float(np.clip(1.25 - y, 0.4, 1.0))
        shaded = (90.0 + 80.0 * lit * high + draw.uniform(-22.0, 22.0, count)).tolist()
        sunny = (235.0 * lit * high).tolist()
        for index in range(count):
            at = (int((x + across[index]) * size), int((y + down[index]) * size))
            cv2.circle(sprite, at, int(draw.integers(2, 5)), (shaded[index], sunny[index], 0.0, 255.0), -1)
    cover = cv2.blur(sprite, (3, 3))
    sizes = [cover]
    while sizes[-1].shape[0] > 8:
        sizes.append(cv2.resize(sizes[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return sizes


def kind_of(prop_kind: str, seed: int, slenderness: float) -> str:
    """Return which plant a prop is: slender ones are poplars or firs."""
    if prop_kind == "bush":
        return "bush"
    if slenderness > 2.2:
        return "fir" if seed % 2 else "poplar"
    return ("round", "round", "fir", "round")[seed % 4]


def paint_plant(
    canvas: Canvas,
    kind: str,
    seed: int,
    left_px: float,
    right_px: float,
    top_px: float,
    foot_px: float,
    colour: tuple[int, int, int],
    light: Light,
    sun_from_left: bool,
    distance_m: float,
    with_ids: bool,
) -> None:
    """Paint a plant between two columns and two rows."""
    window = canvas.window(np.array([[left_px, top_px], [right_px, foot_px]]))
    if window is None:
        return
    height, width = foot_px - top_px, right_px - left_px
    sizes = _sprites(kind, seed % _VARIANTS)
    level = int(np.clip(np.floor(np.log2(_SIZE_PX / max(height, 1.0))), 0, len(sizes) - 1))
    source = sizes[level]
    scale_x, scale_y = source.shape[1] / width, source.shape[0] / height
    rows, columns = window
    start = columns.start + 0.5 - left_px
    across = [scale_x, 0.0, start * scale_x - 0.5]
    if (seed // 7) % 2 == int(sun_from_left):
        # Mirrored; the light of the sprite comes from the left, and half of the trees are allowed to differ.
        across = [-scale_x, 0.0, source.shape[1] - start * scale_x - 0.5]
    matrix = np.array([across, [0.0, scale_y, (rows.start + 0.5 - top_px) * scale_y - 0.5]])
    patch = cv2.warpAffine(
        source,
        matrix,
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    haze = float(light.haze_share(distance_m))
    leaves = np.array(colour, np.float64)
    gain = (1.0 - haze) / 255.0
    # Leaves let light through, so that the sunny side is yellowish.
    mixing = np.zeros((3, 4))
    mixing[:, _SHADED] = leaves * light.ambient * gain * 1.25
    mixing[:, _SUNLIT] = (leaves * np.array([0.9, 1.15, 1.2]) + 12.0) * light.sun * gain * 1.5
    mixing[:, _WOOD] = _TRUNK_BGR * (light.ambient + 0.5 * light.sun) * gain
    mixing[:, _COVER] = light.haze * haze / 255.0
    painted = cv2.transform(patch, mixing)
    cover = patch[..., _COVER]
    image = canvas.image[rows, columns]
    rest = cv2.cvtColor(255 - cover, cv2.COLOR_GRAY2BGR)
    image[:] = cv2.add(cv2.multiply(image, rest, scale=1.0 / 255.0), painted)
    if with_ids:
        canvas.ids[rows, columns][cover > 127] = PROP
