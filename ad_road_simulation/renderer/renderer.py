# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a scene to an image with its ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer import weather_effects as air
from ad_road_simulation.renderer.framebuffer import FIRST, NOBODY, PROP, Canvas
from ad_road_simulation.renderer.ground import PAVEMENT, lay_ground
from ad_road_simulation.renderer.lighting import Light, light_of
from ad_road_simulation.renderer.rasterizer import Strokes, strokes_of
from ad_road_simulation.renderer.scene_objects import Stage, cast_of
from ad_road_simulation.renderer.shadows import shade_of
from ad_road_simulation.renderer.sky import Sky
from ad_road_simulation.renderer.sprites import Figure, Viewpoint, painting_order
from ad_road_simulation.renderer.textures import Grain
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.scene import Scene, Weather

_SMALLEST_SHARE = 8.0 / 360.0
"""Boxes lower than this share of the image are left out of the ground truth."""
_VISIBLE = 0.3
_FARTHEST_M = 90.0


@dataclass(frozen=True)
class GroundTruthBox:
    """One object as the image shows it.

    Attributes:
        label: one of the first eight LABELS.
        xyxy: left, top, right, bottom of its silhouette within the image; unlike the pixel coordinates of
            the camera these are edges, as detectors count them: the image reaches from 0 to its width.
        visible_share: of the silhouette's pixels in the image, those that nothing nearer covers.
        distance_m: along the ground from the camera to its middle.
        ident: of the actor, light or sign.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    visible_share: float
    distance_m: float
    ident: int


@dataclass(frozen=True)
class Image:
    """An image and its ground truth.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        boxes: of the objects, the farthest first.
        mask: (H, W) uint8 ids of MASK_LABELS; what stands on the road is background. None without ground truth.
    """

    image_bgr: NDArray[np.uint8]
    boxes: tuple[GroundTruthBox, ...]
    mask: NDArray[np.uint8] | None


def _pixels_of(ids: NDArray[np.uint8], own_id: int) -> NDArray[np.uint8]:
    """Return an image that is not zero where somebody's id is."""
    return (ids == own_id).view(np.uint8)


class Renderer:
    """Paints scenes as one camera sees them; the same scene gives the same bytes."""

    def __init__(self, camera: Camera) -> None:
        """Prepare what depends on the camera only."""
        self.camera = camera
        self._canvas = Canvas(camera)
        self._grain = Grain(camera)
        self._smallest_px = _SMALLEST_SHARE * camera.height_px
        # A world keeps its sky; several worlds may take turns.
        self._sky = lru_cache(maxsize=8)(self._new_sky)

    def _new_sky(self, weather: Weather, seed: int) -> Sky:
        return Sky(self.camera, light_of(weather), seed)

    def render(self, scene: Scene, *, with_ground_truth: bool = True) -> Image:
        """Return the image of a scene.

        Args:
            scene: to paint.
            with_ground_truth: whether boxes and mask are wanted; without them it is a little faster.
        """
        canvas, light = self._canvas, light_of(scene.weather)
        canvas.begin()
        view = Viewpoint.of(self.camera, scene)
        # Whether the sun is hidden is read from the ids, too.
        with_ids = with_ground_truth or scene.weather.glare > 0.0
        stage = Stage(canvas, view, light, view.direction(light.sun_direction), with_ids)
        figures = cast_of(scene, stage)
        self._background(scene, stage, figures)
        boxes = self._figures(figures, stage)
        self._air(scene, stage)
        mask = None
        if with_ground_truth:
            # Ground where nobody stands, and of the ground what has an id in MASK_LABELS.
            mask = (canvas.ids == NOBODY).view(np.uint8)
            mask &= (canvas.ground < PAVEMENT).view(np.uint8)
            mask *= canvas.ground
        return Image(canvas.image, tuple(boxes) if with_ground_truth else (), mask)

    def _background(self, scene: Scene, stage: Stage, figures: list[Figure]) -> None:
        canvas, view, light = self._canvas, stage.view, stage.light
        lay_ground(canvas, scene, view, light, self._grain.first_row)
        self._sky(scene.weather, scene.seed).paint(canvas.image, view.heading_rad)
        shade = shade_of(canvas, figures, light, view)
        self._grain.lay(canvas, view, light, shade, scene.ego_speed_mps * scene.weather.exposure_s)
        if light.wet > 0.0:
            air.mirror_sky(canvas, self._grain.first_row, light.wet)
            for figure in figures:
                self._lamps(figure, light, mirrored=True)

    def _figures(self, figures: list[Figure], stage: Stage) -> list[GroundTruthBox]:
        """Paint what stands, from back to front, and return the boxes of the labeled ones."""
        canvas, light, with_ids = self._canvas, stage.light, stage.with_ids
        strokes = strokes_of(figures, self.camera, light, stage.sun) if figures else []
        seen: list[tuple[Figure, int, tuple[slice, slice], int, tuple[float, float, float, float]]] = []
        order = painting_order(figures)
        # A byte a pixel: more than that many in one image cover each other anyway, and the nearest count.
        labeled = [index for index in order if figures[index].label][-(256 - FIRST) :]
        own_ids = {index: FIRST + number for number, index in enumerate(labeled)}
        for index in order:
            figure, stroke, own_id = figures[index], strokes[index], own_ids.get(index, PROP)
            if figure.paint is not None:
                figure.paint()
            stroke.paint(canvas, own_id, with_ids)
            if with_ids and own_id != PROP and self._may_count(figure, stroke):
                found = self._silhouette(stroke, own_id)
                if found is not None:
                    seen.append((figure, own_id, *found))
            self._lamps(figure, light, mirrored=False)
        boxes = []
        for figure, own_id, window, pixels, xyxy in seen:
            share = cv2.countNonZero(_pixels_of(canvas.ids[window], own_id)) / pixels
            if share >= _VISIBLE and xyxy[3] - xyxy[1] >= self._smallest_px:
                boxes.append(GroundTruthBox(figure.label, xyxy, share, figure.place.distance_m, figure.ident))
        return boxes

    def _may_count(self, figure: Figure, stroke: Strokes) -> bool:
        """Return whether a figure is near and high enough for the ground truth, as far as its outline tells."""
        if figure.place.distance_m > _FARTHEST_M or stroke.left_px >= stroke.right_px:
            return False
        # A pixel of margin: the box is measured exactly later.
        return stroke.foot_px - stroke.top_px + 1.0 >= self._smallest_px

    def _silhouette(
        self, stroke: Strokes, own_id: int
    ) -> tuple[tuple[slice, slice], int, tuple[float, float, float, float]] | None:
        """Return window, pixels and box of what has just been painted, None if none of it is to be seen."""
        canvas = self._canvas
        window = canvas.window_between(
            stroke.left_px - 1.0, stroke.top_px - 1.0, stroke.right_px + 1.0, stroke.foot_px + 1.0
        )
        if window is None:
            return None
        own = _pixels_of(canvas.ids[window], own_id)
        pixels = cv2.countNonZero(own)
        if pixels == 0:
            return None
        width, height = self.camera.width_px, self.camera.height_px
        left, top, right, bottom = (
            value + 0.5 for value in (stroke.left_px, stroke.top_px, stroke.right_px, stroke.foot_px)
        )
        if left < 0.0 or top < 0.0 or right > width or bottom > height:
            # The image's edge cuts it, perhaps where it was widest: count the pixels that are left.
            x, y, w, h = cv2.boundingRect(own)
            x, y = x + window[1].start, y + window[0].start
            left, right = max(left, float(x)), min(right, float(x + w))
            top, bottom = max(top, float(y)), min(bottom, float(y + h))
        return window, pixels, (left, top, right, bottom)

    def _lamps(self, figure: Figure, light: Light, *, mirrored: bool) -> None:
        """Add the halos of a figure's lamps, or their mirror images on the road."""
        for lamp in figure.lamps:
            place = figure.place
            cos, sin = math.cos(place.turn_rad), math.sin(place.turn_rad)
            x, y, z = lamp.place_m
            forward = place.forward_m + cos * x - sin * y
            left = place.left_m + sin * x + cos * y
            away = math.hypot(forward, left)
            facing = 1.0
            if lamp.looks != (0.0, 0.0):
                looks = (cos * lamp.looks[0] - sin * lamp.looks[1], sin * lamp.looks[0] + cos * lamp.looks[1])
                facing = -(looks[0] * forward + looks[1] * left) / max(away, 1e-6)
            if facing < 0.1 or forward < 1.0:
                continue
            up = (-z if mirrored else z) - self.camera.z_m
            column, row, _ = self.camera.pixel_of(forward, left, up)
            radius_px = lamp.radius_m * self.camera.focal_px / away
            strength = facing * (1.0 - float(light.haze_share(away)) * 0.5)
            color = tuple(int(value * strength) & ~7 for value in lamp.color)
            tint = (color[0], color[1], color[2])
            if not mirrored:
                air.add_halo(self._canvas.image, column, row, max(radius_px, 2.0), tint)
            else:
                gain = 0.5 * light.wet
                weak = (int(tint[0] * gain), int(tint[1] * gain), int(tint[2] * gain))
                foot = row + 1.5 * radius_px + 12.0
                air.add_streak(
                    self._canvas.image, column, row - 2.0 * radius_px, foot, 0.35 * radius_px, weak
                )

    def _air(self, scene: Scene, stage: Stage) -> None:
        image, weather = self._canvas.image, scene.weather
        frame = int(round(scene.time_s * 1000.0))
        draw = np.random.default_rng([scene.seed & 0xFFFFFFFF, frame])
        air.blur_of_turn(image, self.camera, scene)
        if weather.rain > 0.0:
            # The wiper comes once in 1.2 s.
            lens = np.random.default_rng([scene.seed & 0xFFFFFFFF, int(scene.time_s / 1.2), 1])
            air.add_rain(image, weather.rain, draw, lens)
        if weather.glare > 0.0:
            air.add_glare(self._canvas, stage.sun, weather.glare)
        air.add_sensor_noise(image, weather.noise_std, draw)
