# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of frames with and without a shadow: order, ratios and their intervals, what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ad_compressed_perception.serving.shadow_cost import FEWEST_ROUNDS, CostBlocks


def drive(blocks: CostBlocks, rounds: int, size: int, factor: float, drift: float = 0.0) -> None:
    """Give blocks times around 10 ms, ``factor`` times as long with the shadow, with a linear drift."""
    rng = np.random.default_rng(1)
    for place in range(rounds * 2 * size):
        slow = factor if blocks.has_shadow else 1.0
        blocks.add((10.0 + drift * place) * slow * math.exp(0.05 * rng.standard_normal()))


def test_blocks_alternate_in_an_order_that_favors_neither() -> None:
    blocks = CostBlocks(3)
    order = []
    for _ in range(24):
        order.append(blocks.has_shadow)
        blocks.add(1.0)
    assert order == [*[True] * 3, *[False] * 6, *[True] * 6, *[False] * 6, *[True] * 3]


@pytest.mark.parametrize("factor", [1.0, 1.05, 1.5])
def test_the_interval_holds_the_true_cost(factor: float) -> None:
    """20 rounds of 2 x 50 frames with 5 % of noise: the median is known to about 0.4 %."""
    blocks = CostBlocks(50)
    drive(blocks, 20, 50, factor)
    cost = blocks.cost()
    assert (cost.rounds, cost.frames) == (20, 20 * 2 * 49)
    for ratio in (cost.p50, cost.p99):
        assert ratio.low <= ratio.value <= ratio.high
        assert ratio.low - 0.02 <= factor <= ratio.high + 0.02
    assert cost.p50.high - cost.p50.low < 0.03


def test_a_load_that_grows_is_no_cost() -> None:
    """From 10 to 20 ms within 20 rounds: with the shadow first in each round it would cost 2 to 3 %."""
    blocks = CostBlocks(50)
    drive(blocks, 20, 50, 1.0, drift=0.005)
    assert blocks.cost().p50.value == pytest.approx(1.0, abs=0.02)


def test_the_first_frame_of_a_block_may_still_wait_for_the_block_before() -> None:
    blocks = CostBlocks(10)
    for place in range(10 * 2 * FEWEST_ROUNDS):
        blocks.add(500.0 if place % 10 == 0 else 10.0)
    assert blocks.cost().p99.value == 1.0


def test_few_rounds_have_no_interval_and_none_no_ratio() -> None:
    blocks = CostBlocks(10)
    assert math.isnan(blocks.cost().p50.value)
    drive(blocks, FEWEST_ROUNDS - 1, 10, 1.0)
    cost = blocks.cost()
    assert math.isfinite(cost.p50.value)
    assert math.isnan(cost.p50.low)
