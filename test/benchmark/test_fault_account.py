# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The accounting of the fault campaign: what must not pass as a success."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.messages import planning
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_road_simulation.faults.log import Injection
from benchmark.fault_campaign.account import FrameEvidence, account, assign
from benchmark.fault_campaign.references import Joins

PERIOD_NS = 50_000_000


def frames(count: int, **changed: object) -> list[FrameEvidence]:
    """Return healthy frames whose inputs repeat after ten, as those of a drive that is played again."""
    frame = FrameEvidence(0, 0, 1, "variant", True, "processed", "primary", 10.0)
    return [
        replace(frame, stamp_ns=(1 + number) * PERIOD_NS, digest=number % 10, **changed)  # type: ignore[arg-type]
        for number in range(count)
    ]


def fault(number: int, kind: str = "nan", after_ns: int = 1) -> Injection:
    return Injection(number, kind, (1 + number) * PERIOD_NS + after_ns, number % 10, 1)


def answered_by_standby(sent: list[FrameEvidence], number: int) -> None:
    sent[number] = replace(sent[number], whose="baseline", level="standby")


def test_frames_with_faults_that_the_standby_answers_are_a_success() -> None:
    sent = frames(40)
    for number in (7, 23):
        answered_by_standby(sent, number)
    done = account(sent, [fault(7), fault(23)], [PERIOD_NS, 41 * PERIOD_NS], {"nan": 2})
    assert not done.problems
    assert done.hit == 2 and done.injected == {"nan": 2} and done.levels == {"primary": 38, "standby": 2}
    assert done.shortest_between_steps_s == 2.0


def test_a_fault_belongs_to_the_newest_frame_of_its_input_sent_before() -> None:
    """Frames 3, 13 and 23 show the same image."""
    kinds, lost = assign(frames(30), [fault(13), fault(3, "raise", after_ns=9 * PERIOD_NS)])
    assert kinds == {14 * PERIOD_NS: ["nan"], 4 * PERIOD_NS: ["raise"]}
    assert not lost


@pytest.mark.parametrize(
    ("change", "faults", "needed", "problem"),
    [
        ({}, [], {"nan": 1}, "nan: 0 faults injected, 1 needed"),
        ({}, [Injection(0, "nan", 10**12, 99, 1)], {}, "1 faults belong to no frame that was sent"),
        ({}, [fault(0, after_ns=-1)], {}, "belong to no frame"),
        ({"results": 0, "outcome": "failed"}, [fault(0)], {}, "NaN or a wrong shape have no result"),
        ({"results": 0, "outcome": "failed"}, [], {}, "frames without a fault have no result"),
        ({"results": 0, "outcome": ""}, [], {}, "the node reported nothing of them"),
        ({"whose": "other"}, [fault(0)], {}, "untrusted results were published: {'nan': 1}"),
        ({"whose": ""}, [fault(0, "raise")], {}, "untrusted results were published: {'raise': 1}"),
        ({"whose": "held", "level": "primary"}, [], {}, "untrusted results were published: {'none': 1}"),
        ({"results": 2}, [], {}, "1 frames have more than one result"),
        ({"is_named": False}, [], {}, "1 results are under the name of another model"),
    ],
)
def test_what_proves_nothing_or_is_wrong_is_a_problem(
    change: dict[str, object], faults: list[Injection], needed: dict[str, int], problem: str
) -> None:
    sent = frames(10)
    sent[0] = replace(sent[0], **change)  # type: ignore[arg-type]
    assert any(problem in each for each in account(sent, faults, [], needed).problems)


def test_no_frames_prove_nothing() -> None:
    assert account([], [], [], {}).problems == ["no frame was sent"]


def test_results_of_late_and_hungry_models_are_right_when_they_come_and_held_ones_when_named() -> None:
    sent = frames(4)
    sent[3] = replace(sent[3], whose="held", level="hold")
    assert not account(sent, [fault(0, "slow"), fault(1, "memory"), fault(3, "hang")], [], {}).problems


def test_hangs_may_lose_their_frame_and_no_other() -> None:
    sent = frames(10)
    sent[4] = replace(sent[4], results=0, outcome="failed")
    done = account(sent, [fault(4, "hang")], [], {"hang": 1})
    assert not done.problems and done.without_result == {"hang": 1}


def path(lateral_m: float) -> Trajectory:
    """Return a straight path beside the vehicle's axis."""
    return Trajectory(np.column_stack([np.arange(1.0, 5.0), np.full(4, lateral_m)]), np.zeros(4), 0.0, 8.0)


def published(lateral_m: float) -> bytes:
    return planning.serialize_path(path(lateral_m), ns_to_stamp(1), "base_link")


def test_joined_paths_lead_from_one_model_to_the_other_and_faulty_ones_do_not() -> None:
    """The primary drives at 0 m, the standby at 1 m; the fading offset may be larger than the last step."""
    joins = Joins()
    assert not joins.is_joined(published(0.5), path(1.0)), "nothing was published before"
    joins.note(published(0.0), path(0.0), is_trusted=True)
    assert not joins.is_joined(published(-0.2), path(1.0)), "away from the standby's path"
    assert not joins.is_joined(published(2.5), path(1.0)), "beyond it"
    assert joins.is_joined(published(0.3), path(1.0))
    joins.note(published(0.3), path(1.0), is_trusted=True)
    # The standby's own path now comes near to what was published; the offset of 0.7 m has faded to 0.6 m.
    assert joins.is_joined(published(-0.2), path(0.4))
    joins.note(published(9.0), path(0.4), is_trusted=False)
    assert not joins.is_joined(published(0.5), path(0.4)), "joined to a path that was not trusted"
