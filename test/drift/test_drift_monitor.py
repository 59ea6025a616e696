# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From frames to alarms: what did not change raises none, and what changed is named."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from ad_compressed_perception.core.errors import DataError, ManifestError
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.drift.causes import cause
from ad_compressed_perception.drift.figures import FIRST_ALARMS, Columns, joint_names
from ad_compressed_perception.drift.frame_statistics import StatisticsReader, image_names
from ad_compressed_perception.drift.monitor import CLEAR_S, Alarm, DriftMonitor
from ad_compressed_perception.drift.reference import DriftReference, GumbelTail, block_s
from ad_compressed_perception.drift.reference_builder import ReferenceBuilder, gumbel
from ad_compressed_perception.image.decode import Frame

Image = NDArray[np.uint8]
LABELS = ("car",)
PERIOD_S = 0.2
SHA = "a" * 64


class Street:
    """A drive whose frames are correlated: textured ground under a bluish sky moves past a noisy camera.

    Light, contrast, tints and fine detail wander (first-order autoregression over about 6 s), as on a real
    road.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._strips = []
        for sigma in (0.6, 1.2):
            coarse = self._rng.uniform(20, 170, (40, 500, 1)).astype(np.float32)
            strip = cv2.resize(coarse, (2500, 120)) + self._rng.normal(0, 18, (120, 2500)).astype(np.float32)
            self._strips.append(cv2.GaussianBlur(strip, (0, 0), sigma)[:, :, None])
        self._at, self._state = 0.0, self._rng.normal(0, 1, 6)

    def frame(self) -> Image:
        self._at += 3.0 + self._rng.uniform(0, 2)
        self._state = 0.97 * self._state + 0.24 * self._rng.normal(0, 1, 6)
        light, contrast, blue, red, detail, sky = np.tanh(self._state / 2.0)
        start = int(self._at) % 2300
        fine, soft = (strip[:, start : start + 200] for strip in self._strips)
        ground = fine * (0.5 + 0.4 * detail) + soft * (0.5 - 0.4 * detail)
        ground = (ground - 95.0) * (1.0 + 0.3 * contrast) + 95.0
        image = np.full((180, 200, 3), (225.0, 200.0, 170.0)) * (1.0 + 0.1 * sky)
        image[60:] = ground * np.array([0.75 + 0.08 * blue, 1.0, 1.15 + 0.08 * red])
        image *= 1.0 + 0.15 * light
        return np.clip(image + self._rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)

    def objects(self, shift_px: float = 0.0) -> Detections:
        """Return four steady boxes, each away from where it was by up to ``shift_px``."""
        left = np.array([20, 60, 100, 140], np.float32) + self._rng.uniform(-1, 1, 4) * (1.0 + shift_px)
        boxes = np.stack([left, left * 0 + 80, left + 20, left * 0 + 100], axis=1).astype(np.float32)
        scores = np.sort(self._rng.uniform(0.6, 0.9, 4))[::-1].astype(np.float32)
        return Detections(boxes, scores, np.zeros(4, np.int64), LABELS)


Change = Callable[[Image], Image]


def same(image: Image) -> Image:
    return image


def learn(seconds: float = 90.0, seed: int = 1) -> DriftReference:
    street, reader, builder = Street(seed), StatisticsReader(LABELS), ReferenceBuilder(SHA, "front", LABELS)
    for index in range(int(seconds / PERIOD_S)):
        builder.add(reader.compute(Frame(street.frame(), "BGR"), street.objects()), 100.0 + index * PERIOD_S)
    return builder.build()


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    return learn()


def drive(
    monitor: DriftMonitor, seconds: float, change: Change = same, shift_px: float = 0.0, start_s: float = 0.0
) -> list[Alarm]:
    """Drive a street not seen before; return the alarms at the end."""
    street, reader, alarms = Street(2), StatisticsReader(LABELS), list[Alarm]()
    for index in range(int(seconds / PERIOD_S)):
        statistics = reader.compute(Frame(change(street.frame()), "BGR"), street.objects(shift_px))
        alarms = monitor.add(statistics, start_s + index * PERIOD_S)
    return alarms


def fog(image: Image) -> Image:
    return (image * 0.25 + 150).astype(np.uint8)


def dirt(image: Image) -> Image:
    image = image.copy()
    image[80:150, 40:130] = (40, 60, 70)
    return image


def exchanged(image: Image) -> Image:
    return np.ascontiguousarray(image[:, :, ::-1])


def other_camera(image: Image) -> Image:
    """Narrower view, sharpened, with more noise."""
    near = cv2.resize(image[20:160, 22:178], (200, 180)).astype(np.float32)
    sharp = near + 0.8 * (near - cv2.GaussianBlur(near, (0, 0), 1.2))
    noise = np.random.default_rng(int(image.sum())).normal(0.0, 6.0, image.shape)
    return np.clip(sharp + noise, 0, 255).astype(np.uint8)


def drizzle(image: Image) -> Image:
    """Streaks downwards, other ones in each frame, in a veil."""
    rng = np.random.default_rng(int(image.sum()))
    layer = np.zeros(image.shape[:2], np.uint8)
    for x, y in rng.integers(0, (200, 160), (150, 2)):
        cv2.line(layer, (int(x), int(y)), (int(x) + 2, int(y) + 20), 70, 1)
    return np.clip(image * 0.6 + 35.0 + layer[..., None], 0, 255).astype(np.uint8)


def test_an_unseen_part_of_the_same_drive_raises_no_alarm(reference: DriftReference) -> None:
    monitor = DriftMonitor(reference)
    assert drive(monitor, 30.0) == []


@pytest.mark.parametrize(
    ("change", "kind", "figure"),
    [
        (fog, "world", "image"),
        (dirt, "camera", "spots"),
        (exchanged, "camera", "exchange"),
        (other_camera, "camera", "one figure"),
        (drizzle, "world", "one figure"),
    ],
)
def test_a_changed_image_is_alarmed_as_what_changed(
    reference: DriftReference, change: Change, kind: str, figure: str
) -> None:
    (alarm,) = drive(DriftMonitor(reference), 12.0, change)
    assert alarm.kind == kind and figure in alarm.moved
    assert alarm.statistic == max(alarm.moved.values()) >= alarm.threshold
    assert alarm.since_stamp_s < 5.0  # the shortest window is 2 s, and two looks must agree


@pytest.mark.parametrize(
    ("ratios", "unexplained", "exchanged", "kind"),
    [
        # Measured on recorded images: half the exposure, and a night with its noise.
        ({"image": 5.0}, {"white": -60.0, "sharpness": -3.0, "black": -8.0}, 0.2, "camera"),
        ({"image": 9.0}, {"white": -94.0, "sharpness": 21.0, "black": -11.0}, 0.2, "world"),
        # Fog: bright where it was black. Rain: detail to the right, not downwards. Another camera: both.
        ({"image": 1.9}, {"white": -11.0, "black": 4.5, "even_share": 6.0}, 0.3, "world"),
        ({"image": 1.6, "blur": 3.0}, {"upright": -3.0, "sharpness": -10.0}, 0.1, "camera"),
        ({"image": 2.0, "blur": 1.3}, {"upright": 15.0, "sharpness": -2.6}, 0.2, "world"),
        ({"image": 1.5}, {"sharpness": 9.0, "sharpness_near": 12.0, "upright": 4.5}, 0.1, "camera"),
        # Colors of a night are no exchanged channels, nor is a gray image.
        ({"image": 9.0, "channel order": 1.2}, {"white": -94.0, "sharpness": 21.0}, 0.8, "world"),
        ({"image": 1.0, "channel order": 1.2}, {}, 0.5, "world"),
        ({"image": 1.0, "channel order": 2.0}, {}, 1.0, "camera"),
        # Nearer to the reference with red and blue exchanged; at night as well, which changes more than that.
        ({"image": 0.4, "exchange": 1.2}, {}, 0.6, "camera"),
        ({"image": 9.0, "exchange": 1.2}, {"white": -94.0, "sharpness": 21.0}, 0.6, "world"),
        ({"image": 0.5, "results": 1.2}, {}, 0.0, "world"),
        ({"image": 0.5, "results": 1.2, "result quality": 1.1}, {}, 0.0, "model"),
        ({"image": 0.9}, {"white": -60.0}, 1.0, None),
    ],
)
def test_a_cause_is_known_by_what_stayed_as_it_was(
    ratios: dict[str, float], unexplained: dict[str, float], exchanged: float, kind: str | None
) -> None:
    off = {name: unexplained.get(name, 0.0) for name in joint_names(image_names())}
    assert cause(ratios, off, exchanged) == kind


def test_areas_of_a_mask_that_change_while_images_do_not_are_the_model() -> None:
    off = dict.fromkeys(joint_names(image_names()), 0.0)
    assert cause({"image": 0.5, "results": 1.2}, off, 0.0, is_mask=True) == "model"


def test_unsteady_results_of_unchanged_images_are_the_model(reference: DriftReference) -> None:
    (alarm,) = drive(DriftMonitor(reference), 20.0, shift_px=60.0)
    assert alarm.kind == "model" and list(alarm.moved) == ["result quality"]


def test_unsteady_results_of_changed_images_are_not_blamed_on_the_model(reference: DriftReference) -> None:
    (alarm,) = drive(DriftMonitor(reference), 20.0, fog, shift_px=60.0)
    assert alarm.kind == "world"


def test_a_frozen_camera_is_alarmed_after_a_second_and_the_alarm_ends_when_images_come_again(
    reference: DriftReference,
) -> None:
    monitor, reader, image = DriftMonitor(reference), StatisticsReader(LABELS), Street(2).frame()
    for index in range(7):
        alarms = monitor.add(reader.compute(Frame(image, "BGR"), None), index * PERIOD_S)
    assert alarms[0].kind == "camera" and "repeated frame" in alarms[0].moved
    # Not at once: the windows must be full and calm for CLEAR_S.
    assert drive(monitor, CLEAR_S, start_s=2.0) != []
    assert drive(monitor, 2.0 * CLEAR_S, start_s=2.0 + CLEAR_S) == []


def test_another_size_is_another_camera(reference: DriftReference) -> None:
    (alarm,) = drive(DriftMonitor(reference), 1.0, lambda image: np.ascontiguousarray(image[:, :100]))
    assert alarm.kind == "camera" and list(alarm.moved) == ["size"]


def test_stamps_that_jump_begin_the_windows_anew(reference: DriftReference) -> None:
    monitor, street, reader = DriftMonitor(reference), Street(2), StatisticsReader(LABELS)
    rng = np.random.default_rng(3)
    for _ in range(100):
        assert monitor.add(reader.compute(Frame(fog(street.frame()), "BGR"), None), rng.uniform(0, 1e6)) == []


def test_a_reference_survives_its_file_and_stays_small(reference: DriftReference) -> None:
    text = reference.model_dump_json(by_alias=True)
    assert DriftReference.model_validate_json(text) == reference
    assert len(text) < 26_000
    assert (reference.model_sha256, reference.camera, reference.labels) == (SHA, "front", list(LABELS))


def of_first_schema(reference: DriftReference) -> dict[str, object]:
    """Return a reference as it was before figures were added, with thresholds of 6 standard deviations."""
    known = image_names(with_later=False)
    kept = [at for at, name in enumerate(reference.names) if name in known]
    columns = Columns.of(known, ())
    spread = np.array(reference.spread)[kept]
    size = len(joint_names(known))
    tints = np.hypot(spread[columns.rows[0]], spread[columns.rows[2]])
    covariance = np.diag(np.concatenate([spread[columns.image], tints]) ** 2 + 0.02)
    tail = {"location": 1.0, "scale": 0.5, "largest": 6.0}
    return {
        **reference.model_dump(by_alias=True, exclude={"unexplained"}),
        "schema": "adcp-drift/1",
        "names": list(known),
        "center": [reference.center[at] for at in kept],
        "spread": spread.tolist(),
        "compared": [],
        "covariance": covariance[np.triu_indices(size)].tolist(),
        "windows": [
            {"window_s": 2.0, "tails": {name: tail for name in FIRST_ALARMS if not name.startswith("result")}}
        ],
    }


def test_a_reference_of_the_first_schema_is_still_compared(reference: DriftReference) -> None:
    older = DriftReference.model_validate(of_first_schema(reference))
    assert drive(DriftMonitor(older), 12.0) == []
    (alarm,) = drive(DriftMonitor(older), 12.0, fog)
    assert alarm.kind == "world" and set(alarm.moved) <= set(FIRST_ALARMS)
    (alarm,) = drive(DriftMonitor(older), 12.0, dirt)
    assert alarm.kind == "camera" and "covered" in alarm.moved


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spread", [0.0]),
        ("covariance", [1.0]),
        ("names", ["a"]),
        ("compared", ["no such figure"]),
        ("model_sha256", "x"),
        ("width", 0),
    ],
)
def test_a_reference_that_contradicts_itself_is_refused(
    reference: DriftReference, key: str, value: object
) -> None:
    with pytest.raises(ValidationError):
        DriftReference.model_validate({**reference.model_dump(by_alias=True), key: value})


def test_too_short_a_recording_and_two_cameras_are_refused() -> None:
    with pytest.raises(DataError, match="needs 60 s"):
        learn(30.0)
    builder, reader = ReferenceBuilder(SHA), StatisticsReader()
    builder.add(reader.compute(Frame(np.zeros((60, 80, 3), np.uint8), "BGR"), None), 0.0)
    with pytest.raises(DataError, match="one camera"):
        builder.add(reader.compute(Frame(np.zeros((80, 60, 3), np.uint8), "BGR"), None), 0.1)


def test_a_window_that_the_reference_has_not_is_refused_with_those_it_has(reference: DriftReference) -> None:
    with pytest.raises(ManifestError, match="no window of 3 s; it has: 2"):
        DriftMonitor(reference, 3.0)


@given(st.floats(-5, 50), st.floats(0.01, 20), st.floats(0, 30), st.floats(0.001, 50), st.floats(1, 60))
def test_rarer_false_alarms_need_higher_thresholds(
    location: float, scale: float, largest: float, per_hour: float, window_s: float
) -> None:
    tail = GumbelTail(location=location, scale=scale, largest=largest)
    assert tail.threshold(per_hour, window_s) <= tail.threshold(per_hour / 10.0, window_s)
    assert tail.threshold(per_hour, window_s) >= largest


@given(st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_normal_windows_exceed_their_threshold_not_more_often_than_asked(seed: int) -> None:
    # 200 blocks of 20 independent normal figures; asked: 6 alarms an hour, one in 60 blocks of 10 s.
    rng = np.random.default_rng(seed)
    tail = gumbel(np.abs(rng.normal(size=(200, 20))).max(axis=1))
    fresh = np.abs(rng.normal(size=(6000, 20))).max(axis=1)
    share = float((fresh > tail.threshold(6.0, block_s(0.0))).mean())
    assert share <= 2.5 / 60.0
