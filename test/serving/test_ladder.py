# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ladder: who is trusted after which fault, and never two changes of level in a hysteresis time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.serving.ladder import Ladder, LadderLevel, LadderSettings

P, S, H, X = LadderLevel.PRIMARY, LadderLevel.STANDBY, LadderLevel.HOLD, LadderLevel.STOP
SETTINGS = LadderSettings(hysteresis_s=5.0, probation_frames=3, hold_s=0.5)


def ladder() -> Ladder:
    return Ladder(SETTINGS, has_standby=True)


def pass_probation(under_test: Ladder, now_s: float) -> None:
    for _ in range(SETTINGS.probation_frames):
        assert under_test.wants_probation(now_s)
        under_test.probation("", now_s)


def test_a_fault_lets_the_standby_answer_at_once_and_probation_returns() -> None:
    each = ladder()

    each.fault("exception", "gone", 10.0, stamp_ns=7)

    assert (each.level, each.trusts_primary, each.reason) == (S, False, "exception: gone")
    pass_probation(each, 12.0)
    assert each.level is S  # good frames alone are not enough
    each.tick(15.0)
    assert (each.level, each.trusts_primary) == (P, True)
    steps = [(step.event, step.before, step.after, step.stamp_ns) for step in each.take_steps()]
    assert steps == [("fault", P, P, 7), ("level", P, S, 7), ("level", S, P, 7)]
    assert not each.take_steps()


def test_a_fault_soon_after_the_return_waits_for_its_level_but_not_for_its_standby() -> None:
    each = ladder()
    each.fault("exception", "gone", 0.0)
    pass_probation(each, 1.0)
    each.tick(5.0)

    each.fault("exception", "again", 5.1)

    assert (each.level, each.trusts_primary) == (P, False)
    each.tick(9.9)
    assert each.level is P
    each.tick(10.0)
    assert each.level is S
    # Twice the hysteresis time after the second fault, and four times after one more.
    assert not each.wants_probation(15.0)
    assert each.wants_probation(15.2)
    each.probation("NaN", 15.2)
    assert not each.wants_probation(35.0)
    assert each.wants_probation(35.3)


def test_one_bad_frame_of_a_probation_begins_it_anew() -> None:
    each = ladder()
    each.fault("exception", "gone", 0.0)
    each.probation("", 1.0)
    each.probation("", 1.1)
    each.probation("exception: again", 1.2)
    for at_s in (20.0, 20.1):
        each.probation("", at_s)
    assert each.level is S
    each.probation("", 20.2)
    assert each.level is P


def test_frames_without_an_answer_lead_to_hold_and_stop_one_hysteresis_time_apart() -> None:
    each = ladder()
    each.unanswered("both failed", 0.0, 1)
    assert each.level is H
    each.unanswered("both failed", 1.0, 2)
    assert each.level is H  # the answer to a frame does not wait: see the frame server
    each.unanswered("both failed", 5.0, 3)
    assert each.level is X
    each.answered(6.0, 4)
    each.tick(10.0)
    assert each.level is P


def test_a_camera_that_died_with_an_answer_hides_no_model_that_answers_nobody() -> None:
    """Its last frame stays good while the node lives; after 5 s it says nothing of the model any more."""
    ladder = Ladder(LadderSettings(hysteresis_s=1.0))
    for tenth in range(10):
        ladder.answered(tenth / 10, tenth, "left")
        ladder.answered(tenth / 10, tenth, "front")
    for tenth in range(10, 200):
        ladder.unanswered("out of memory", tenth / 10, tenth, "front")
        if tenth == 50:  # 4 s after the last frame of the other camera
            assert ladder.level is LadderLevel.PRIMARY
    assert (ladder.level, ladder.reason) == (LadderLevel.STOP, "out of memory")
    # One that is alive is another matter: the model answers it.
    ladder.answered(20.1, 201, "left")
    assert ladder.level is LadderLevel.PRIMARY
    for tenth in range(202, 400):
        ladder.answered(tenth / 10, tenth, "left")
        ladder.unanswered("no image", tenth / 10, tenth, "front")
        assert ladder.level is LadderLevel.PRIMARY


def test_a_primary_without_a_standby_returns_by_its_own_frames_although_none_was_answered() -> None:
    """Failed before: frames without an answer, which are so because it is not trusted, kept it away."""
    each = ladder()
    each.fault("constant", "equal outputs", 0.0)
    for _ in range(SETTINGS.probation_frames):
        each.unanswered("the standby is not loaded", 6.0, 1)
        each.probation("", 6.0, alone=True)
    assert each.level in (H, X)
    each.tick(12.0)
    assert (each.level, each.trusts_primary) == (P, True)
    each.tick(18.0)
    assert each.level is P


def test_a_condition_keeps_the_standby_until_it_is_over_and_the_primary_has_proved_itself() -> None:
    each = ladder()
    each.condition("heartbeat", "none for 1 s", 0.0)
    each.condition("heartbeat", "none for 1 s", 0.1)
    assert (each.level, each.faults["heartbeat"]) == (S, 1)
    assert not each.wants_probation(60.0)
    each.condition("heartbeat", "", 60.0)
    assert (each.level, each.trusts_primary) == (S, False)
    pass_probation(each, 60.0)
    assert each.level is P


def test_without_a_standby_the_primary_keeps_trying() -> None:
    each = Ladder(SETTINGS)
    each.fault("exception", "gone", 0.0)
    each.condition("drift", "worse", 0.0)
    assert (each.level, each.trusts_primary) == (P, True)


@pytest.mark.parametrize("chosen", ["primary", "standby", "hold", "stop"])
def test_somebody_chooses_at_once_and_gives_back(chosen: str) -> None:
    each = ladder()
    each.fault("exception", "gone", 0.0)
    each.set_override(chosen, 0.1)  # type: ignore[arg-type]
    assert each.level is LadderLevel[chosen.upper()]
    assert each.trusts_primary is (chosen == "primary")
    assert each.answers is (chosen in ("primary", "standby"))
    each.set_override("auto", 0.2)
    assert each.level is S  # the fault is not forgotten


EVENTS = ("fault", "good", "good alone", "bad", "answered", "unanswered", "lost", "found", "tick", "swap")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0.0, 4.0)), max_size=60),
    st.booleans(),
)
def test_never_two_changes_within_a_hysteresis_time(
    events: list[tuple[str, float]], has_standby: bool
) -> None:
    each = Ladder(SETTINGS, has_standby)
    now_s = 0.0
    for event, step_s in events:
        now_s += step_s
        trusted = each.trusts_primary
        if event == "fault":
            each.fault("exception", "x", now_s)
            assert each.trusts_primary is not has_standby
        elif event in ("good", "good alone", "bad"):
            each.probation("x" if event == "bad" else "", now_s, alone=event == "good alone")
        elif event == "answered":
            each.answered(now_s, 1)
        elif event == "unanswered":
            each.unanswered("x", now_s, 1)
        elif event in ("lost", "found"):
            each.condition("heartbeat", "x" if event == "lost" else "", now_s)
        elif event == "swap":
            each.new_primary(now_s)
        else:
            each.tick(now_s)
        if each.trusts_primary and not trusted:
            assert each.level is P  # trust returns with the level, never without it
    times = [step.now_s for step in each.take_steps() if step.event == "level"]
    assert all(
        later - earlier >= SETTINGS.hysteresis_s for earlier, later in zip(times, times[1:], strict=False)
    )


@pytest.mark.parametrize(("kind", "most"), [("drift", 8), ("heartbeat", 100)])
def test_a_drift_that_comes_back_with_the_model_lets_it_return_ever_more_rarely(kind: str, most: int) -> None:
    """Failed before: 44 returns of a worse model, whose alarm ends while the standby answers."""
    each, returns, trusted_s = ladder(), 0, 0.0
    for tenth in range(6000):  # ten minutes: 8 s of the model raise the alarm, 5 s without it end it
        now_s = 0.1 * tenth
        was, trusts = trusted_s, each.trusts_primary
        trusted_s = trusted_s + 0.1 if trusts else 0.0
        returns += trusts and was == 0.0 and tenth > 0
        if trusted_s > 8.0:
            each.condition(kind, "worse", now_s)
            alarm_s = now_s
        elif not trusts and now_s > alarm_s + 5.0:
            each.condition(kind, "", now_s)
        if each.wants_probation(now_s):
            each.probation("", now_s)
        each.tick(now_s)

    assert 3 <= returns <= most
    assert (returns > 30) == (kind == "heartbeat")


def test_another_model_does_not_wait_for_the_drift_of_the_one_before() -> None:
    each = ladder()
    for begin_s in (0.0, 20.0):  # the second time soon after its return
        each.condition("drift", "worse", begin_s)
        each.tick(begin_s + 5.0)
        if begin_s:
            each.new_primary(begin_s + 5.1)
        each.condition("drift", "", begin_s + 5.2)
        pass_probation(each, begin_s + 5.3)
        each.tick(begin_s + 11.0)

        assert each.trusts_primary
