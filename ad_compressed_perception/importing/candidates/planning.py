# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders that could fit a planner: single numbers, controls, or points ahead of the vehicle."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.driving.plan_vector import LENGTH
from ad_compressed_perception.importing.candidates.candidate import Candidate, Evidence, is_float

_MOST_POINTS = 200
_FEWEST_POINTS = 3


def planners(evidence: Evidence) -> Sequence[Candidate]:
    """Return the planners that outputs of few numbers could belong to."""
    if evidence.facts.metadata.task not in ("", "planning", "regression", "steering"):
        return []
    sizes = {one.name: _size(one) for one in evidence.outputs if is_float(one)}
    if not sizes or len(sizes) != len(evidence.outputs) or 0 in sizes.values():
        return []
    single = [name for name, size in sizes.items() if size == 1]
    found: list[Candidate] = []
    if single and len(single) == len(sizes) <= 3:
        found += _numbers(evidence, single)
    for tensor in evidence.outputs:
        size = sizes[tensor.name]
        named = {"output": tensor.name} if len(sizes) > 1 else {}
        shown = f"output {tensor.name!r} of {size} numbers"
        if size == LENGTH and tensor.shape in ((1, LENGTH), (None, LENGTH)):
            found.append(
                Candidate(
                    "planning", "trajectory", named, 0, "planner", f"{shown}: a plan of this package", 0.6
                )
            )
        if size in (2, 3) and not single:
            found += _controls(evidence, tensor.name, size, named, shown)
        last = tensor.shape[-1]
        if (
            last in (2, 3)
            and _FEWEST_POINTS <= size // int(last or 1) <= _MOST_POINTS
            and len(tensor.shape) >= 2
        ):
            found.append(
                Candidate(
                    "planning",
                    "waypoints",
                    named,
                    0,
                    "planner",
                    f"{shown}: {size // int(last or 1)} points of {last}",
                    0.7,
                )  # fmt: skip
            )
    return found


def _controls(evidence: Evidence, name: str, size: int, named: dict[str, str], shown: str) -> list[Candidate]:
    """Return readings of two or three numbers: controls of CARLA's conventions, or an angle and a speed."""
    options = {
        **named,
        "order": ["steer", "throttle", "brake"][:size],
        "steer_positive": "right",
        "max_road_wheel_rad": 1.22,
    }
    low, high = evidence.span(name)
    inside = bool(low >= -1.05 and high <= 1.05)
    controls = Candidate(
        "planning", "controls", options, 0, "planner",
        f"{shown}, steer, throttle, brake as in CARLA", 0.6 if inside or size == 3 else 0.3,
    )  # fmt: skip
    if size == 3:
        return [controls]
    pair = {"steering_output": name, "speed_output": name}
    return [
        controls,
        Candidate("planning", "steering", pair, 0, "planner", f"{shown}, an angle and a speed", 0.4),
    ]


def _size(tensor: TensorSpec) -> int:
    """Return how many numbers a frame has; 0 where that is open."""
    shape = tensor.shape[1:] if tensor.shape and tensor.shape[0] is None else tensor.shape
    return 0 if None in shape else prod(int(size or 0) for size in shape)


def _numbers(evidence: Evidence, names: list[str]) -> list[Candidate]:
    """Return readings of one to three single numbers: the angle, then what is a probability."""
    if len(names) == 1:
        return [
            Candidate(
                "planning",
                "steering",
                {"steering_output": names[0]},
                0,
                "planner",
                f"one number, output {names[0]!r}",
                0.7,
            )  # fmt: skip
        ]
    found = []
    for angle in names:
        others = [name for name in names if name != angle]
        unlikely = evidence.facts.has_probabilities(angle)
        collision = [name for name in others if evidence.facts.has_probabilities(name)]
        ranges = ", ".join(f"{name!r} {_range(evidence, name)}" for name in names)
        options = {"steering_output": angle}
        if collision:
            options["collision_output"] = collision[0]
        found.append(
            Candidate(
                "planning",
                "steering",
                options,
                0,
                "planner",
                f"{len(names)} single numbers: {ranges}"
                + (f"; {collision[0]!r} ends in a sigmoid" if collision else ""),
                0.2 if unlikely else 0.75 if collision else 0.6,
            )
        )
    return found


def _range(evidence: Evidence, name: str) -> str:
    low, high = evidence.span(name)
    return "" if np.isnan(low) else f"from {low:.3g} to {high:.3g}"
