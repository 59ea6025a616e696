# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs one scenario: a node, its frames, and the evidence of what was injected and published."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ad_compressed_perception.core.manifest import load_manifest
from ad_road_simulation.faults.log import Injection, read_log
from benchmark.fault_campaign.account import Account, FrameEvidence, account
from benchmark.fault_campaign.camera import Camera, SentFrame
from benchmark.fault_campaign.node import faulty_node
from benchmark.fault_campaign.references import (
    BASELINE,
    JOINED,
    OTHER,
    VARIANT,
    Expected,
    Joins,
    expected_frames,
    whose_result,
)
from benchmark.fault_campaign.scenarios import GUARD, VARIANTS, Scenario

_MODELS = Path(__file__).resolve().parents[2] / "models"
_HELD_FRAMES = 60
_LOOK_AFTER = 25
"""Frames between two looks into the log."""
_DRAIN_S = 1.5


def run_scenario(
    scenario: Scenario, folder: Path, bag: Path | None, frames: int = 200, *, has_guard: bool = True
) -> Account:
    """Start the scenario's node, send frames until enough faults were injected, and account for all.

    Args:
        scenario: what to do.
        folder: for the node's parameters, output and log of faults; made.
        bag: the drive; None renders the road camera's.
        frames: of the drive, which is repeated.
        has_guard: whether the node has the parameters of a guard.

    Raises:
        AdcpError: a model or recording that cannot be read, or a node that does not start.
    """
    folder.mkdir(parents=True)
    model, variant = _MODELS / f"road_{scenario.task}", VARIANTS[scenario.task]
    expected = expected_frames(model, variant, frames, bag)
    log = folder / "faults.jsonl"
    parameters = {
        "model": str(model),
        "variant": variant,
        **(GUARD if has_guard else {}),
        **scenario.parameters,
    }
    faults = {**scenario.faults, "inner": "onnxruntime", "log": str(log)}
    camera = Camera(scenario.task)
    try:
        with faulty_node(scenario.task, parameters, faults, folder) as process:
            camera.connect(scenario.task, process)
            end = time.monotonic() + scenario.limit_s
            number = 0
            while process.poll() is None and time.monotonic() < end:
                camera.send(expected, number % len(expected), scenario.patience_s, scenario.period_s)
                number += 1
                if number % _LOOK_AFTER == 0 and _has_enough(scenario, log):
                    break
            camera.spin(_DRAIN_S)
            status = process.poll()
    finally:
        camera.close()
    names = {BASELINE: load_manifest(model).baseline, VARIANT: variant}
    result = _account(scenario, camera, expected, list(read_log(log)), names)
    if status is not None:
        result.problems.append(f"the node ended with status {status}")
    if camera.foreign:
        result.problems.append(f"{camera.foreign} messages are of no frame that was sent, or repeated")
    if camera.received != len(camera.sent):
        result.problems.append(f"{len(camera.sent)} frames were sent, the node counts {camera.received}")
    return result


def _has_enough(scenario: Scenario, log: Path) -> bool:
    kinds = [fault.kind for fault in read_log(log)]
    return len(kinds) >= scenario.needed and set(kinds) >= set(scenario.kinds)


def _account(
    scenario: Scenario,
    camera: Camera,
    expected: Sequence[Expected],
    faults: Sequence[Injection],
    names: dict[str, str],
) -> Account:
    evidence: list[FrameEvidence] = []
    joins = Joins()
    for place, frame in enumerate(camera.sent):
        before = [expected[one.index] for one in camera.sent[max(place - _HELD_FRAMES, 0) : place]]
        one = _evidence(scenario.task, frame, expected[frame.index], before, names)
        if one.results and scenario.task == "planning":
            own = expected[frame.index].results[BASELINE if frame.variant == names[BASELINE] else VARIANT]
            if one.whose == OTHER and joins.is_joined(frame.results[0], own):
                one = replace(one, whose=JOINED)
            joins.note(frame.results[0], own, is_trusted=one.whose != OTHER)
        evidence.append(one)
    least = dict.fromkeys(scenario.kinds, 1)
    result = account(
        evidence,
        faults,
        [step.time_ns for step in camera.steps if step.values.get("event") == "level"],
        least,
    )
    if len(faults) < scenario.needed:
        result.problems.append(f"{len(faults)} faults injected of {scenario.needed}")
    return result


def _evidence(
    task: str, frame: SentFrame, expected: Expected, before: Sequence[Expected], names: dict[str, str]
) -> FrameEvidence:
    named = next((whose for whose, variant in names.items() if variant == frame.variant), "")
    whose = ""
    if frame.results:
        whose = whose_result(task, frame.results[0], frame.stamp_ns, expected, before, named)
    return FrameEvidence(
        frame.stamp_ns,
        expected.digest,
        len(frame.results),
        whose,
        whose not in names or frame.variant == names[whose],
        frame.outcome,
        frame.level,
        (frame.answered_ns - frame.stamp_ns) / 1e6 if frame.results else float("nan"),
    )
