# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the guard takes for normal: jumps of results, missed deadlines, paths at a switch of models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.resources import models_folder
from ad_compressed_perception.core.results import Classification, Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.data.bag_frames import BagFrames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.continuity import LEAST_STEPS, Continuity
from ad_compressed_perception.serving.miss_rate import MissRate
from ad_compressed_perception.serving.plausibility import Plausibility
from ad_compressed_perception.serving.result_changes import changes, summarize
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.tasks.planning import arc_points

PERIOD_NS = 50_000_000
LABELS = ("road", "sky", "car")


def path(curvature_per_m: float, end_mps: float = 10.0) -> Trajectory:
    points, headings = arc_points(curvature_per_m, 30.0, 20)
    return Trajectory(points, headings, curvature_per_m, 10.0, speeds_mps=np.linspace(10.0, end_mps, 20))


def boxes(count: int, size: float = 40.0) -> Detections:
    corners = np.tile(np.array([10.0, 10.0, 10.0 + size, 10.0 + size], np.float32), (count, 1))
    return Detections(corners, np.ones(count, np.float32), np.zeros(count, np.int64), LABELS)


def mask(share_of_road: float) -> LabelMask:
    ids = np.ones((96, 128), np.uint8)
    ids[: round(96 * share_of_road)] = 0
    return LabelMask(ids, LABELS)


def label(index: int) -> Classification:
    scores = np.full(3, 0.2, np.float32)
    scores[index] = 0.6
    return Classification(scores, np.argsort(-scores), LABELS)


# A result as in any frame, one that follows from it, one that does not.
CASES: dict[str, tuple[Result, Result, Result]] = {
    "planning": (path(0.0), path(0.002), path(0.08)),
    "stop": (path(0.0), path(0.0, 9.0), path(0.0, 1.0)),
    "segmentation": (mask(0.5), mask(0.54), mask(1.0)),
    "detection": (boxes(4), boxes(6), boxes(60)),
    "no objects": (boxes(30), boxes(27), boxes(0)),
    "classification": (label(0), label(0), label(0)),
}


@pytest.mark.parametrize("case", [name for name in CASES if name != "classification"])
def test_a_jump_beyond_normal_frames_is_implausible_also_after_a_lost_frame(case: str) -> None:
    normal, next_one, broken = CASES[case]
    each = Plausibility()
    for number in range(150):
        result = normal if number % 2 else next_one
        assert not each.judge(result, number * PERIOD_NS)
        each.accept(result, number * PERIOD_NS, "model")

    assert each.judge(broken, 150 * PERIOD_NS)
    assert not each.judge(normal, 150 * PERIOD_NS)
    assert not each.judge(broken, 180 * PERIOD_NS)  # a gap of more than a second: anything may follow
    assert not each.judge(broken, 3 * PERIOD_NS)  # a bag that loops
    assert each.compare(broken, normal) and not each.compare(next_one, normal)


def test_a_wrong_first_result_is_found_by_what_a_reference_expects() -> None:
    """Failed before: the limits of the first 100 frames were the same for every model."""
    for each, is_found in ((Plausibility(), False), (Plausibility({"curvature_per_m": 0.001}), True)):
        each.accept(path(0.0), PERIOD_NS, "model")
        assert bool(each.judge(path(0.004), 2 * PERIOD_NS)) is is_found
        assert not each.judge(path(0.0005), 2 * PERIOD_NS)


def test_boxes_of_another_scene_are_doubtful_and_a_contradiction_after_five_frames() -> None:
    """Failed before: as many boxes of the same size anywhere else were taken for right ones."""
    each = Plausibility()
    for number in range(150):
        shifted = replace(boxes(4), boxes_xyxy=boxes(4).boxes_xyxy + np.float32(number % 3))
        assert not each.judge(shifted, number * PERIOD_NS)
        each.accept(shifted, number * PERIOD_NS, "model")
    right, wrong = boxes(4), replace(boxes(4), boxes_xyxy=boxes(4).boxes_xyxy + np.float32(200))

    assert "moved_share" in each.judge(wrong, 150 * PERIOD_NS)
    assert [bool(each.contradicts(wrong, right)) for _ in range(5)] == [True] * 5  # 4 times the normal is 0.5
    assert not each.contradicts(right, right)


def test_a_difference_that_is_only_doubtful_is_a_contradiction_where_it_lasts() -> None:
    each = Plausibility()
    for number in range(150):
        each.accept(path(0.001 * (number % 2)), number * PERIOD_NS, "model")
    assert each.judge(path(0.004), 150 * PERIOD_NS)
    found = [bool(each.contradicts(path(0.004), path(0.0))) for _ in range(5)]
    assert found == [False] * 4 + [True]
    assert not each.contradicts(path(0.0), path(0.0))
    assert not each.contradicts(path(0.004), path(0.0))


def test_a_label_that_flickers_is_implausible_and_one_change_is_not() -> None:
    each = Plausibility()
    for number in range(60):
        each.accept(label(number // 30), number * PERIOD_NS, "model")
        assert not each.judge(label(number // 30), (number + 1) * PERIOD_NS)
    found = []
    for number in range(60, 80):
        found.append(each.judge(label(number % 2), number * PERIOD_NS))
        each.accept(label(number % 2), number * PERIOD_NS, "model")
    assert "the label changed 9 times in 20 frames" in found


def test_a_real_drive_has_no_implausible_mask(shared_dir: Path) -> None:
    """The whole drive and all default models: docs/guides/serving.md."""
    models = models_folder()
    if models is None:
        pytest.skip("installed without models")
    pipeline = open_pipeline(load_manifest(models / "road_segmentation"), "int8_small")
    each, judged = Plausibility(), []
    for frame in BagFrames(shared_dir / "bags" / "udacity_ch2_20s", None, limit=60):
        assert isinstance(frame, Frame)
        result, _ = pipeline.run(frame)
        judged.append(each.judge(result, frame.stamp_ns))
        each.accept(result, frame.stamp_ns, "model")
    pipeline.close()
    assert len(judged) == 60
    assert not any(judged)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.floats(0.0, 20.0), st.integers(0, 2**32 - 1))
def test_the_jump_at_a_switch_is_that_of_a_normal_frame_and_the_new_plan_is_reached(
    old: float, new: float, end_mps: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    each = Continuity()
    stamp_ns = 0

    def publish(curvature: float, speed: float, source: str) -> Trajectory:
        nonlocal stamp_ns
        stamp_ns += PERIOD_NS
        joined = each.join(path(curvature, speed), stamp_ns, source)
        assert isinstance(joined, Trajectory)
        return joined

    for _ in range(50):
        last = publish(old + rng.normal(0.0, 0.001), 10.0, "old")

    jumps = dict.fromkeys(LEAST_STEPS, 0.0)
    for number in range(41):
        now = publish(new, end_mps, "new")
        before, after = summarize(last), summarize(now)
        assert before is not None and after is not None
        found = changes(before, after)
        jumps = {name: max(jumps[name], found[name]) for name in jumps}
        if number == 0:
            assert not np.allclose(now.points_xy_m, path(new).points_xy_m) or abs(new - old) < 0.01
        last = now

    np.testing.assert_array_equal(last.points_xy_m, path(new, end_mps).points_xy_m)
    assert last.curvature_per_m == new
    # Twice the median of changes of that noise, 0.001 / 1.05, or where 2 s are over sooner a 40th of the way.
    assert jumps["curvature_per_m"] <= max(
        0.003, abs(new - old + 0.005) / 39.0, abs(new - old - 0.005) / 39.0
    )
    assert jumps["speed_mps"] <= max(LEAST_STEPS["speed_mps"], abs(end_mps - 10.0) / 39.0) + 1e-9


def test_what_asks_for_a_stop_is_not_delayed() -> None:
    each = Continuity()
    each.join(replace(path(0.0), clear_distance_m=np.inf, stop_probability=0.0), PERIOD_NS, "old")
    asked = replace(path(0.02), clear_distance_m=5.0, stop_probability=1.0)
    joined = each.join(asked, 2 * PERIOD_NS, "new")
    assert isinstance(joined, Trajectory)
    assert (joined.clear_distance_m, joined.stop_probability) == (5.0, 1.0)
    assert abs(joined.curvature_per_m) < 0.002


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=150))
def test_the_bound_of_the_miss_rate_is_below_the_share_and_near_it_with_many_frames(
    missed: list[bool],
) -> None:
    each = MissRate()
    for one in missed:
        each.add(missed=one)
    last = missed[-100:]
    assert each.share == pytest.approx(sum(last) / len(last) if last else 0.0)
    assert 0.0 <= each.at_least <= each.share + 1e-12
    assert each.share - each.at_least < 0.1 or len(last) < 80


def test_two_misses_are_not_a_rate_of_100_percent_but_four_are_more_than_half() -> None:
    each = MissRate()
    each.add(missed=True)
    each.add(missed=True)
    assert each.at_least == pytest.approx(0.425, abs=0.001)  # 2 / (2 + 1.645^2)
    each.add(missed=True)
    each.add(missed=True)
    assert each.at_least > 0.5
