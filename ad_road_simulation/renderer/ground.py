# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Flat colors of the ground: grass, sidewalk, curbs and asphalt."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer.framebuffer import Framebuffer, Outline, fixed
from ad_road_simulation.renderer.lighting import Light
from ad_road_simulation.renderer.road_markings import paint_markings
from ad_road_simulation.renderer.sprites import Viewpoint
from ad_road_simulation.world.road import CrossSection, Road
from ad_road_simulation.world.scene import Scene

Array = NDArray[np.float64]

GRASS, ROAD, CURB, MARKING, SIDEWALK = 0, 1, 2, 3, 4
"""Materials; the first four are the ids of MASK_LABELS."""

_CURB_UP_M = 0.08
_GUTTER_M = 0.12
_JOINTS_FAR = 22
# Positions of the road samples relative to the ego: dense enough for bends near the car, and for the ends
# to lie between the near plane and the image's lowest row.
_STEPS_M = np.concatenate([np.arange(-10.0, 24.0, 0.75), np.geomspace(24.0, 190.0, 36)])
_GRASS_BGR = np.array([58.0, 106.0, 84.0])
_ASPHALT_BGR = np.array([94.0, 92.0, 91.0])
_WORN_BGR = np.array([103.0, 101.0, 100.0])
_GUTTER_BGR = np.array([122.0, 121.0, 118.0])
_STONE_BGR = np.array([196.0, 200.0, 202.0])
_JOINT_BGR = np.array([100.0, 105.0, 108.0])
_SIDEWALK_BGR = np.array([122.0, 130.0, 136.0])
_PAINT_BGR = np.array([224.0, 226.0, 226.0])

# Joints of a road's curbs, computed once per road.
_JOINTS: WeakKeyDictionary[Road, Array] = WeakKeyDictionary()


def _lit_color(color: Array, gain: Array) -> tuple[float, float, float]:
    blue, green, red = np.clip(color * gain, 0.0, 255.0).tolist()
    return blue, green, red


class _Bands:
    """Bands along the road as polygons in the image, all with the same samples along it."""

    def __init__(
        self, framebuffer: Framebuffer, scene: Scene, view: Viewpoint, offsets: list[tuple[float, float]]
    ) -> None:
        """Project the road's lines.

        Args:
            framebuffer: to draw into.
            scene: with the road.
            view: of the camera.
            offsets: d and height above the carriageway of every line.
        """
        along = scene.ego_s_m + _STEPS_M
        along = along[(along >= 0.0) & (along <= scene.road.length_m)]
        self._index = {offset: column for column, offset in enumerate(offsets)}
        lines, up = np.array(offsets)[:, 0], np.array(offsets)[:, 1]
        points = view.local(scene.road.points(along[:, None], lines[None, :]))
        pixels, ahead = framebuffer.ground_pixels(points, up[None, :])
        self._vertices = fixed(pixels)
        # Each line from its first sample ahead up to the first one behind the camera again.
        first = np.argmax(ahead, axis=0)
        later = ~ahead & (np.arange(len(along))[:, None] > first)
        last = np.where(later.any(axis=0), np.argmax(later, axis=0), len(along))
        self._first, self._last = first.tolist(), np.where(ahead.any(axis=0), last, first).tolist()

    def between(self, right: tuple[float, float], left: tuple[float, float]) -> list[Outline]:
        """Return the band between two lines, an empty list where it is not ahead."""
        sides = []
        for column in (self._index[right], self._index[left]):
            sides.append(self._vertices[self._first[column] : self._last[column], column])
        if min(len(side) for side in sides) < 2:
            return []
        return [np.concatenate([sides[0], sides[1][::-1]])]


def draw_ground(
    framebuffer: Framebuffer, scene: Scene, view: Viewpoint, light: Light, first_row: int
) -> None:
    """Draw the flat colors and set the materials.

    Args:
        framebuffer: to draw into.
        scene: with the road.
        view: of the camera.
        light: of the weather.
        first_row: first image row below the horizon.
    """
    flat = light.flat
    corner = (framebuffer.camera.width_px, framebuffer.camera.height_px)
    cv2.rectangle(framebuffer.image, (0, first_row), corner, _lit_color(_GRASS_BGR, flat), cv2.FILLED)
    section, up = scene.road.cross_section, _CURB_UP_M
    tracks = _tracks(section)
    sides = (_side(-1.0, section.right_m, section), _side(1.0, section.left_m, section))
    lines = [(d, 0.0) for pair in tracks for d in pair]
    for edge, stone, outer, walk in sides:
        lines += [(edge, 0.0), (stone, 0.0), (stone, up), (outer, up), (walk, up)]
    bands = _Bands(framebuffer, scene, view, lines)

    framebuffer.fill_ground(
        bands.between((section.right_m, 0.0), (section.left_m, 0.0)), _lit_color(_ASPHALT_BGR, flat), ROAD
    )
    worn = [outline for low, high in tracks for outline in bands.between((low, 0.0), (high, 0.0))]
    framebuffer.tint_ground(worn, _lit_color(_WORN_BGR, flat))
    paint_markings(framebuffer, scene, view, _lit_color(_PAINT_BGR, flat), MARKING)
    for edge, stone, outer, walk in sides:
        framebuffer.fill_ground(
            bands.between((outer, up), (walk, up)), _lit_color(_SIDEWALK_BGR, flat), SIDEWALK
        )
        framebuffer.fill_ground(bands.between((edge, 0.0), (stone, 0.0)), _lit_color(_GUTTER_BGR, flat), CURB)
        face = _lit_color(_STONE_BGR, light.ambient * 0.85)
        framebuffer.fill_ground(bands.between((stone, 0.0), (stone, up)), face, CURB)
        framebuffer.fill_ground(bands.between((stone, up), (outer, up)), _lit_color(_STONE_BGR, flat), CURB)
    _draw_joints(framebuffer, scene, view, light)


def _side(side: float, edge: float, section: CrossSection) -> tuple[float, float, float, float]:
    """Return offsets of the carriageway's edge, the curb stone's two edges and the sidewalk's end."""
    outer = edge + side * section.curb_width_m
    return edge, edge + side * _GUTTER_M, outer, outer + side * section.sidewalk_width_m


def _tracks(section: CrossSection) -> list[tuple[float, float]]:
    """Return the wheel tracks, where the asphalt is worn lighter: two per lane."""
    lanes = [section.lane_center_m(lane) for lane in range(section.lanes_ahead)]
    lanes += [section.lane_center_m(lane, oncoming=True) for lane in range(section.lanes_oncoming)]
    return [(lane + side - 0.3, lane + side + 0.3) for lane in lanes for side in (-0.8, 0.8)]


def _draw_joints(framebuffer: Framebuffer, scene: Scene, view: Viewpoint, light: Light) -> None:
    """Draw the visible joints between curb stones and between sidewalk slabs."""
    first = int(np.ceil(scene.ego_s_m))
    quads = view.local(_joints(scene.road)[first : first + _JOINTS_FAR].reshape(-1, 4, 2))
    outlines = framebuffer.ground_outlines(quads, _CURB_UP_M, clips=False)
    framebuffer.tint_ground([one for one in outlines if one is not None], _lit_color(_JOINT_BGR, light.flat))


def _joints(road: Road) -> Array:
    """Return (N, 2, 4, 2) narrow quads across curb and sidewalk in the world, one per meter and side."""
    if road not in _JOINTS:
        section = road.cross_section
        at = np.arange(0.0, road.length_m, 1.0)
        s = (at[:, None] + np.array([0.0, 0.0, 0.02, 0.02])).reshape(-1, 1, 4)
        inner, outer = _GUTTER_M, section.curb_width_m + section.sidewalk_width_m
        across = np.array([inner, outer, outer, inner])
        _JOINTS[road] = road.points(s, np.stack([section.right_m - across, section.left_m + across])[None])
    return _JOINTS[road]
