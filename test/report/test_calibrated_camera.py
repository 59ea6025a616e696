# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A path is drawn where a camera with this camera_info sees it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.image.intrinsics import Intrinsics
from ad_compressed_perception.report.calibrated_camera import CalibratedCamera
from ad_road_simulation.world.camera import Camera

ROAD_CAMERA = Camera()


def drawing_camera(intrinsics: Intrinsics | None) -> CalibratedCamera:
    """Return the road camera, mounted as it is."""
    pitch_deg = math.degrees(ROAD_CAMERA.pitch_rad)
    return CalibratedCamera(
        height_m=ROAD_CAMERA.z_m,
        pitch_deg=pitch_deg,
        forward_m=ROAD_CAMERA.x_m,
        intrinsics=intrinsics,
    )


def on_road(points: list[tuple[float, float]]) -> np.ndarray:
    return np.array(points, np.float64).reshape(-1, 2)


@given(
    points=st.lists(st.tuples(st.floats(4.0, 80.0), st.floats(-3.0, 3.0)), min_size=1, max_size=8),
    scale=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_road_points_are_where_the_road_camera_sees_them(
    points: list[tuple[float, float]], scale: float
) -> None:
    """The simulation projects them with code of its own; a scaled image has scaled pixels."""
    intrinsics = Intrinsics(ROAD_CAMERA.matrix, 640, 360)

    found = drawing_camera(intrinsics).project(on_road(points), round(640 * scale), round(360 * scale))

    seen, _ = ROAD_CAMERA.project_base_link(np.column_stack([on_road(points), np.zeros(len(points))]))
    np.testing.assert_allclose(found, (seen + 0.5) * scale - 0.5, atol=1e-6)


def test_the_assumed_camera_is_far_off() -> None:
    """Why camera_info matters: 10 m ahead and 2 m to the left the assumed lens is 10 pixels off or more."""
    point = on_road([(10.0, 2.0)])

    assumed = drawing_camera(None).project(point, 640, 360)
    real = drawing_camera(Intrinsics(ROAD_CAMERA.matrix, 640, 360)).project(point, 640, 360)

    assert np.abs(assumed - real).max() > 10.0


@pytest.mark.parametrize("model", ["plumb_bob", "equidistant"])
def test_a_distorted_lens_bends_the_edge_and_not_the_middle(model: str) -> None:
    coefficients = (-0.3, 0.1, 0.0, 0.0, 0.0) if model == "plumb_bob" else (0.0, 0.0, 0.0, 0.0)
    straight = drawing_camera(Intrinsics(ROAD_CAMERA.matrix, 640, 360))
    bent = drawing_camera(Intrinsics(ROAD_CAMERA.matrix, 640, 360, model, coefficients))
    ahead, beside = on_road([(60.0, 0.0)]), on_road([(6.0, 2.5)])

    assert np.abs(bent.project(ahead, 640, 360) - straight.project(ahead, 640, 360)).max() < 0.5
    # Both lenses draw what is beside the axis nearer to it.
    axis = np.array(ROAD_CAMERA.center_px)
    distance = [float(np.linalg.norm(each.project(beside, 640, 360)[0] - axis)) for each in (bent, straight)]
    assert distance[0] < distance[1] - 10.0


def test_points_behind_and_far_beside_have_no_pixel() -> None:
    """A distortion polynomial leads them back into the image."""
    camera = drawing_camera(Intrinsics(ROAD_CAMERA.matrix, 640, 360, "plumb_bob", (-0.3, 0.1, 0, 0, 0)))

    assert camera.project(on_road([(0.0, 0.0), (3.0, 40.0)]), 640, 360).shape == (0, 2)


def test_camera_info_gives_the_intrinsics() -> None:
    pytest.importorskip("sensor_msgs")
    from std_msgs.msg import Header

    from ad_compressed_perception.messages.camera import from_camera_info, to_camera_info

    message = to_camera_info(ROAD_CAMERA.matrix, 640, 360, Header())
    read = from_camera_info(message)
    np.testing.assert_array_equal(read.matrix, ROAD_CAMERA.matrix)
    assert (read.width, read.height, read.distortion) == (640, 360, ())

    message.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    assert from_camera_info(message).distortion[0] == -0.3
    assert from_camera_info(message, rectified=True).distortion == ()
    message.distortion_model = "fisheye of another kind"
    with pytest.raises(DataError, match="fisheye of another kind"):
        from_camera_info(message)
    message.k = [0.0] * 9
    with pytest.raises(DataError, match="not calibrated"):
        from_camera_info(message)
