# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera and renderer: positions in the image, and their agreement with the ground truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_road_simulation.renderer.renderer import GroundTruthBox, RenderedImage, Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.scene import LABELS, MASK_LABELS, Actor, RoadsideObject, Scene, Weather
from support.scenes import (
    CLEAR,
    actor_at,
    curved_road,
    light_at,
    rich_scene,
    scene_on,
    sign_at,
    straight_road,
)

CAMERA = Camera()
BACKGROUND, ROAD, CURB, MARKING = range(len(MASK_LABELS))


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(CAMERA)


def pose_of(scene: Scene) -> tuple[float, float, float]:
    return scene.ego_x_m, scene.ego_y_m, scene.ego_heading_rad


def place(scene: Scene, ahead_m: float, d_m: float, camera: Camera = CAMERA) -> tuple[int, int]:
    """Return row and column of a point on the road."""
    x, y = scene.road.points(scene.ego_s_m + ahead_m, d_m)
    pixels, _ = camera.project(np.array([[x, y, 0.0]]), pose_of(scene))
    return round(float(pixels[0, 1])), round(float(pixels[0, 0]))


def box_of(image: RenderedImage, label: str) -> GroundTruthBox:
    (box,) = [box for box in image.boxes if box.label == label]
    return box


def test_distant_points_at_camera_height_project_to_the_horizon() -> None:
    # As high as the camera, straight ahead: the horizon is 42 percent down, pixels counted at their middles.
    pixels, depth = CAMERA.project_base_link(np.array([[1.9 + 1e6, 0.0, 1.35]]))

    np.testing.assert_allclose(pixels[0], [319.5, 0.42 * 360 - 0.5], atol=0.01)
    assert depth[0] > 0.99e6


def test_projection_matches_a_hand_calculation() -> None:
    # Without pitch, 10 m ahead, 2 m to the left and 1 m below the camera: 457 * 2 / 10 pixels to the left of
    # the middle and 457 * 1 / 10 below it.
    level = Camera(horizon_share=0.5)

    pixels, depth = level.project_base_link(np.array([[11.9, 2.0, 0.35]]))

    np.testing.assert_allclose(pixels[0], [319.5 - 91.4, 179.5 + 45.7])
    np.testing.assert_allclose(depth, [10.0])
    np.testing.assert_allclose(level.matrix, [[457.0, 0.0, 319.5], [0.0, 457.0, 179.5], [0.0, 0.0, 1.0]])


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels, depth = CAMERA.project_base_link(np.array([[-5.0, 0.0, 0.0], [8.0, 0.0, 0.0]]))

    assert np.isnan(pixels[0]).all() and np.isfinite(pixels[1]).all()
    assert depth[0] < 0.0


def test_projection_depends_on_the_ego_pose() -> None:
    # The ego stands at (3, 4) and looks along y: 10 m ahead of it is (3, 14).
    seen, _ = CAMERA.project(np.array([[3.0, 14.0, 0.0]]), (3.0, 4.0, np.pi / 2))
    ahead, _ = CAMERA.project_base_link(np.array([[10.0, 0.0, 0.0]]))

    np.testing.assert_allclose(seen, ahead)


@pytest.mark.parametrize("weather", ["day", "dusk", "rain", "glare"])
def test_rendering_is_deterministic(renderer: Renderer, weather: str) -> None:
    air = {
        "day": Weather(),
        "dusk": Weather("dusk", brightness=0.3, sun_elevation_rad=0.05, exposure_s=0.015, noise_std=5.0),
        "rain": Weather("rain", brightness=0.6, rain=0.8, visibility_m=150.0),
        "glare": Weather("glare", sun_azimuth_rad=0.1, sun_elevation_rad=0.2, glare=0.8),
    }[weather]
    scene = replace(rich_scene(weather=air), ego_yaw_rate_radps=0.4)

    first = renderer.render(scene)
    renderer.render(replace(scene, time_s=2.0, seed=9))
    second, other = renderer.render(scene), Renderer(CAMERA).render(scene)

    np.testing.assert_array_equal(first.image_bgr, second.image_bgr)
    np.testing.assert_array_equal(first.image_bgr, other.image_bgr)
    np.testing.assert_array_equal(first.mask, other.mask)
    assert first.boxes == second.boxes == other.boxes and len(first.boxes) > 5
    # An image, not a single color; and the sensor's noise differs from image to image.
    assert first.image_bgr.std() > 10.0
    assert (renderer.render(replace(scene, time_s=1.1)).image_bgr != first.image_bgr).any()


@pytest.mark.parametrize("kind", ["car", "truck", "bus", "person"])
@pytest.mark.parametrize("turn_rad", [0.0, 0.7, np.pi])
def test_box_matches_the_projected_actor(renderer: Renderer, kind: str, turn_rad: float) -> None:
    road = straight_road()
    actor = replace(actor_at(road, kind, 24.0, -1.0, turn_rad=turn_rad), speed_mps=0.0)  # type: ignore[arg-type]
    scene = scene_on(road, actors=(actor,))

    box = box_of(renderer.render(scene), kind)

    corners, _ = CAMERA.project(corners_of(actor), pose_of(scene))
    left, top = corners.min(axis=0) + 0.5
    right, bottom = corners.max(axis=0) + 0.5
    # Within 2 pixels, except where bodies do not fill their bounding box: corners are rounded, the silhouette
    # of a turned actor is narrower, and the wheels of long vehicles are well inside.
    slack = 0.2 * (right - left) if turn_rad == 0.7 or kind == "person" else 2.0
    assert left - 2.0 <= box.xyxy[0] <= left + slack
    assert right - slack <= box.xyxy[2] <= right + 2.0
    # Roofs are behind the front of the box, a truck's far behind its cab.
    assert top - 2.0 <= box.xyxy[1] <= top + 2.0 + (0.08 if kind == "truck" else 0.03) * (bottom - top)
    overhang = 0.06 * (bottom - top) if kind in ("bus", "truck") else 0.0
    assert bottom - 2.0 - overhang <= box.xyxy[3] <= bottom + 2.0
    assert box.visible_share == 1.0 and box.ident == actor.ident
    # From the camera, 1.9 m ahead of the rear axle and 0.75 m to the right of the actor.
    assert box.distance_m == pytest.approx(np.hypot(24.0 - 1.9, 0.75), abs=1e-6)


def corners_of(actor: Actor) -> np.ndarray:
    cos, sin = np.cos(actor.heading_rad), np.sin(actor.heading_rad)
    corners = []
    for along in (-0.5, 0.5):
        for across in (-0.5, 0.5):
            x, y = along * actor.length_m, across * actor.width_m
            for z in (0.0, actor.height_m):
                corners.append((actor.x_m + cos * x - sin * y, actor.y_m + sin * x + cos * y, z))
    return np.array(corners)


def test_a_person_behind_a_car_is_occluded_increasingly(renderer: Renderer) -> None:
    road = straight_road()
    car = actor_at(road, "car", 12.0, -1.75, ident=1)
    shares = []
    # From beside the car to behind its middle.
    for d in (-4.4, -3.4, -1.75):
        person = actor_at(road, "person", 18.0, d, ident=2, turn_rad=np.pi / 2)
        boxes = renderer.render(scene_on(road, actors=(car, person))).boxes
        shares.append(next((box.visible_share for box in boxes if box.ident == 2), 0.0))

    assert shares[0] == 1.0
    assert 0.3 <= shares[1] < 0.95
    # Only the head is above the roof, less than the minimum visible share of 0.3.
    assert shares[2] == 0.0


def test_a_person_in_front_of_a_car_occludes_a_part_of_it(renderer: Renderer) -> None:
    road = straight_road()
    car = actor_at(road, "car", 18.0, -1.75, ident=1)
    person = actor_at(road, "person", 12.0, -1.75, ident=2)

    boxes = {box.ident: box for box in renderer.render(scene_on(road, actors=(car, person))).boxes}

    assert boxes[2].visible_share == 1.0
    assert 0.5 < boxes[1].visible_share < 0.9


def test_a_person_beside_a_long_vehicle_is_drawn_last(renderer: Renderer) -> None:
    # The bus is nearer by its center, but the person is in front of its side.
    road = straight_road()
    bus = actor_at(road, "bus", 16.0, 3.4, ident=1)
    person = actor_at(road, "person", 20.5, 1.7, ident=2)

    boxes = {box.ident: box for box in renderer.render(scene_on(road, actors=(person, bus))).boxes}

    assert boxes[2].visible_share == 1.0


@pytest.mark.parametrize("road", [straight_road(), curved_road()], ids=["straight", "bend"])
def test_mask_has_the_material_of_each_point(renderer: Renderer, road: object) -> None:
    scene = scene_on(road)  # type: ignore[arg-type]
    mask = renderer.render(scene).mask
    assert mask is not None

    assert mask[place(scene, 12.0, -1.75)] == ROAD
    # 100 m is 1 m into the ninth period of 9 m: paint from 108 to 111, so 9.5 m ahead.
    assert mask[place(scene, 9.5, 0.0)] == MARKING
    assert mask[place(scene, 13.0, 0.0)] == ROAD
    assert mask[place(scene, 10.0, -3.25)] == MARKING
    assert mask[place(scene, 20.2, -1.75)] == MARKING
    # The crossing's stripes begin at the right edge: the first from -3.5 to -3.0, a gap to -2.5.
    assert mask[place(scene, 23.5, -2.25)] == MARKING
    assert mask[place(scene, 23.5, -2.75)] == ROAD
    # Curb from -3.5 to -3.85, then sidewalk, then grass.
    assert mask[place(scene, 10.0, -3.65)] == CURB
    assert mask[place(scene, 14.0, -5.0)] == BACKGROUND
    assert mask[place(scene, 25.0, -9.0)] == BACKGROUND
    assert (mask[: int(CAMERA.horizon_px)] == BACKGROUND).all()


def test_objects_on_the_road_are_background_in_the_mask(renderer: Renderer) -> None:
    road = straight_road()
    scene = scene_on(road, actors=(actor_at(road, "car", 12.0, -1.75),))

    image = renderer.render(scene)

    left, top, right, bottom = box_of(image, "car").xyxy
    assert image.mask is not None
    assert image.mask[int(0.5 * (top + bottom)), int(0.5 * (left + right))] == BACKGROUND


def test_markings_of_image_and_mask_agree(renderer: Renderer) -> None:
    # A dash of white paint on dark asphalt, from 8 to 11 m ahead, row by row without its ends.
    scene = scene_on(straight_road())
    image = renderer.render(scene)
    assert image.mask is not None
    wider = []
    for row in range(place(scene, 10.6, 0.0)[0], place(scene, 8.4, 0.0)[0]):
        column = int(np.median(np.flatnonzero(image.mask[row, 150:300] == MARKING))) + 150
        gray = image.image_bgr[row, column - 25 : column + 26].mean(axis=1)
        is_paint = image.mask[row, column - 25 : column + 26] == MARKING
        share = np.clip((gray - np.median(gray[~is_paint])) / np.ptp(gray), 0.0, 1.0)
        # Paint is never dark, and the next but one pixel beside it is never bright.
        assert is_paint.sum() > 8 and (share[is_paint] > 0.4).all()
        beside = np.convolve(is_paint, np.ones(3), "same") > 0
        assert (share[~beside] < 0.5).all()
        around = beside | (np.convolve(beside, np.ones(3), "same") > 0)
        wider.append(0.5 * float((share[around] > 0.5).sum() - is_paint.sum()))

    # On the average of 30 rows the edges lie less than half a pixel apart.
    assert len(wider) > 20 and abs(float(np.mean(wider))) < 0.5


@pytest.mark.parametrize(("state", "channel"), [("red", 2), ("green", 1)])
def test_a_lit_lens_shows_its_color(renderer: Renderer, state: str, channel: int) -> None:
    # 50 m away a lens is 2 pixels wide, and yet its color is there.
    road = straight_road()
    image = renderer.render(scene_on(road, lights=(light_at(road, 50.0, -4.5, state),)))  # type: ignore[arg-type]

    left, top, right, bottom = (round(value) for value in box_of(image, "traffic light").xyxy)
    inside = image.image_bgr[top:bottom, left:right].astype(int)
    strongest = inside[..., channel] - np.delete(inside, channel, axis=-1).max(axis=-1)
    assert strongest.max() > 60
    # Red is above green.
    row = int(np.unravel_index(strongest.argmax(), strongest.shape)[0])
    assert (row < inside.shape[0] / 2) == (state == "red")


def test_traffic_lights_facing_away_have_no_box(renderer: Renderer) -> None:
    road = straight_road()

    image = renderer.render(scene_on(road, lights=(light_at(road, 20.0, 4.5, "red", faces_ego=False),)))

    assert image.boxes == ()


def test_a_stop_sign_is_red_in_its_box(renderer: Renderer) -> None:
    road = straight_road()

    image = renderer.render(scene_on(road, signs=(sign_at(road, 15.0, -4.5),)))

    left, top, right, bottom = box_of(image, "stop sign").xyxy
    # 0.75 m at 13.1 m.
    assert right - left == pytest.approx(457.0 * 0.75 / 13.1, abs=1.5)
    pixel = image.image_bgr[int(0.75 * bottom + 0.25 * top), int(0.5 * (left + right))].astype(int)
    assert pixel[2] > pixel[:2].max() + 40


def test_distant_and_small_objects_have_no_box(renderer: Renderer) -> None:
    road = straight_road()
    # A person of 1.75 m is 8.9 pixels high at 90 m and 8 at 100 m; a light's head of 1.27 m is 8 at 73 m.
    near, far = actor_at(road, "car", 91.0, 1.75, ident=1), actor_at(road, "truck", 93.0, -1.75, ident=2)
    lights = (light_at(road, 60.0, -4.5, "red", ident=3), light_at(road, 85.0, 4.5, "red", ident=4))

    boxes = renderer.render(scene_on(road, actors=(near, far), lights=lights)).boxes

    # The car at 89 m is less than 8 pixels high, the truck is beyond 90 m, the second light is too small.
    assert {box.ident for box in boxes} == {3}


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (320, 180), (640, 480)])
def test_other_image_sizes_show_the_same_scene(width: int, height: int) -> None:
    camera, scene = Camera(width_px=width, height_px=height), rich_scene(weather=CLEAR)

    image = Renderer(camera).render(scene)

    assert image.image_bgr.shape == (height, width, 3) and image.image_bgr.dtype == np.uint8
    assert image.mask is not None and image.mask.shape == (height, width)
    assert image.mask[place(scene, 8.0, -2.5, camera)] == ROAD
    assert "traffic light" in {box.label for box in image.boxes}


@pytest.mark.parametrize("weather", [Weather(), Weather("glare", 0.0, 0.1, glare=0.7)], ids=["day", "glare"])
def test_without_ground_truth_the_image_is_the_same(renderer: Renderer, weather: Weather) -> None:
    scene = rich_scene(weather=weather)

    plain, full = renderer.render(scene, with_ground_truth=False), renderer.render(scene)

    np.testing.assert_array_equal(plain.image_bgr, full.image_bgr)
    assert plain.boxes == () and plain.mask is None


numbers = st.floats(-1.0, 1.0)


@st.composite
def crowds(draw: st.DrawFn) -> Scene:
    """Return a scene with people and vehicles anywhere, also around and behind the camera, and a house."""
    road = straight_road()
    actors = [
        actor_at(
            road,
            draw(st.sampled_from(LABELS[:6])),
            12.0 + 14.0 * draw(numbers),
            8.0 * draw(numbers),  # type: ignore[arg-type]
            turn_rad=4.0 * draw(numbers),
            ident=index,
            seed=draw(st.integers(0, 2**31)),
        )
        for index in range(draw(st.integers(1, 4)))
    ]
    house = RoadsideObject(
        "building",
        100.0 + 25.0 * draw(numbers),
        20.0 * draw(numbers),
        draw(numbers),
        14.0,
        9.0,
        12.0,
        (150, 170, 190),
        3,
    )
    scene = scene_on(road, actors=tuple(actors), roadside_objects=(house,))
    return replace(scene, ego_heading_rad=3.0 * draw(numbers))


@settings(max_examples=60, deadline=None)
@given(scene=crowds())
def test_boxes_lie_in_the_image(scene: Scene) -> None:
    image = SHARED.render(scene)

    assert image.mask is not None and image.mask.max() < len(MASK_LABELS)
    for box in image.boxes:
        left, top, right, bottom = box.xyxy
        assert 0.0 <= left < right <= CAMERA.width_px and 0.0 <= top < bottom <= CAMERA.height_px
        assert bottom - top >= 8.0 and 0.3 <= box.visible_share <= 1.0 and box.distance_m <= 90.0


SHARED = Renderer(CAMERA)
