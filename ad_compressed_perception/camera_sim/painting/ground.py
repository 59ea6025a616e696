# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground: grass, pavement, kerbs, asphalt and the paint on it, with a grain that stays where it is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import Camera
from ad_compressed_perception.camera_sim.painting import noise
from ad_compressed_perception.camera_sim.painting.canvas import Canvas
from ad_compressed_perception.camera_sim.painting.figures import Viewpoint
from ad_compressed_perception.camera_sim.painting.light import Light, mix
from ad_compressed_perception.camera_sim.scene import Scene

Array = NDArray[np.float64]

GRASS, ROAD, CURB, MARKING, PAVEMENT = 0, 1, 2, 3, 4
"""Materials; the first four are the ids of MASK_LABELS."""

_KERB_UP_M = 0.08
_GUTTER_M = 0.12
_FAR_M = 190.0
# Cell sizes of the two grains, and over which distances each is seen.
_FINE_M, _COARSE_M = 0.02, 0.14
_AHEAD_M = np.concatenate([np.arange(-8.0, 30.0, 1.5), np.geomspace(30.0, _FAR_M, 28)])
_LINE_FAR_M = 120.0
_DASH_M, _GAP_M = 3.0, 6.0

_GRASS_BGR = np.array([62.0, 112.0, 92.0])
_ASPHALT_BGR = np.array([98.0, 95.0, 93.0])
_WORN_BGR = np.array([106.0, 103.0, 101.0])
_GUTTER_BGR = np.array([128.0, 126.0, 122.0])
_STONE_BGR = np.array([172.0, 176.0, 178.0])
_PAVEMENT_BGR = np.array([142.0, 148.0, 152.0])
_PAINT_BGR = np.array([222.0, 224.0, 224.0])
_AMPLITUDE = np.array([1.0, 0.55, 0.4, 0.45, 0.5], np.float32)


class GroundPainter:
    """Paints what lies flat. It keeps what depends on the camera only."""

    def __init__(self, camera: Camera) -> None:
        """Find out which rows see how far."""
        self._camera = camera
        self._first = int(np.floor(camera.horizon_px)) + 1
        rows = np.arange(self._first, camera.height_px) - camera.centre_px[1]
        below = np.arctan2(rows, camera.focal_px) + camera.pitch_rad
        self._away_m = camera.z_m / np.tan(np.maximum(below, 1e-4))
        # Grain is seen as long as a pixel does not cover several of its cells.
        fine = np.clip(1.4 - self._away_m / 12.0, 0.0, 1.0)
        coarse = np.clip(1.25 - self._away_m / 70.0, 0.0, 1.0)
        self._fine = (fine / 128.0).astype(np.float32)[:, None]
        self._coarse = (coarse / 128.0).astype(np.float32)[:, None, None]
        self._fine_from = int(np.argmax(fine > 0.0))
        self._coarse_from = int(np.argmax(coarse > 0.0))
        self._headlights = self._cone()

    @property
    def first_row(self) -> int:
        """The first row below the horizon."""
        return self._first

    def _cone(self) -> NDArray[np.float32]:
        """Return the gain of the ego's own headlights on every pixel of the ground."""
        columns = (np.arange(self._camera.width_px) - self._camera.centre_px[0]) / self._camera.focal_px
        away = self._away_m[:, None]
        beam = np.exp(-((columns[None, :] + 0.02) ** 2) / 0.09) * np.exp(-((away - 9.0) ** 2) / 250.0)
        return (1.5 * beam + 0.25 * np.exp(-away / 12.0)).astype(np.float32)

    def lay(self, canvas: Canvas, scene: Scene, view: Viewpoint, light: Light) -> None:
        """Paint the flat colours and the materials."""
        flat = light.flat
        canvas.image[self._first :] = np.clip(_GRASS_BGR * flat, 0, 255).astype(np.uint8)
        profile = scene.road.profile
        near = np.array([scene.ego_s_m]) + _AHEAD_M
        along = near[(near > 0.0) & (near < scene.road.length_m)]
        if len(along) < 2:
            return

        def strip(
            right_d: float, left_d: float, right_up: float = 0.0, left_up: float = 0.0
        ) -> list[NDArray[np.int32]]:
            sides = view.local(scene.road.points(along[:, None], np.array([[right_d, left_d]])))
            outline = np.concatenate([sides[:, 0], sides[::-1, 1]])
            up = np.concatenate([np.full(len(along), right_up), np.full(len(along), left_up)])
            polygon = canvas.ground_polygon(outline, up)
            return [] if polygon is None else [polygon]

        def paint(colour: Array, gain: Array) -> tuple[float, float, float]:
            blue, green, red = np.clip(colour * gain, 0, 255).tolist()
            return blue, green, red

        right, left, curb, walk = profile.right_m, profile.left_m, profile.curb_width_m, profile.walk_width_m
        up = _KERB_UP_M
        canvas.fill_ground(
            strip(right - curb - walk, right - curb, up, up) + strip(left + curb, left + curb + walk, up, up),
            paint(_PAVEMENT_BGR, flat),
            PAVEMENT,
        )
        canvas.fill_ground(strip(right - 0.05, left + 0.05), paint(_ASPHALT_BGR, flat), ROAD)
        self._wear(canvas, scene, strip, paint(_WORN_BGR, flat))
        gutter = strip(right - _GUTTER_M, right) + strip(left, left + _GUTTER_M)
        canvas.fill_ground(gutter, paint(_GUTTER_BGR, flat), CURB)
        faces = strip(right - _GUTTER_M, right - _GUTTER_M, up, 0.0) + strip(
            left + _GUTTER_M, left + _GUTTER_M, 0.0, up
        )
        canvas.fill_ground(faces, paint(_STONE_BGR, light.ambient * 0.8), CURB)
        tops = strip(right - curb, right - _GUTTER_M, up, up) + strip(left + _GUTTER_M, left + curb, up, up)
        canvas.fill_ground(tops, paint(_STONE_BGR, flat), CURB)
        self._joints(canvas, scene, view, paint(_STONE_BGR * 0.55, flat))
        self._markings(canvas, scene, view, light)

    def _wear(self, canvas: Canvas, scene: Scene, strip, colour: tuple[float, float, float]) -> None:  # type: ignore[no-untyped-def]
        """Paint the lighter tracks of the wheels into every lane."""
        profile = scene.road.profile
        lanes = [profile.lane_centre_m(lane) for lane in range(profile.lanes_ahead)]
        lanes += [profile.lane_centre_m(lane, oncoming=True) for lane in range(profile.lanes_oncoming)]
        tracks: list[NDArray[np.int32]] = []
        for lane in lanes:
            for track in (lane - 0.8, lane + 0.8):
                tracks += strip(track - 0.3, track + 0.3)
        canvas.fill_ground(tracks, colour, ROAD)

    def _joints(
        self, canvas: Canvas, scene: Scene, view: Viewpoint, colour: tuple[float, float, float]
    ) -> None:
        """Paint the joints between the kerb stones and across the pavement, as far as one sees them."""
        profile = scene.road.profile
        first = np.ceil(scene.ego_s_m)
        at = np.arange(first, first + 26.0, 1.0)
        lines: list[NDArray[np.int32]] = []
        for side, edge in ((-1.0, profile.right_m), (1.0, profile.left_m)):
            d = edge + side * np.array([[_GUTTER_M, profile.curb_width_m]])
            ends = view.local(scene.road.points(at[:, None], d))
            for pair in ends:
                if pair[:, 0].min() > 1.5:
                    quad = np.concatenate([pair, pair[::-1] + [0.025, 0.0]])
                    polygon = canvas.ground_polygon(quad, _KERB_UP_M)
                    lines += [] if polygon is None else [polygon]
        canvas.fill_ground(lines, colour, CURB)

    def _markings(self, canvas: Canvas, scene: Scene, view: Viewpoint, light: Light) -> None:
        road, half = scene.road, 0.5 * scene.road.profile.line_width_m
        outlines: list[NDArray[np.int32]] = []
        low, high = scene.ego_s_m - 6.0, scene.ego_s_m + _LINE_FAR_M

        def add(s: Array, right_d: Array | float, left_d: Array | float) -> None:
            sides = view.local(road.points(s[:, None], np.array([[right_d, left_d]])))
            polygon = canvas.ground_polygon(np.concatenate([sides[:, 0], sides[::-1, 1]]))
            if polygon is not None:
                outlines.append(polygon)

        for marking in scene.markings:
            begin, end = max(marking.s_from_m, low), min(marking.s_to_m, high)
            if end <= begin:
                continue
            if marking.kind == "solid":
                s = scene.ego_s_m + _AHEAD_M
                s = np.concatenate([[begin], s[(s > begin) & (s < end)], [end]])
                add(s, marking.d_from_m - half, marking.d_from_m + half)
            elif marking.kind == "dashed":
                period = _DASH_M + _GAP_M
                skipped = np.floor((begin - marking.s_from_m) / period) * period
                for start in np.arange(marking.s_from_m + skipped, end, period):
                    stop = min(start + _DASH_M, marking.s_to_m)
                    if stop > start:
                        s = np.linspace(start, stop, 4)
                        add(s, marking.d_from_m - half, marking.d_from_m + half)
            elif marking.kind == "crossing":
                for right in np.arange(marking.d_from_m, marking.d_to_m - 0.25, 1.0):
                    add(np.linspace(begin, end, 4), right, min(right + 0.5, marking.d_to_m))
            else:
                add(np.array([begin, end]), marking.d_from_m, marking.d_to_m)
        colour = np.clip(_PAINT_BGR * light.flat, 0, 255).tolist()
        # One by one: a stop line may touch a line along the road, and where two overlap both are paint.
        for outline in outlines:
            canvas.fill_ground([outline], (colour[0], colour[1], colour[2]), MARKING)

    def texture(
        self, canvas: Canvas, view: Viewpoint, light: Light, shade: NDArray[np.uint8], blur_m: float
    ) -> None:
        """Lay grain, shadows, headlights and haze over the flat colours.

        Args:
            canvas: with the flat colours and the materials.
            view: of the camera.
            light: of the weather.
            shade: (H, W) how much of the light is taken away, 255 all.
            blur_m: distance driven while the shutter is open.
        """
        first = self._first
        amplitude = cv2.LUT(canvas.ground[first:], self._amplitudes(light))
        factor = np.zeros((*amplitude.shape, 3), np.float32)
        begin = self._coarse_from
        coarse = self._warp(noise.patches(), _COARSE_M, view, first + begin).astype(np.float32)
        coarse -= 128.0
        coarse *= self._coarse[begin:]
        factor[begin:] = coarse
        begin = self._fine_from
        fine = self._warp(noise.grain(), _FINE_M, view, first + begin)
        fine = self._blurred(fine, begin, blur_m).astype(np.float32)
        fine -= 128.0
        fine *= self._fine[begin:]
        factor[begin:] += fine[..., None]
        factor *= amplitude[..., None]
        lit = shade[first:].astype(np.float32)
        lit *= -1.0 / 255.0
        lit += 1.0
        if light.night > 0.0:
            lit += light.night * self._headlights
        factor += 1.0
        factor *= lit[..., None]
        cv2.multiply(canvas.image[first:], factor, dst=canvas.image[first:], dtype=cv2.CV_8U)
        self._haze(canvas, light)

    def _amplitudes(self, light: Light) -> NDArray[np.float32]:
        table = np.zeros((1, 256), np.float32)
        table[0, : len(_AMPLITUDE)] = _AMPLITUDE * (1.0 - 0.3 * light.wet)
        return table

    def _warp(
        self, texture: NDArray[np.uint8], cell_m: float, view: Viewpoint, row: int
    ) -> NDArray[np.uint8]:
        """Return the texture on the ground as the rows from ``row`` on see it."""
        camera = self._camera
        cos, sin = np.cos(view.heading_rad), np.sin(view.heading_rad)
        period = texture.shape[0] * cell_m
        x, y = view.x_m % period, view.y_m % period
        # Forward and left of the camera at scale 1, from pixels: the ground is where up is -z_m.
        across, down = camera.centre_px
        tilt_cos, tilt_sin = np.cos(camera.pitch_rad), np.sin(camera.pitch_rad)
        rays = np.array([[1.0, 0.0, -across], [0.0, 1.0, row - down], [0.0, 0.0, camera.focal_px]])
        ahead = tilt_cos * rays[2] - tilt_sin * rays[1]
        fall = tilt_cos * rays[1] + tilt_sin * rays[2]
        forward, left, scale = ahead * camera.z_m, -rays[0] * camera.z_m, fall
        east = cos * forward - sin * left + x * scale
        north = sin * forward + cos * left + y * scale
        matrix = np.stack([east / cell_m, north / cell_m, scale])
        size = (camera.width_px, camera.height_px - row)
        return np.asarray(
            cv2.warpPerspective(
                texture,
                matrix,
                size,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_WRAP,
            ),
            np.uint8,
        )

    def _blurred(self, fine: NDArray[np.uint8], begin: int, blur_m: float) -> NDArray[np.uint8]:
        """Smear the fine grain along the way driven, in three bands."""
        away = self._away_m[begin:]
        moved = self._camera.focal_px * self._camera.z_m / away**2 * blur_m
        edges = np.linspace(0, len(fine), 4).astype(int)
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            size = int(moved[(low + high) // 2 : high].min()) | 1 if high > low else 1
            if size >= 3:
                fine[low:high] = cv2.blur(fine[low:high], (1, size))
        return fine

    def _haze(self, canvas: Canvas, light: Light) -> None:
        share = light.haze_share(self._away_m)
        rows = int(np.count_nonzero(share > 0.02))
        band = canvas.image[self._first : self._first + rows]
        band[:] = mix(band, light.haze, share[:rows, None, None]).astype(np.uint8)
