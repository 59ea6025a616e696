# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SQNR of one quantized tensor at a time, and mixed-precision selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.compression.quantization.mixed_precision import select_float_tensors
from ad_compressed_perception.compression.quantization.sensitivity import (
    SQNR_LIMIT_DB,
    OutputNoise,
    measure_sensitivities,
    sqnr_db,
)
from support.models import write_segmenter
from support.qdq import quantize


def test_sqnr_of_a_uniform_signal_follows_its_bits() -> None:
    # A uniform signal in -1..1 has power 1/3, rounding to a step s has noise s^2/12 (Widrow and Kollar).
    signal = np.random.default_rng(1).uniform(-1.0, 1.0, 200_000)
    found = []
    for bits in (6, 7, 8):
        step = 2.0 / 2**bits
        noise = np.rint(signal / step) * step - signal
        found.append(sqnr_db(float(np.sum(signal**2)), float(np.sum(noise**2))))
        assert found[-1] == pytest.approx(10 * math.log10((1 / 3) / (step**2 / 12)), abs=0.05)
    # 6.02 dB a bit.
    assert np.diff(found) == pytest.approx(20 * math.log10(2.0), abs=0.05)


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [
        (1.0, 0.0, SQNR_LIMIT_DB),
        (0.0, 0.0, SQNR_LIMIT_DB),
        (0.0, 1.0, -SQNR_LIMIT_DB),
        (1.0, math.nan, -SQNR_LIMIT_DB),
        (1.0, math.inf, -SQNR_LIMIT_DB),
        (4.0, 4.0, 0.0),
    ],
)
def test_sqnr_at_its_limits(signal: float, noise: float, expected: float) -> None:
    assert sqnr_db(signal, noise) == expected


def test_ranks_each_tensor_by_its_own_sensitivity(tmp_path: Path) -> None:
    graph, feeds = quantize(write_segmenter(tmp_path / "m"), tmp_path / "s")
    done = []
    found = measure_sensitivities(
        graph,
        OutputNoise(graph.floating, ["scores"], [feeds]),
        graph.tensors(),
        lambda now, total: done.append((now, total)),
    )
    assert [entry.sqnr_db for entry in found] == sorted(entry.sqnr_db for entry in found)
    assert done[-1] == (5, 5)
    measured = {entry.tensor.name: entry.sqnr_db for entry in found}
    # Weights of 0 and 1 are exact in 8 bits; images of noise in 0..255 are rounded to about 1:
    # 10 log10(255^2 / 3 / (1 / 12)) = 54 dB, less what the head's constant channel adds.
    assert measured["smooth_w"] == measured["head_w"] == SQNR_LIMIT_DB
    assert 50.0 < measured["features"] < 60.0


def test_noise_of_small_outputs_counts_beside_large_ones(tmp_path: Path) -> None:
    graph, feeds = quantize(write_segmenter(tmp_path / "m"), tmp_path / "s")
    noise = OutputNoise(graph.floating, ["features", "scores"], [feeds])
    # An exact output and one with noise: the shares are averaged, which costs 3 dB of the noisy one.
    alone = OutputNoise(graph.floating, ["scores"], [feeds]).sqnr_db(graph.only("scores"))
    assert noise.sqnr_db(graph.only("scores")) == pytest.approx(alone + 10 * math.log10(2.0), abs=1e-6)


def summed(drops: dict[str, float], floats: Sequence[str]) -> float:
    """Return the drop of a network in which the drops of single tensors add up."""
    return sum(loss for name, loss in drops.items() if name not in floats)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40),
    st.floats(0.01, 0.9),
)
def test_finds_the_least_number_of_ranked_tensors(values: list[float], max_drop: float) -> None:
    drops = {f"t{place}": loss for place, loss in enumerate(sorted(values, reverse=True))}
    ranked = list(drops)
    choice = select_float_tensors(
        ranked, lambda floats: summed(drops, floats), max_drop, requantization_trials=0
    )
    shortest = next(k for k in range(len(ranked) + 1) if summed(drops, ranked[:k]) <= max_drop)
    assert choice.tensors == tuple(ranked[:shortest])
    assert choice.drop <= max_drop
    assert choice.first_drop == summed(drops, ())


def test_needs_few_trials_and_requantizes_unnecessary_tensors() -> None:
    # Ranked first by mistake: 30 tensors without a drop; the 31st causes all of it.
    drops = dict.fromkeys((f"insensitive{place}" for place in range(30)), 0.0) | {"sensitive": 0.5}
    drops |= dict.fromkeys((f"rest{place}" for place in range(300)), 0.0)
    trials = 0

    def drop(floats: tuple[str, ...]) -> float:
        nonlocal trials
        trials += 1
        return summed(drops, floats)

    choice = select_float_tensors(list(drops), drop, 0.1, requantization_trials=40)
    assert choice.tensors == ("sensitive",)
    # 0, 1, 2, ... 32, five bisections and thirty requantization trials, none evaluated twice.
    assert trials == choice.trials <= 45


def test_keeps_all_in_float_where_necessary() -> None:
    choice = select_float_tensors(
        ["a", "b", "c"], lambda floats: 1.0 - len(floats) / 3.0, 0.01, requantization_trials=5
    )
    assert choice.tensors == ("a", "b", "c")
