# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency-aware channel allocation: the allocation from a cost table, and the measurement of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.compression.passes.pruning.prune_channels import PruneChannels
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.training.pruning.channel_budget import (
    CostTable,
    Group,
    allocate,
    allowed_counts,
)
from ad_compressed_perception.training.pruning.channel_timing import (
    Runtime,
    independent_sets,
    measured_speedup,
    names_in,
    some_counts,
    time_layers,
)
from support.models import write_segmenter


def table_of(**ms: float) -> CostTable:
    """Return a table of groups of 32 channels whose layer times are proportional to their channels."""
    shares = {group: {k: {f"{group}_conv": k / 32} for k in (8, 16, 24)} for group in ms}
    items = {f"{group}_conv": value for group, value in ms.items()} | {"softmax": 1.0}
    return CostTable(items, dict.fromkeys(ms, 32), shares)


def groups_of(table: CostTable, round_to: int = 8, max_ratio: float = 0.8) -> list[Group]:
    return [
        Group(name, [1.0] * full, allowed_counts(full, full, round_to, max_ratio))
        for name, full in table.full.items()
    ]


def test_with_equal_importance_the_expensive_group_loses_more_channels() -> None:
    """8 + 1 + 1 ms (softmax) must become 5: eight channels save 2 ms in the slow group, 0.25 in the fast."""
    table = table_of(slow=8.0, fast=1.0)

    chosen = allocate(groups_of(table), table, goal=5.0)

    assert chosen.kept == {"slow": 8, "fast": 32}
    assert chosen.cost == pytest.approx(2.0 + 1.0 + 1.0)
    assert chosen.reached


def test_importance_protects_an_expensive_group() -> None:
    """Ten times the time, a hundred times the importance: the fast group is narrowed first, to its least."""
    table = table_of(slow=10.0, fast=1.0)
    groups = groups_of(table)
    groups[0] = Group("slow", [100.0] * 32, groups[0].counts)

    assert allocate(groups, table, goal=11.3).kept == {"slow": 32, "fast": 8}
    assert allocate(groups, table, goal=8.0).kept == {"slow": 16, "fast": 8}


def test_steps_that_save_nothing_are_skipped() -> None:
    """A kernel processes 16 channels at once: 24 cost as much as 32, so one move goes to 16."""
    table = CostTable(
        {"conv": 4.0}, {"g": 32}, {"g": {24: {"conv": 1.0}, 16: {"conv": 0.5}, 8: {"conv": 0.5}}}
    )

    assert allocate(groups_of(table), table, goal=3.0).kept == {"g": 16}
    assert not allocate(groups_of(table), table, goal=1.0).reached


def test_a_layer_between_two_groups_is_predicted_from_both() -> None:
    """Half of its inputs and half of its outputs: a quarter of its time."""
    shares = {name: {16: {"conv": 0.5}} for name in ("in", "out")}
    table = CostTable({"conv": 8.0}, {"in": 32, "out": 32}, shares)

    assert table.total({"in": 16, "out": 16}) == pytest.approx(2.0)
    assert table.total({"in": 24}) == pytest.approx(6.0)  # midway between 16 and 32


def test_a_goal_on_parameters_is_met_where_most_time_is_saved() -> None:
    """Both have 1000 weights; a third must be removed, where a weight costs most time."""
    table = table_of(slow=8.0, fast=1.0)
    shares = {g: {k: {f"{g}_w": k / 32} for k in (8, 16, 24)} for g in ("slow", "fast")}
    sizes = CostTable({"slow_w": 1000.0, "fast_w": 1000.0}, table.full, shares)

    chosen = allocate(groups_of(table), table, 2000 * 2 / 3, sizes)

    assert chosen.kept == {"slow": 8, "fast": 32}
    assert chosen.cost == 1250.0


def test_a_goal_on_parameters_is_met_where_no_time_can_be_saved() -> None:
    table = CostTable({"conv": 4.0}, {"g": 32}, {"g": {k: {"conv": 1.0} for k in (8, 16, 24)}})
    sizes = CostTable({"w": 320.0}, {"g": 32}, {"g": {k: {"w": k / 32} for k in (8, 16, 24)}})

    assert allocate(groups_of(table), table, 200.0, sizes).kept == {"g": 16}


NUMBERS = st.floats(0.01, 10.0)


@st.composite
def cases(draw: Any) -> tuple[list[Group], CostTable, int, float]:
    """Draw groups of 4 to 40 channels, a noisy table of two layers each, and rounding options."""
    round_to, max_ratio = draw(st.sampled_from([1, 2, 4, 8])), draw(st.floats(0.1, 0.95))
    items, full, shares, groups = {}, {}, {}, []
    for number in range(draw(st.integers(1, 4))):
        name, width = f"g{number}", draw(st.integers(4, 40))
        counts = allowed_counts(width, width, round_to, max_ratio)
        own, shared = f"layer{number}", f"layer{number + 1}"
        items.update({own: draw(NUMBERS), shared: draw(NUMBERS)})
        full[name] = width
        some = some_counts(counts, width) if counts else []
        shares[name] = {k: {own: draw(st.floats(0.0, 1.0)), shared: draw(st.floats(0.0, 1.0))} for k in some}
        groups.append(Group(name, draw(st.lists(NUMBERS, min_size=width, max_size=width)), counts))
    return groups, CostTable(items, full, shares), round_to, max_ratio


@given(cases(), st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_kept_channels_are_within_bounds_and_monotonic_in_the_goal(
    case: tuple[list[Group], CostTable, int, float], one: float, other: float
) -> None:
    groups, table, round_to, max_ratio = case
    whole = table.total({})
    more, less = (allocate(groups, table, whole * share) for share in sorted((one, other), reverse=True))
    for group in groups:
        for chosen in (more, less):
            left = chosen.kept[group.name]
            assert left <= group.channels
            if left < group.channels:
                assert left >= round_to and left % round_to == 0
                assert left >= (1.0 - max_ratio) * group.channels - 1e-6
        assert less.kept[group.name] <= more.kept[group.name]
    assert less.cost <= more.cost <= whole * (1 + 1e-9)
    assert more == allocate(groups, CostTable.from_dict(table.as_dict()), whole * max(one, other))


@given(st.integers(2, 256), st.sampled_from([4, 8, 16]), st.floats(0.1, 0.95))
def test_measured_counts_are_allowed_and_include_the_least(
    full: int, round_to: int, max_ratio: float
) -> None:
    counts = allowed_counts(full, full, round_to, max_ratio)
    if counts:
        some = some_counts(counts, full)
        assert set(some) <= set(counts) and min(some) == min(counts) and 1 <= len(some) <= 3


def test_groups_that_share_no_layer_are_timed_together() -> None:
    """In a chain of three, the first and the last group share no layer."""
    assert independent_sets({"a": [0, 1], "b": [1, 2], "c": [2, 3]}) == [["a", "c"], ["b"]]


def test_names_of_fused_layers_are_split() -> None:
    assert names_in("53_nchwc") == ["53"]
    assert names_in("55/WithoutBiases,55,Clip_4") == ["55", "55", "Clip_4"]


def test_timing_a_graph_against_itself(tmp_path: Path) -> None:
    """Only checks that layers are found and the ratio is plausible."""
    path = write_segmenter(tmp_path / "m") / "fp32.onnx"
    runtime = Runtime("onnxruntime", {"threads": 1})

    first, second = time_layers([path, path], runtime, rounds=1)

    assert first.keys() == second.keys() and all(ms >= 0.0 for ms in first.values())
    assert 0.1 < measured_speedup(path, path, runtime, seconds=0.05) < 10.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speedup": 2.0}, "speedup goes with allocation: latency"),
        ({"allocation": "latency"}, "takes speedup or parameters"),
        ({"allocation": "latency", "speedup": 2.0, "parameters": 0.5}, "one of them"),
        ({"allocation": "latency", "speedup": 2.0, "ratio": 0.5}, "ratio goes with allocation: importance"),
    ],
)
def test_contradicting_goals_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        PruneChannels(options)
