# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's figures do not depend on how many frames a timing message holds, nor on when it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, NodeReport
from ad_compressed_perception.messages.timing import to_message
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskComparison
from ad_compressed_perception.nodes.node_subscriptions import NodeSubscriptions

NODES = {"baseline": "/baseline/planning", "int8": "/int8/planning"}
TIMEOUT_S = 2.0

FRAMES = st.lists(
    st.tuples(
        st.integers(0, 15),  # which frame of the camera, every 50 ms
        st.sampled_from(("processed", "processed", "processed", "dropped_busy", "dropped_stale", "failed")),
        st.floats(0.5, 200.0),  # infer, ms
        st.floats(-5.0, 50.0),  # age, ms
    ),
    unique_by=lambda frame: frame[0],
    max_size=16,
).map(sorted)


class Wire:
    """Takes the place of the middleware: keeps the callbacks, to be called at chosen times."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[Any, float], None]] = {}

    def subscribe(self, kind: type, topic: str, on_message: Any, qos: Any, *, raw: bool = False) -> None:
        self.callbacks[topic] = on_message


def completed(name: str, frames: Sequence[tuple[int, str, float, float]]) -> list[tuple[float, NodeReport]]:
    """Return when each frame was completed, seconds, and its report."""
    counters, found = FrameCounters(), []
    for number, outcome, infer_ms, age_ms in frames:
        counters.received += 1
        counters.complete(outcome)
        stages = {"transport_age": age_ms}
        if outcome == "processed":
            stages |= {"queue_wait": 0.5, "infer": infer_ms}
        total = sum(stages.values()) if outcome == "processed" else math.nan
        timing = FrameTiming(1_000 + number, outcome, stages, total)
        report = NodeReport(
            node=NODES[name], task="planning", model="m", variant=name, backend="b", requested_provider="p",
            provider="p", precision="int8", timing=timing, received=counters.received,
            counts=dict(counters.counts),
        )  # fmt: skip
        found.append((10.0 + 0.05 * number + infer_ms / 1e3, report))
    return found


def summary(
    frames: dict[str, list[tuple[float, NodeReport]]], period_s: float, read_s: float
) -> tuple[dict[str, Any], int]:
    """Send the reports through messages; return the monitor's figures and how many messages there were.

    Args:
        frames: reports of each node.
        period_s: how long a node collects frames.
        read_s: period in which the monitor reads messages.
    """
    monitor = ComparisonMonitor(
        {"planning": TaskComparison(NODES, "baseline", deadline_ms=60.0)}, now_s=9.0, pair_timeout_s=TIMEOUT_S
    )
    wire = Wire()
    for name in NODES:
        NodeSubscriptions(None, wire, monitor, "planning", name, compare=False)  # type: ignore[arg-type]
    sent: list[tuple[float, str, Any]] = []
    for name, reports in frames.items():
        batch: list[tuple[float, NodeReport]] = []
        clock_s = 0.0
        for index, (at_s, report) in enumerate(reports):
            clock_s = max(clock_s, at_s)
            batch.append((clock_s, report))
            is_last = index + 1 == len(reports)
            if is_last or max(reports[index + 1][0], clock_s) - batch[0][0] >= period_s:
                send_s = clock_s if not period_s else batch[0][0] + max(period_s, clock_s - batch[0][0])
                parts = [
                    NodeReport(**{**vars(one), "waited_ms": (send_s - done_s) * 1e3}) for done_s, one in batch
                ]
                sent.append((send_s, f"{NODES[name]}/timing", to_message(*parts)))
                batch = []
    for send_s, topic, message in sorted(sent, key=lambda one: (_read_at(one[0], read_s), one[0])):
        monitor.expire(_read_at(send_s, read_s))
        wire.callbacks[topic](message, send_s)
    figures = {task: each.model_dump() for task, each in monitor.summary().items()}
    return json.loads(json.dumps(figures)), len(sent)


def _read_at(send_s: float, read_s: float) -> float:
    return math.ceil(send_s / read_s) * read_s if read_s else send_s


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        parts = [flat(part, f"{path}/{name}") for name, part in value.items()]
        return {key: each for part in parts for key, each in part.items()}
    return {path: value}


@given(
    frames=st.fixed_dictionaries(dict.fromkeys(NODES, FRAMES)),
    period_s=st.sampled_from([0.0, 0.1, 0.2, 0.5]),
    read_s=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_batches_change_no_figure_of_the_summary(
    frames: dict[str, Any], period_s: float, read_s: float
) -> None:
    """Rates, percentiles, deadlines, pairs, speed-ups, counters: as with a message a frame, read at once."""
    reports = {name: completed(name, each) for name, each in frames.items()}
    expected, single = summary(reports, 0.0, 0.0)
    found, batches = summary(reports, period_s, read_s)
    assert batches <= single == sum(map(len, frames.values()))
    assert flat(found).keys() == flat(expected).keys()
    for key, value in flat(found).items():
        if isinstance(value, float):
            assert value == pytest.approx(flat(expected)[key], rel=1e-9, nan_ok=True), key
        else:
            assert value == flat(expected)[key], key


def test_a_batch_is_fewer_messages_and_the_same_rate() -> None:
    """Sixteen frames at 20 Hz in batches of 0.2 s: 4 messages, not 16; the rate is that of the frames."""
    frames = {name: completed(name, [(n, "processed", 5.0, 1.0) for n in range(16)]) for name in NODES}
    found, messages = summary(frames, 0.2, 0.1)
    assert messages == 8
    assert found["planning"]["variants"]["int8"]["throughput_hz"] == pytest.approx(20.0)
    assert found["planning"]["variants"]["int8"]["reports_lost"] == 0
