# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shadows on the ground: long ones away from the sun, and the dark beneath a car that makes it stand there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.painting.canvas import SHIFT, Canvas
from ad_compressed_perception.camera_sim.painting.figures import Figure, shadow_outline
from ad_compressed_perception.camera_sim.painting.light import Light

_LONGEST = 5.0
"""Shadows are at most this many times as long as their thing is high."""
_CONTACT = 150
_TURN = np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False)


def shade_of(canvas: Canvas, figures: list[Figure], light: Light, heading_rad: float) -> NDArray[np.uint8]:
    """Return (H, W) how much light the ground misses, 255 all."""
    shade = np.zeros_like(canvas.ground)
    x, y, z = light.sun_direction
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    reach = min(_LONGEST, float(np.hypot(x, y)) / max(float(z), 0.05)) / max(float(np.hypot(x, y)), 1e-6)
    shift = (-reach * float(cos * x + sin * y), -reach * float(cos * y - sin * x))
    dark = (int(255 * light.shadow),)
    if dark[0] > 8:
        for figure in figures:
            outline = canvas.ground_polygon(_outline(figure, shift))
            if outline is not None:
                cv2.fillPoly(shade, [outline], dark, cv2.LINE_AA, SHIFT)
    for figure in figures:
        if figure.label in ("car", "truck", "bus", "motorcycle") and figure.distance_m < 60.0:
            foot = figure.corners_m.mean(axis=0) + (figure.corners_m - figure.corners_m.mean(axis=0)) * 0.97
            outline = canvas.ground_polygon(foot)
            if outline is not None:
                cv2.fillConvexPoly(shade, outline, (_CONTACT,), cv2.LINE_AA, SHIFT)
    first = int(canvas.camera.horizon_px) + 2
    size = 3 if canvas.camera.width_px < 900 else 5
    cv2.blur(shade[first:], (2 * size + 1, size), dst=shade[first:])
    return shade


def _outline(figure: Figure, shift: tuple[float, float]) -> NDArray[np.float64]:
    """Return the shadow of a crown for what is round, else of a box."""
    if figure.paint is not None and figure.half_length_m == figure.half_width_m:
        middle = figure.corners_m.mean(axis=0)
        crown = middle + np.array(shift) * figure.height_m * 0.6
        radius = figure.half_length_m * 0.9
        ring = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=-1) * radius
        away = np.array(shift) * figure.height_m * 0.35
        hull = np.concatenate([crown + ring + away, crown + ring - away]).astype(np.float32)
        return np.asarray(cv2.convexHull(hull), np.float64).reshape(-1, 2)
    return np.asarray(shadow_outline(figure, shift, 0.85 * figure.height_m), np.float64)
