# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A loaded shadow at work in a node: its frames, topics, counters and figures."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field
from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.frame_selection import is_nth
from ad_compressed_perception.nodes.shadow_topics import ShadowTopics, TopicHost
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import Before, ModelIdentity, ServedModel
from ad_compressed_perception.serving.shadow_agreement import ShadowAgreement, ShadowScore
from ad_compressed_perception.serving.shadow_cost import CostBlocks
from ad_compressed_perception.serving.shadow_runner import ShadowAnswer, ShadowJob, ShadowRunner
from ad_compressed_perception.serving.shadow_schedule import Due, ShadowSchedule
from ad_compressed_perception.tasks.pipeline import Pipeline

PREFIX = "~/shadow"
_MOST_TIMES = 4096
WAIT_LIMIT_S = 2.0
"""How long the primary waits for a shadow, in the one schedule where it does."""


class ShadowOptions(StrictModel):
    """A second model on the frames of the first one; its parameters may change at any time."""

    shadow_variant: str = Field(
        "",
        description="variant that runs as a shadow: on the primary's frames, after it, with results on "
        "~/shadow/... only; empty: none, unless shadow_model is given (then its baseline)",
    )
    shadow_model: str = Field("", description="folder of the shadow's model; empty: that of the primary")
    shadow_backend: str = Field(
        "",
        description="runtime of the shadow, with its default options; empty: the one its manifest names, "
        "with backend_options",
    )
    shadow_schedule: Literal["off", "alternating", "every_nth", "slack"] = Field(
        "slack",
        description="frames of the shadow: random ones, run when the time until the next frame suffices "
        "(slack); one of shadow_every_nth (every_nth); every frame, on which the models alternate in being "
        "first and the primary waits, for measurements (alternating); none (off)",
    )
    shadow_every_nth: int = Field(
        10,
        ge=1,
        le=10000,
        description="one of so many frames, chosen by stamps where camera_rate_hz is given, else counted",
    )
    shadow_max_rate_hz: float = Field(
        2.0, ge=0.01, le=1000.0, description="most runs of the shadow a second by slack"
    )
    shadow_deadline_ms: float = Field(
        0.0,
        ge=0.0,
        le=60000.0,
        description="time after a frame's arrival at which the shadow has to be done by slack; 0: when the "
        "next frame is expected",
    )
    shadow_cost_blocks: int = Field(
        0,
        ge=0,
        le=4000,
        description="measure what the shadow costs the primary, by blocks of so many frames with and without "
        "it; 0: run it without pause",
    )


class ShadowHost(TopicHost, Protocol):
    """What a shadow asks of its node."""

    @property
    def models(self) -> ModelSet:
        """Its models."""

    def settings_for(self, pipeline: Pipeline) -> Any:
        """Return the task's settings that a model gets."""

    def inputs_at(self, stamp_ns: int) -> Before:
        """Return what a task is given at a stamp, as it is known now."""


class RunningShadow:
    """Takes frames in the worker's thread, works in its own; whatever goes wrong there stays there."""

    def __init__(
        self, node: Node, host: ShadowHost, model: ServedModel, gate: Gate, took_s: Sequence[float]
    ) -> None:
        """Create the topics and the thread; use() begins. ``took_s``: what some runs took, seconds."""
        self._node, self._host, self.model, self._took_s = node, host, model, took_s
        self._lock = Lock()
        self.agreement = ShadowAgreement(gate)
        self._topics = ShadowTopics(node, host, model)
        self.publish_due = self._topics.publish_due
        self._schedule: ShadowSchedule[ShadowJob] = ShadowSchedule("off")
        self._cost: CostBlocks | None = None
        self._counters = FrameCounters()
        self._of_camera: defaultdict[str, FrameCounters] = defaultdict(FrameCounters)
        self._skipped: Counter[str] = Counter()
        self._number, self._first_number = 0, 1
        self._numbers: Counter[str] = Counter()
        self._camera = ""
        self._primary: ModelIdentity | None = None
        self._first: ShadowJob | None = None
        self._times_ms: deque[tuple[float, float]] = deque(maxlen=_MOST_TIMES)
        self._settings: Any = None
        self.take_settings()
        self.last_reason = ""
        self.is_given_up = False
        self.runner = ShadowRunner(model, self._finish, self._note_run)

    def use(self, options: ShadowOptions, camera_rate_hz: float) -> None:
        """Choose frames by these options from now on; figures begin anew."""
        every_nth = options.shadow_every_nth

        def takes(stamp_ns: int) -> bool:
            if camera_rate_hz > 0.0:
                return is_nth(stamp_ns, every_nth, camera_rate_hz)
            return self._numbers[self._camera] % every_nth == 0  # of all, it might be one camera alone

        schedule: ShadowSchedule[ShadowJob] = ShadowSchedule(
            options.shadow_schedule,
            is_nth=takes,
            max_rate_hz=options.shadow_max_rate_hz,
            deadline_s=options.shadow_deadline_ms * 1e-3,
        )
        for seconds in self._took_s:
            schedule.time.durations.add(seconds)
        with self._lock:
            self._schedule = schedule
            self._cost = CostBlocks(options.shadow_cost_blocks) if options.shadow_cost_blocks else None
            self._counters, self._skipped = FrameCounters(), Counter()
            self._of_camera.clear()
            self._times_ms.clear()
            self.agreement.clear()

    def _begin_anew(self) -> None:
        """Forget what is known of both models together; what became of the frames stays."""
        with self._lock:
            self._first_number = self._number + 1
            self._times_ms.clear()
            self.agreement.clear()
            if self._cost is not None:
                self._cost = CostBlocks(self._cost.size)

    @property
    def is_promoted(self) -> bool:
        """Whether its model has another use now."""
        with self._lock:
            return not self.is_given_up and self._host.models.shadow is not self.model

    def take_settings(self) -> None:
        """Use the task's settings as they are now."""
        self._settings = self._host.settings_for(self.model.pipeline)

    def pause(self) -> None:
        """Drop the frames that wait: no more come for now."""
        with self._lock:
            self._skipped["dropped_waiting"] += self._schedule.held.clear()
            self._first = None
        self._topics.flush()

    def close(self, *, keeps_model: bool = False) -> None:
        """End, without waiting; ``keeps_model``: another use has it now."""
        if keeps_model:
            self.runner.end()
        else:
            self.runner.close()
        self._topics.destroy()

    # Frames ---------------------------------------------------------------------------------------

    def before_primary(self, frame: Frame, arrival: Arrival) -> None:
        """Run first where it is the shadow's turn."""
        self._first = None
        is_allowed = self._cost is None or self._cost.has_shadow
        if self.is_given_up or not is_allowed or not self._schedule.shadow_first():
            return
        self._run_and_wait(self._job(frame, arrival, self._number + 1))

    def after_primary(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Note the primary's result, and run what is due."""
        now_s = perf_counter()
        if answer.level != "primary":
            self._skipped["not_by_primary"] += 1
            return
        if answer.identity != self._primary:
            self._begin_anew()  # figures were those with the primary before
            self._primary = answer.identity
        self._number += 1
        self._camera = arrival.camera
        self._numbers[arrival.camera] += 1
        latency_ms = (now_s - arrival.arrived_s) * 1e3
        self.agreement.note_frame(self._number, latency_ms, answer.own, now_s)
        cost, is_allowed = self._cost, True
        if cost is not None:
            is_allowed = cost.has_shadow
            cost.add(latency_ms)
        if self.is_given_up or not is_allowed:
            self._skipped["given_up" if self.is_given_up else "block_without_shadow"] += 1
            return
        first, self._first = self._first, None
        job = self._job(frame, arrival, self._number)
        if first is not None and (first.stamp_ns, first.camera) == (arrival.stamp_ns, arrival.camera):
            job = replace(job, answer=first.answer)
        job = replace(job, primary=answer.own, primary_ms=answer.stages_ms)
        schedule = self._schedule
        is_idle = self.runner.is_idle
        due = schedule.after_primary(job, arrival.stamp_ns, arrival.arrived_s, now_s, is_idle=is_idle)
        if due is not None:
            self._run(due, waits=schedule.name == "alternating")

    def _run(self, due: Due[ShadowJob], *, waits: bool) -> None:
        job = replace(due.item, weight=due.weight)
        with self._lock:
            self._counters.received += 1
            self._of_camera[job.camera].received += 1
        if waits:
            self._run_and_wait(job)
        else:
            self.runner.offer(job)

    def _run_and_wait(self, job: ShadowJob) -> None:
        if self.runner.offer(job) and not self.runner.wait(WAIT_LIMIT_S):
            self.give_up(f"did not answer within {WAIT_LIMIT_S:g} s")

    def give_up(self, reason: str) -> None:
        """Take no more frames, and close the model, unless it was promoted: then it is no shadow any more."""
        with self._lock:
            if not self._host.models.lose_shadow(self.model):
                return
            self.is_given_up, self.last_reason = True, reason
        self._node.get_logger().error(f"the shadow {self.name} {reason} and was given up")
        self.runner.close()

    def _job(self, frame: Frame, arrival: Arrival, number: int) -> ShadowJob:
        stamp_ns = arrival.stamp_ns
        inputs = self._host.inputs_at(stamp_ns)
        header, camera = arrival.message.header, arrival.camera
        return ShadowJob(frame, stamp_ns, header, self._settings, inputs, number, camera=camera)

    def _finish(self, job: ShadowJob, answer: ShadowAnswer) -> None:
        """Compare and publish; in the shadow's thread."""
        if job.primary is None:
            self._first = replace(job, answer=answer)
            return
        reason, stages_ms = answer.reason, dict(answer.stages_ms)
        try:
            self.agreement.note_pair(job.number, job.weight, job.stamp_ns, job.primary, answer.result)
        except AdcpError as error:
            reason = str(error)
        if answer.result is not None:
            start_s = perf_counter()
            try:
                self._topics.publish(answer.result, job.header, job.camera)
            except Exception as error:  # such as a path without a valid command
                if not self.runner.is_closed:  # then the topics are destroyed
                    note_failure(self._node, "publishing a shadow's result", error)
            stages_ms["publish"] = (perf_counter() - start_s) * 1e3
            if job.number >= self._first_number:  # else with the primary before
                times_ms = job.primary_ms.get("infer", math.nan), stages_ms.get("infer", math.nan)
                self._times_ms.append(times_ms)
        self.last_reason = reason or self.last_reason
        outcome: Literal["failed", "processed"] = "failed" if reason else "processed"
        with self._lock:
            self._counters.complete(outcome)
            self._of_camera[job.camera].complete(outcome)
            counters = self._of_camera[job.camera].copy()
        timing = FrameTiming(job.stamp_ns, outcome, stages_ms, reason=reason, camera=job.camera)
        self._topics.add(timing, counters)

    def _note_run(self, now_s: float, took_s: float) -> None:
        self._schedule.time.ran(now_s, took_s)

    # Figures --------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Model and variant."""
        return self.model.identity.name

    def figures(self, score: ShadowScore) -> dict[str, str]:
        """Return all figures, as texts; an unknown one is empty."""
        with self._lock:
            schedule, cost = self._schedule, self._cost
            counts, skipped = self._counters.counts, dict(self._skipped)
            in_work = max(self._counters.pending, 0)  # one of before use() may end after it
            times_ms = np.array(self._times_ms, np.float64).reshape(-1, 2)
        times_ms = times_ms[np.isfinite(times_ms).all(axis=1)]
        primary_ms, shadow_ms = np.median(times_ms, axis=0) if len(times_ms) else (math.nan, math.nan)
        estimate = score.estimate
        values: dict[str, float | int | str] = {
            **self.model.identity.texts(),
            "sha256": self.model.identity.sha256,
            "schedule": schedule.name,
            "agreement": estimate.score,
            "agreement_low": estimate.interval[0],
            "agreement_high": estimate.interval[1],
            "agreement_uncorrected": estimate.uncorrected,
            "window_frames": estimate.frames,
            "window_compared": estimate.compared,
            "window_informative": score.informative,
            "window_failed": score.failed,
            "window_cells": estimate.cells,
            "compared": counts["processed"],
            "failed": counts["failed"],
            "last_failure": self.last_reason,
            "skipped_not_chosen": schedule.not_chosen,
            "skipped_busy": schedule.busy,
            "skipped_without_time": schedule.held.merged,
            **{f"skipped_{key}": count for key, count in skipped.items()},
            "waiting": len(schedule.held) + in_work,
            "time_needed_ms": (schedule.time.durations.high() or math.nan) * 1e3,
            "primary_infer_p50_ms": float(primary_ms),
            "shadow_infer_p50_ms": float(shadow_ms),
            "speedup_infer_paired_p50": float(np.median(times_ms[:, 0] / times_ms[:, 1]))
            if len(times_ms)
            else math.nan,
            "speedup_frames": len(times_ms),
        }
        if cost is not None:
            found = cost.cost()
            for key, ratio in (("p50", found.p50), ("p99", found.p99)):
                values[f"cost_{key}_ratio"] = ratio.value
                values[f"cost_{key}_ratio_low"], values[f"cost_{key}_ratio_high"] = ratio.low, ratio.high
            values |= {"cost_rounds": found.rounds, "cost_frames": found.frames}
        return {key: _text(value) for key, value in values.items()}


def _text(value: float | int | str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
