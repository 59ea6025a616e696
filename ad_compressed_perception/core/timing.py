# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Processing stages and outcome of a frame, and counters of frames by outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

STAGES = ("transport_age", "queue_wait", "decode", "prepare", "infer", "post", "publish")
"""Stage names in the order a frame passes them; all durations are in milliseconds.

transport_age: from the source stamp (or the publisher's send time, see the node parameter
    ``age_reference``) to the arrival in the node, by the ROS clock; may be negative.
queue_wait: in the middleware, where that says when a message came, and in the latest-frame slot.
decode: message to array. prepare: array to model input.
infer: the runtime. post: model output to result. publish: result to message, handed to the middleware.
"""

COMPUTE_STAGES = STAGES[1:]
"""The stages between arrival and published result, measured by the monotonic clock."""

Outcome = Literal["processed", "dropped_stale", "dropped_busy", "failed"]
NOBODY = "none"
LEVELS = ("primary", "standby", "hold", NOBODY)
"""Who may answer a frame, see NodeReport."""
OUTCOMES: tuple[Outcome, ...] = ("processed", "dropped_stale", "dropped_busy", "failed")


@dataclass(frozen=True)
class FrameTiming:
    """Outcome and stage durations of one frame in one node.

    Attributes:
        stamp_ns: the frame's source stamp, nanoseconds.
        outcome: processed, dropped_stale (older than ``max_age_ms`` when the worker took it),
            dropped_busy (replaced in the slot by a newer frame, or still waiting at deactivation) or failed.
        stages_ms: stage name to milliseconds; a stage the frame did not reach is absent.
        end_to_end_ms: transport_age plus all compute stages, for processed frames; else NaN.
        reason: why it failed or was dropped; empty when processed.
        answered_by: fields of NodeReport that say who answered, ``model`` to ``level``; empty where none did.
        camera: its name in the node; empty where the node has one camera.
    """

    stamp_ns: int
    outcome: Outcome
    stages_ms: dict[str, float]
    end_to_end_ms: float = float("nan")
    reason: str = ""
    answered_by: Mapping[str, str] = field(default_factory=dict)
    camera: str = ""


@dataclass
class FrameCounters:
    """Frame counters: received = processed + dropped_stale + dropped_busy + failed + pending."""

    received: int = 0
    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    def complete(self, outcome: Outcome) -> None:
        """Count one received frame under its final outcome."""
        self.counts[outcome] += 1

    @property
    def pending(self) -> int:
        """Frames received and not yet completed: in the slot or being processed."""
        return self.received - sum(self.counts.values())

    def copy(self) -> FrameCounters:
        """Return the counters as they are now."""
        return FrameCounters(self.received, dict(self.counts))


@dataclass(frozen=True)
class NodeReport:
    """A node's report after each completed frame: its identity, the frame's timing, its frame counters.

    Attributes:
        node: fully qualified node name.
        task: detection, segmentation, planning or classification.
        model: the manifest's name.
        variant: the variant's name.
        backend: the runtime's name.
        requested_provider: requested provider.
        provider: provider in use.
        precision: precision as executed.
        timing: the completed frame.
        received: frames that arrived since activation.
        counts: how many of them ended in each outcome.
        waited_ms: since the frame was completed, for the message that carries the report.
        level: who answered: primary; standby, in the place of a primary that did not; hold, the result of an
            earlier frame; none: nobody did, and the model is the primary that the frame was for.
        clock_step_ms: by how much the ROS clock was set since the report before, against the monotonic clock.
    """

    node: str
    task: str
    model: str
    variant: str
    backend: str
    requested_provider: str
    provider: str
    precision: str
    timing: FrameTiming
    received: int
    counts: dict[Outcome, int]
    waited_ms: float = 0.0
    level: str = "primary"
    clock_step_ms: float = 0.0
