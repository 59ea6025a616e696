# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clipped activation ranges: by least square error, and before x * sigmoid(x)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import TensorData, TensorsData

from ad_compressed_perception.compression.quantization.range_rules import (
    SILU_FLOOR,
    mse_range,
    narrow_silu_inputs,
    silu_inputs,
)


def rounding_error(values: NDArray[np.float64], low: float, high: float) -> float:
    """Return the mean square error of 8-bit quantization, straight from the definition."""
    scale = (high - low) / 255
    zero = round(-low / scale)
    numbers = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(np.mean((values - (numbers - zero) * scale) ** 2))


def best_range(values: NDArray[np.float64], bins: int = 8192) -> tuple[float, float]:
    bound = float(np.abs(values).max())
    counts, edges = np.histogram(values, bins, range=(-bound, bound))
    return mse_range(counts, edges, float(values.min()), float(values.max()))


def test_finds_the_known_optimum_for_laplace_values() -> None:
    """8 bits of a Laplace distribution of scale 1 err least when clipped at 9.89.

    Banner, Nahshan and Soudry, "Post training 4-bit quantization of convolutional networks", NeurIPS
    2019, section 3 (ACIQ).
    """
    values = np.random.default_rng(1).laplace(0.0, 1.0, 2_000_000)
    assert np.abs(values).max() > 13.0
    low, high = best_range(values)
    assert (-low, high) == pytest.approx((9.89, 9.89), rel=0.08)
    assert rounding_error(values, low, high) < rounding_error(values, values.min(), values.max())


def test_keeps_the_ends_of_a_uniform_distribution() -> None:
    values = np.random.default_rng(1).uniform(-3.0, 5.0, 100_000)
    low, high = best_range(values)
    assert (low, high) == pytest.approx((-3.0, 5.0), rel=0.03)


@given(st.floats(-100.0, 50.0), st.floats(0.01, 100.0), st.integers(0, 5))
def test_ranges_stay_within_the_values_seen_and_include_zero(low: float, width: float, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(low, low + width, 500)
    found = best_range(values, bins=256)
    assert min(float(values.min()), 0.0) <= found[0] <= 0.0 <= found[1] <= max(float(values.max()), 0.0)


def test_a_constant_zero_has_no_range() -> None:
    assert mse_range(np.array([5]), np.array([-1.0, 1.0]), 0.0, 0.0) == (0.0, 0.0)


def silu_graph(*, also_used: bool = False) -> ModelProto:
    """Return Relu, then x * sigmoid(x), then (when ``also_used``) something else that uses x."""
    nodes = [
        helper.make_node("Neg", ["input"], ["x"], "before"),
        helper.make_node("Sigmoid", ["x"], ["gate"], "sigmoid"),
        helper.make_node("Mul", ["gate", "x"], ["y"], "times"),
    ]
    if also_used:
        nodes.append(helper.make_node("Add", ["x", "y"], ["z"], "more"))
    value = helper.make_tensor_value_info
    ends = [value("input", TensorProto.FLOAT, [1, 4])], [value("z" if also_used else "y", 1, [1, 4])]
    return helper.make_model(helper.make_graph(nodes, "g", *ends))


def test_finds_what_only_feeds_silu() -> None:
    assert silu_inputs(silu_graph()) == ["x"]
    assert silu_inputs(silu_graph(also_used=True)) == []  # there values below the floor matter


@pytest.mark.parametrize(("low", "expected"), [(-90.0, SILU_FLOOR), (-3.0, -3.0)])
def test_raises_the_lower_end_before_silu(low: float, expected: float) -> None:
    entry = TensorData(lowest=np.array([low], np.float32), highest=np.array([20.0], np.float32))
    ranges = TensorsData(CalibrationMethod.MinMax, {"x": entry})
    narrowed = narrow_silu_inputs(silu_graph(), ranges)
    assert narrowed == (["x"] if low < SILU_FLOOR else [])
    assert [float(np.squeeze(end)) for end in ranges["x"].range_value] == [expected, 20.0]


def test_the_floor_is_below_the_resolution_of_8_bits() -> None:
    # The least value of x * sigmoid(x) beyond the floor against half a step of the output's narrowest
    # useful range, -0.28..1.
    x = np.linspace(-60.0, SILU_FLOOR, 1000)
    assert np.abs(x / (1.0 + np.exp(-x))).max() == pytest.approx(0.0027, abs=1e-4)
    assert np.abs(x / (1.0 + np.exp(-x))).max() < 1.28 / 255
