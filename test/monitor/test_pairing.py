# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pairing by source stamp: late, lost and repeated results, and counters that account for every arrival."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.monitor.pairing import Side, StampPairer

TIMEOUT_S = 1.0


def pairer(**options: float) -> StampPairer[str]:
    return StampPairer(TIMEOUT_S, **options)  # type: ignore[arg-type]


def assert_counters_add_up(found: StampPairer[object]) -> None:
    for counters in found.counters.values():
        explained = found.pairs + counters.unpaired + counters.late + counters.unstamped + counters.pending
        assert counters.arrived == explained
    assert found.pending == sum(counters.pending for counters in found.counters.values())


def test_results_pair_in_either_order() -> None:
    found = pairer()
    assert found.add("baseline", 1, "b1", 0.0) is None
    assert found.add("variant", 1, "c1", 0.1) == ("b1", "c1")
    assert found.add("variant", 2, "c2", 0.2) is None
    assert found.add("baseline", 2, "b2", 0.3) == ("b2", "c2")
    assert (found.pairs, found.unpaired, found.late, found.pending) == (2, 0, 0, 0)


def test_a_missing_partner_is_counted_on_the_side_that_waited() -> None:
    found = pairer()
    found.add("baseline", 1, "b1", 0.0)
    found.add("variant", 2, "c2", 0.0)
    found.add("variant", 3, "c3", 0.0)
    found.expire(1.0)  # waited exactly the timeout: still in time
    assert found.unpaired == 0
    found.expire(1.1)
    assert found.counters["baseline"].unpaired == 1
    assert found.counters["variant"].unpaired == 2
    assert_counters_add_up(found)


def test_a_partner_after_the_timeout_is_late_and_pairs_with_nothing() -> None:
    found = pairer()
    found.add("baseline", 1, "b1", 0.0)
    # No timer ran in between: the arrival itself must notice that its partner expired.
    assert found.add("variant", 1, "c1", 1.5) is None
    assert (found.pairs, found.unpaired, found.late, found.pending) == (0, 1, 1, 0)
    # Both gave their one result for that frame; a further one of either starts a new pair.
    assert found.add("baseline", 1, "again", 1.6) is None
    assert found.add("variant", 1, "again", 1.7) == ("again", "again")
    assert_counters_add_up(found)


def test_a_looping_bag_pairs_again() -> None:
    found = pairer()
    for lap_s in (0.0, 20.0, 40.0):
        found.add("baseline", 1, "b", lap_s)
        assert found.add("variant", 1, "c", lap_s + 0.1) == ("b", "c")
    assert found.pairs == 3


def test_a_loop_after_a_lost_result_starts_a_new_pair_and_is_not_late() -> None:
    found = pairer()
    found.add("baseline", 1, "lap 1", 0.0)
    found.expire(2.0)
    # Lap 2: the baseline has the stamp again, so the variant's result that follows belongs to lap 2.
    found.add("baseline", 1, "lap 2", 3.0)
    assert found.add("variant", 1, "lap 2", 3.1) == ("lap 2", "lap 2")
    # Lap 1 is over: a variant's result that is first in lap 3 is not a late one of lap 1.
    found.add("variant", 1, "lap 3", 4.0)
    assert found.add("baseline", 1, "lap 3", 4.1) == ("lap 3", "lap 3")
    assert (found.pairs, found.unpaired, found.late) == (2, 1, 0)


def test_an_expired_stamp_is_forgotten_after_a_while() -> None:
    found = pairer(late_memory_s=5.0)
    found.add("baseline", 1, "lap 1", 0.0)
    found.expire(2.0)
    found.add("variant", 1, "lap 2", 20.0)
    assert found.add("baseline", 1, "lap 2", 20.1) == ("lap 2", "lap 2")
    assert found.late == 0


def test_a_repeated_stamp_pairs_first_come_first_served() -> None:
    found = pairer()
    found.add("baseline", 1, "first", 0.0)
    found.add("baseline", 1, "second", 0.1)
    assert found.counters["baseline"].repeated == 1
    assert found.add("variant", 1, "c", 0.2) == ("first", "c")
    assert found.add("variant", 1, "c", 0.3) == ("second", "c")


def test_results_without_a_stamp_are_not_paired() -> None:
    # Stamp zero was never set: pairing by it would compare any frame with any other.
    found = pairer()
    assert found.add("baseline", 0, "b", 0.0) is None
    assert found.add("variant", 0, "c", 0.0) is None
    assert found.counters["baseline"].unstamped == found.counters["variant"].unstamped == 1
    assert_counters_add_up(found)


def test_a_full_buffer_gives_up_the_oldest() -> None:
    found = pairer(capacity=2)
    for stamp in (1, 2, 3):
        found.add("baseline", stamp, "b", 0.0)
    assert (found.pending, found.unpaired) == (2, 1)
    # The partner of the one that expired is late even though no time passed.
    assert found.add("variant", 1, "c", 0.0) is None
    assert found.late == 1
    assert found.add("variant", 2, "c", 0.0) == ("b", "c")


arrivals = st.lists(
    st.tuples(
        st.sampled_from(["baseline", "variant"]),
        st.integers(0, 6),
        st.floats(0.0, 1.5),  # seconds since the previous arrival
    ),
    max_size=80,
)


@given(arrivals, st.integers(1, 5), st.floats(0.0, 10.0))
def test_counters_add_up_for_any_interleaving(
    events: list[tuple[Side, int, float]], capacity: int, memory_s: float
) -> None:
    found: StampPairer[int] = StampPairer(TIMEOUT_S, capacity=capacity, late_memory_s=memory_s)
    now_s = 0.0
    for index, (side, stamp, passed_s) in enumerate(events):
        now_s += passed_s
        pair = found.add(side, stamp, index, now_s)
        assert_counters_add_up(found)
        assert found.pending <= capacity
        if pair is not None:
            # Both halves belong to the same frame, and each result is in one pair at most.
            assert events[pair[0]][:2] == ("baseline", stamp)
            assert events[pair[1]][:2] == ("variant", stamp)
    found.close(now_s)
    assert found.pending == 0
    assert_counters_add_up(found)


@given(st.permutations(list(range(1, 9)) * 2), st.sets(st.integers(1, 8)), st.data())
def test_every_frame_both_saw_in_time_is_paired(
    order: list[int], lost: set[int], data: st.DataObject
) -> None:
    # Each frame reaches both sides once, in any order and close together; some of the variant's are
    # lost. The others must pair completely, and the rest must be the baseline's, unpaired.
    found: StampPairer[int] = StampPairer(TIMEOUT_S)
    seen: Counter[int] = Counter()
    first_is_baseline = data.draw(st.booleans())
    for stamp in order:
        side: Side = "baseline" if (seen[stamp] == 0) == first_is_baseline else "variant"
        seen[stamp] += 1
        if side == "variant" and stamp in lost:
            continue
        found.add(side, stamp, stamp, 0.0)
    found.close(0.0)
    assert found.pairs == 8 - len(lost)
    assert found.counters["baseline"].unpaired == len(lost)
    assert found.counters["variant"].unpaired == 0
