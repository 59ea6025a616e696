# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The fault campaign in its short form: some 200 faults in a real node with the default planner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from std_msgs.msg import Header

from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.messages import detection
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_road_simulation.faults.kinds import LOUD
from benchmark.fault_campaign.references import BASELINE, VARIANT, Expected, whose_result
from benchmark.fault_campaign.run import run_scenario
from benchmark.fault_campaign.scenarios import scenarios
from benchmark.hot_path.frames import CameraFrame
from support.fault_injection import enable_fault_injection

pytestmark = pytest.mark.ros
FRAMES = 24
"""Of the road camera's drive: rendering them is most of the start."""
PATIENT = {"frame_timeout_ms": 3000.0}
"""A loaded computer is slow, and hangs nowhere."""


@pytest.fixture(autouse=True)
def _enabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enable_fault_injection(tmp_path / "site", monkeypatch)


def test_every_frame_with_an_exception_nan_or_wrong_shape_has_the_standby_s_result(tmp_path: Path) -> None:
    scenario = scenarios(total=240, seed=5)[0]
    scenario = replace(scenario, needed=150, parameters={**scenario.parameters, **PATIENT})
    done = run_scenario(scenario, tmp_path / "run", None, FRAMES)
    assert not done.problems
    assert set(done.injected) == set(LOUD) and done.injected.total() >= 150
    # More where the drive begins again: the jump is implausible, and the standby confirms it.
    assert done.levels["standby"] >= done.hit == done.injected.total()
    assert done.levels["primary"] > 50 and done.levels["standby"] + done.levels["primary"] == done.frames
    assert not done.without_result and not done.untrusted


def test_without_a_fallback_the_same_faults_cost_their_frames(tmp_path: Path) -> None:
    """What the campaign would say of a node whose guard does nothing: it must not pass."""
    scenario = replace(scenarios(total=240, seed=5)[0], needed=20, parameters={})
    done = run_scenario(scenario, tmp_path / "run", None, FRAMES, has_guard=False)
    assert any("have no result" in problem for problem in done.problems)
    assert sum(done.without_result.values()) == done.hit >= 20


@pytest.mark.parametrize("named", [BASELINE, VARIANT])
def test_a_result_that_both_models_give_is_of_the_one_that_the_node_names(named: str) -> None:
    """Failed before: 64 empty results of a detector were taken for misnamed ones of the baseline."""
    nothing = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("car",)
    )
    camera = CameraFrame(b"", (1, 1), b"")
    expected = Expected(camera, 1, {BASELINE: nothing, VARIANT: nothing})
    message = detection.serialize(nothing, Header(stamp=ns_to_stamp(5), frame_id="camera"))

    assert whose_result("detection", message, 5, expected, (), named) == named
