# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Renders a scene to an image with its ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer import weather_effects as effects
from ad_road_simulation.renderer.framebuffer import BACKGROUND_ID, FIRST_LABELED_ID, UNLABELED_ID, Framebuffer
from ad_road_simulation.renderer.ground import SIDEWALK, draw_ground
from ad_road_simulation.renderer.lighting import Light, light_of
from ad_road_simulation.renderer.rasterizer import RasterPolygons, project_polygons
from ad_road_simulation.renderer.scene_objects import RenderContext, build_scene_objects
from ad_road_simulation.renderer.shadows import shadow_mask
from ad_road_simulation.renderer.sky import Sky
from ad_road_simulation.renderer.sprites import SceneObject, Viewpoint, back_to_front_order
from ad_road_simulation.renderer.textures import GroundTexture
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.scene import Scene, Weather

_SMALLEST_SHARE = 8.0 / 360.0
"""Boxes lower than this share of the image height are excluded from the ground truth."""
_VISIBLE = 0.3
_FARTHEST_M = 90.0


@dataclass(frozen=True)
class GroundTruthBox:
    """Ground truth of one object in the image.

    Attributes:
        label: one of the first eight LABELS.
        xyxy: left, top, right, bottom of its silhouette within the image; unlike the pixel coordinates of
            the camera these are pixel edges, as in detectors: the image reaches from 0 to its width.
        visible_share: share of the silhouette's pixels in the image that are not occluded.
        distance_m: along the ground from the camera to its middle.
        ident: of the actor, light or sign.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    visible_share: float
    distance_m: float
    ident: int


@dataclass(frozen=True)
class RenderedImage:
    """An image and its ground truth.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        boxes: of the objects, the farthest first.
        mask: (H, W) uint8 ids of MASK_LABELS; objects on the road are background. None without ground truth.
    """

    image_bgr: NDArray[np.uint8]
    boxes: tuple[GroundTruthBox, ...]
    mask: NDArray[np.uint8] | None


def _pixels_of(ids: NDArray[np.uint8], own_id: int) -> NDArray[np.uint8]:
    """Return a mask that is 1 where the id is own_id."""
    return (ids == own_id).view(np.uint8)


class Renderer:
    """Renders scenes for one camera; the same scene gives the same bytes."""

    def __init__(self, camera: Camera) -> None:
        """Precompute everything that depends only on the camera."""
        self.camera = camera
        self._framebuffer = Framebuffer(camera)
        self._ground_texture = GroundTexture(camera)
        self._smallest_px = _SMALLEST_SHARE * camera.height_px
        # The sky is constant in a world; scenes of several worlds may alternate.
        self._sky = lru_cache(maxsize=8)(self._new_sky)

    def _new_sky(self, weather: Weather, seed: int) -> Sky:
        return Sky(self.camera, light_of(weather), seed)

    def render(self, scene: Scene, *, with_ground_truth: bool = True) -> RenderedImage:
        """Return the image of a scene.

        Args:
            scene: to render.
            with_ground_truth: whether to return boxes and mask; slightly faster without.
        """
        framebuffer, light = self._framebuffer, light_of(scene.weather)
        framebuffer.clear()
        view = Viewpoint.of(self.camera, scene)
        # The ids also determine whether the sun is occluded.
        with_ids = with_ground_truth or scene.weather.glare > 0.0
        context = RenderContext(framebuffer, view, light, view.direction(light.sun_direction), with_ids)
        objects = build_scene_objects(scene, context)
        self._draw_background(scene, context, objects)
        boxes = self._draw_objects(objects, context)
        self._apply_weather(scene, context)
        mask = None
        if with_ground_truth:
            # The ground not covered by objects, restricted to materials with an id in MASK_LABELS.
            mask = (framebuffer.ids == BACKGROUND_ID).view(np.uint8)
            mask &= (framebuffer.ground < SIDEWALK).view(np.uint8)
            mask *= framebuffer.ground
        return RenderedImage(framebuffer.image, tuple(boxes) if with_ground_truth else (), mask)

    def _draw_background(self, scene: Scene, context: RenderContext, objects: list[SceneObject]) -> None:
        framebuffer, view, light = self._framebuffer, context.view, context.light
        draw_ground(framebuffer, scene, view, light, self._ground_texture.first_row)
        self._sky(scene.weather, scene.seed).draw(framebuffer.image, view.heading_rad)
        shadows = shadow_mask(framebuffer, objects, light, view)
        self._ground_texture.apply(
            framebuffer, view, light, shadows, scene.ego_speed_mps * scene.weather.exposure_s
        )
        if light.wet > 0.0:
            effects.add_wet_reflection(framebuffer, self._ground_texture.first_row, light.wet)
            for item in objects:
                self._draw_lamps(item, light, mirrored=True)

    def _draw_objects(self, objects: list[SceneObject], context: RenderContext) -> list[GroundTruthBox]:
        """Draw the objects from back to front and return the boxes of the labeled ones."""
        framebuffer, light, with_ids = self._framebuffer, context.light, context.with_ids
        rasters = project_polygons(objects, self.camera, light, context.sun) if objects else []
        seen: list[tuple[SceneObject, int, tuple[slice, slice], int, tuple[float, float, float, float]]] = []
        order = back_to_front_order(objects)
        # Ids are bytes: only the nearest labeled objects get one, as more of them occlude each other anyway.
        labeled = [index for index in order if objects[index].label][-(256 - FIRST_LABELED_ID) :]
        own_ids = {index: FIRST_LABELED_ID + number for number, index in enumerate(labeled)}
        for index in order:
            item, raster, own_id = objects[index], rasters[index], own_ids.get(index, UNLABELED_ID)
            if item.draw is not None:
                item.draw()
            raster.draw(framebuffer, own_id, with_ids)
            if with_ids and own_id != UNLABELED_ID and self._may_have_box(item, raster):
                found = self._silhouette(raster, own_id)
                if found is not None:
                    seen.append((item, own_id, *found))
            self._draw_lamps(item, light, mirrored=False)
        boxes = []
        for item, own_id, window, pixels, xyxy in seen:
            share = cv2.countNonZero(_pixels_of(framebuffer.ids[window], own_id)) / pixels
            if share >= _VISIBLE and xyxy[3] - xyxy[1] >= self._smallest_px:
                boxes.append(GroundTruthBox(item.label, xyxy, share, item.pose.distance_m, item.ident))
        return boxes

    def _may_have_box(self, item: SceneObject, raster: RasterPolygons) -> bool:
        """Return whether an object may be near and high enough for the ground truth, by its bounds."""
        if item.pose.distance_m > _FARTHEST_M or raster.left_px >= raster.right_px:
            return False
        # One pixel of margin, as the exact box is computed later.
        return raster.foot_px - raster.top_px + 1.0 >= self._smallest_px

    def _silhouette(
        self, raster: RasterPolygons, own_id: int
    ) -> tuple[tuple[slice, slice], int, tuple[float, float, float, float]] | None:
        """Return window, pixel count and box of the object just drawn, None if none of it is in the image."""
        framebuffer = self._framebuffer
        window = framebuffer.window_between(
            raster.left_px - 1.0, raster.top_px - 1.0, raster.right_px + 1.0, raster.foot_px + 1.0
        )
        if window is None:
            return None
        own = _pixels_of(framebuffer.ids[window], own_id)
        pixels = cv2.countNonZero(own)
        if pixels == 0:
            return None
        width, height = self.camera.width_px, self.camera.height_px
        left, top, right, bottom = (
            value + 0.5 for value in (raster.left_px, raster.top_px, raster.right_px, raster.foot_px)
        )
        if left < 0.0 or top < 0.0 or right > width or bottom > height:
            # Clipped by the image's edge, perhaps at its widest part: use the remaining pixels.
            x, y, w, h = cv2.boundingRect(own)
            x, y = x + window[1].start, y + window[0].start
            left, right = max(left, float(x)), min(right, float(x + w))
            top, bottom = max(top, float(y)), min(bottom, float(y + h))
        return window, pixels, (left, top, right, bottom)

    def _draw_lamps(self, item: SceneObject, light: Light, *, mirrored: bool) -> None:
        """Add the halos of an object's lamps, or their reflections on the road."""
        for lamp in item.lamps:
            pose = item.pose
            cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
            x, y, z = lamp.position_m
            forward = pose.forward_m + cos * x - sin * y
            left = pose.left_m + sin * x + cos * y
            away = math.hypot(forward, left)
            facing = 1.0
            if lamp.direction != (0.0, 0.0):
                direction = (
                    cos * lamp.direction[0] - sin * lamp.direction[1],
                    sin * lamp.direction[0] + cos * lamp.direction[1],
                )
                facing = -(direction[0] * forward + direction[1] * left) / max(away, 1e-6)
            if facing < 0.1 or forward < 1.0:
                continue
            up = (-z if mirrored else z) - self.camera.z_m
            column, row, _ = self.camera.pixel_of(forward, left, up)
            radius_px = lamp.radius_m * self.camera.focal_px / away
            strength = facing * (1.0 - float(light.haze_share(away)) * 0.5)
            color = tuple(int(value * strength) & ~7 for value in lamp.color)
            tint = (color[0], color[1], color[2])
            if not mirrored:
                effects.add_halo(self._framebuffer.image, column, row, max(radius_px, 2.0), tint)
            else:
                gain = 0.5 * light.wet
                weak = (int(tint[0] * gain), int(tint[1] * gain), int(tint[2] * gain))
                foot = row + 1.5 * radius_px + 12.0
                effects.add_streak(
                    self._framebuffer.image, column, row - 2.0 * radius_px, foot, 0.35 * radius_px, weak
                )

    def _apply_weather(self, scene: Scene, context: RenderContext) -> None:
        image, weather = self._framebuffer.image, scene.weather
        frame = int(round(scene.time_s * 1000.0))
        rng = np.random.default_rng([scene.seed & 0xFFFFFFFF, frame])
        effects.add_turn_blur(image, self.camera, scene)
        if weather.rain > 0.0:
            # The wiper clears the drops every 1.2 s.
            lens = np.random.default_rng([scene.seed & 0xFFFFFFFF, int(scene.time_s / 1.2), 1])
            effects.add_rain(image, weather.rain, rng, lens)
        if weather.glare > 0.0:
            effects.add_glare(self._framebuffer, context.sun, weather.glare)
        effects.add_sensor_noise(image, weather.noise_std, rng)
