# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Answers a frame by one of the loaded models: by the standby where the primary fails on this very frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock, Thread
from time import monotonic, perf_counter
from typing import Any

from ad_compressed_perception.core.errors import AdcpError, OutputError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.answer import Answer, Held, Job, Others
from ad_compressed_perception.serving.constant_outputs import OutputsByCamera
from ad_compressed_perception.serving.guard import AnswerLevel as Level
from ad_compressed_perception.serving.guard import Guard
from ad_compressed_perception.serving.ladder import FaultKind
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import Before, ServedModel
from ad_compressed_perception.serving.shared_inference import SharedInference
from ad_compressed_perception.tasks.output_contract import check_shapes
from ad_compressed_perception.tasks.pipeline import Pipeline

_PROBATION_PERIOD_S = 0.1


class FrameServer:
    """Chooses who answers; answer() and published() are called by the worker's thread.

    A thread that comes back from a model too late, when its frame was given to another one, changes nothing.

    Attributes:
        guard: trusts or distrusts the primary.
        running: the model that the worker's thread is in; None outside of one.
        running_since_s: when it began, by the clock.
        is_alone: the standby is gone for good: a primary that is not trusted proves itself without it.
        shared: outputs of frames that shared an inference.
    """

    def __init__(
        self, models: ModelSet, guard: Guard | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        """Answer by these models; ``clock`` returns monotonic seconds."""
        self._models, self._clock = models, clock
        self.guard = guard or Guard()
        self.running: ServedModel | None = None
        self.running_since_s = 0.0
        self._lock = Lock()
        self._turn = 0
        self._primary: ServedModel | None = None
        self._standby: ServedModel | None = None
        self._watched, self._standby_watched = OutputsByCamera(), OutputsByCamera()
        self.is_alone = False
        self._alone: dict[str, Result] = {}
        self._held: dict[str, Held] = {}
        self._job: Job | None = None
        self._probation: tuple[ServedModel, float] | None = None
        self._last_probation_s = -float("inf")
        self.shared = SharedInference()

    def answer(
        self,
        frame: Frame,
        stamp_ns: int,
        settings: Any,
        before: Before,
        camera: str = "",
        others: Others | None = None,
    ) -> Answer:
        """Return the frame's answer.

        Args:
            frame: the image.
            stamp_ns: its source stamp.
            settings: the task's live settings.
            before: see ServedModel.run.
            camera: whose frame it is: only frames of one camera follow one another.
            others: see Job; they share the inference where the model can do that.

        Raises:
            BaseException: no model answered and nothing is held; without a guard what the model raises.
        """
        with self._lock:
            self._turn += 1
            if self.running is not None:  # the thread before was abandoned in it
                self.running.late_run, self.running = self.running.run_number, None
            job = self._job = Job(frame, stamp_ns, settings, before, self._turn, camera, others)
        errors: list[str] = []
        try:
            answer = self._by_models(job, errors) if self.guard.publishes else None
        except BaseException as error:
            if job.turn == self._turn:
                self.unpublished(describe_error(error), stamp_ns, camera)
            raise
        if answer is None:
            return self._hold(job, "; ".join(errors) or f"guard_level is {self.guard.override}")
        return self._join(answer, job)

    def _join(self, answer: Answer, job: Job) -> Answer:
        if not self.guard.is_on:
            return answer
        joined = self.guard.join(answer.result, job.stamp_ns, answer.identity, job.camera)
        if joined is answer.result:
            return answer
        return replace(answer, result=joined, unjoined=answer.result)

    def other_answer(self, answer: Answer) -> Answer | None:
        """Return the standby's answer for a frame of which the primary's cannot be published; None: none."""
        job = self._job
        if job is None or answer.level != "primary":
            return None
        other = self._by_standby(job, [])
        return None if other is None else self._join(other, job)

    def published(self, answer: Answer, header: Any, stamp_ns: int, camera: str = "") -> None:
        """Note that an answer was published under its frame's header; it may be held for later frames."""
        now_s = self._clock()
        if answer.level != "hold" and self.guard.is_on:
            self._held[camera] = Held(answer, header, stamp_ns, now_s)
        # The next result is compared with the one that the model gave, not with the joined path.
        self.guard.answered(answer.own, answer.level, answer.identity, now_s, stamp_ns, camera)

    def unpublished(self, text: str, stamp_ns: int, camera: str = "") -> None:
        """Note a frame without a result for which no model is to blame: it is no image, or not published."""
        self.guard.unanswered(text, self._clock(), stamp_ns, held=False, camera=camera)

    def forget(self) -> None:
        """Hold nothing any more, as at an activation."""
        self._job = None
        self.shared.clear()
        self._held.clear()
        self._alone.clear()

    def _by_models(self, job: Job, errors: list[str]) -> Answer | None:
        guard = self.guard
        if not guard.trusts_primary:
            errors.append("the primary is not trusted")
            return self._by_standby(job, errors) or self._last_resort(job, errors)
        primary = self._by_primary(job, errors)
        if primary is None:
            return self._by_standby(job, errors)
        if not guard.has_standby:
            return primary
        if self._watched.of(job.camera).is_doubtful:
            return self._confirm_outputs(primary, job, errors)
        doubt = guard.judge(primary.result, job.stamp_ns, camera=job.camera)
        return self._confirm_result(primary, doubt, job, errors) if doubt else primary

    def _confirm_outputs(self, primary: Answer, job: Job, errors: list[str]) -> Answer | None:
        """Answer by the standby where the primary's outputs are those of another scene.

        They are a fault after some changed scenes, where the results differ, or those of the standby's many
        outputs: networks that choose boxes themselves give the same for every empty road. Without an answer
        of the standby the primary's is published until then.
        """
        constants = self._watched.of(job.camera)
        doubt = f"equal outputs for {constants.run} changed inputs"
        errors.append(f"primary: {doubt}")
        standby = self._by_standby(job, errors)
        difference = standby is not None and self.guard.differs(primary.result, standby.result, job.camera)
        is_other = constants.is_informative and not self._standby_watched.of(job.camera).is_doubtful
        if standby is not None:
            constants.note(agreed=not (difference or is_other))
        if constants.is_constant and (standby is None or difference or is_other):
            self.guard.fault("constant", doubt, self._clock(), job.stamp_ns)
            return standby
        return standby or primary

    def _confirm_result(self, primary: Answer, doubt: str, job: Job, errors: list[str]) -> Answer | None:
        """Answer by the standby where the primary's result does not follow from the one before.

        It is a fault of the primary where it contradicts the standby's, too; otherwise the scene changed.
        Where the standby cannot be asked a doubt is none: one frame in a hundred is doubtful.
        """
        errors.append(f"primary: {doubt}")
        standby = self._by_standby(job, errors)
        if standby is None:
            doubt = self.guard.judge(primary.result, job.stamp_ns, whole=True, camera=job.camera)
            if not doubt:
                return primary
        else:
            difference = self.guard.contradicts(primary.result, standby.result, job.camera)
            if not difference:
                self.guard.confirmed += 1
                return standby
            doubt = f"{doubt}; against the standby {difference}"
        self.guard.fault("implausible", doubt, self._clock(), job.stamp_ns)
        return standby

    def _last_resort(self, job: Job, errors: list[str]) -> Answer | None:
        """Answer by a primary that gave no wrong results, only none or late ones, where the standby fails.

        Where the standby is gone for good, the frame is one of the primary's probation, too; one that gave
        wrong results answers when it has passed.
        """
        guard = self.guard
        is_tried = self.is_alone and guard.wants_probation(self._clock())
        if not (guard.may_help or is_tried):
            return None
        answer = self._by_primary(job, errors)
        doubt = errors[-1] if answer is None else self._doubt_alone(answer, job)
        if answer is not None and doubt:
            errors.append(f"primary: {doubt}")
        may_answer = guard.may_help and not doubt
        # Without a result it stays one that may help: that it gives wrong ones is not known.
        if is_tried and (answer is not None or not guard.may_help):
            guard.probation(doubt, self._clock(), alone=True)
        return answer if may_answer or guard.trusts_primary else None

    def _doubt_alone(self, answer: Answer, job: Job) -> str:
        """Return what is wrong with a result that no other model's can be compared with."""
        before, self._alone[job.camera] = self._alone.get(job.camera), answer.result
        constants, camera = self._watched.of(job.camera), job.camera
        if constants.is_constant or (constants.is_doubtful and not self.guard.may_help):
            return f"equal outputs for {constants.run} changed inputs"
        doubt = self.guard.judge(answer.result, job.stamp_ns, whole=self.guard.may_help, camera=camera)
        return doubt or ("" if before is None else self.guard.compare(before, answer.result, camera))

    def _by_primary(self, job: Job, errors: list[str]) -> Answer | None:
        model = self._models.primary
        if model is None:
            if not self.guard.is_on:
                raise AdcpError("no model is loaded")
            errors.append("the primary is not loaded")
            self.guard.fault("missing", "not loaded", self._clock(), job.stamp_ns)
            return None
        if model is not self._primary:
            self._adopt(model)
        try:
            return self._run(model, job, "primary")
        except BaseException as error:  # whatever a runtime raises, SystemExit too
            if job.turn != self._turn or not self.guard.is_on:
                raise
            text = describe_error(error)
            kind: FaultKind = "invalid_output" if isinstance(error, OutputError) else "exception"
            if not isinstance(error, _BusyError):
                self.guard.fault(kind, text, self._clock(), job.stamp_ns)
            errors.append(f"primary: {text}")
            return None

    def _adopt(self, model: ServedModel) -> None:
        is_first, self._primary = self._primary is None, model
        self._watched = OutputsByCamera()
        model.pipeline.on_outputs = self._checking(model, self._watched)
        if not is_first:
            self.guard.new_primary(self._clock())

    def _checking(
        self, model: ServedModel, watched: OutputsByCamera
    ) -> Callable[[Mapping[str, Any], Mapping[str, Any]], None]:
        """Return what looks at a model's raw outputs before they are decoded, while the guard is on."""
        specs, guard = model.pipeline.session.info.outputs, self.guard

        def see(feeds: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
            if guard.is_on:  # hold_last_ms may be set at any time
                check_shapes(outputs, specs, model.identity.model)
                watched.see(feeds, outputs)

        return see

    def _by_standby(self, job: Job, errors: list[str]) -> Answer | None:
        model = self._models.standby
        if model is None:
            if self.guard.has_standby:
                errors.append("the standby is not loaded")
            return None
        if model is not self._standby:
            self._standby, self._standby_watched = model, OutputsByCamera()
            if model is not self._primary:
                model.pipeline.on_outputs = self._checking(model, self._standby_watched)
        try:
            return self._run(model, job, "standby")
        except BaseException as error:
            if job.turn != self._turn:
                raise
            errors.append(f"standby: {describe_error(error)}")
            return None

    def _run(self, model: ServedModel, job: Job, level: Level) -> Answer:
        if self.guard.is_on and self._is_blocked(model):
            raise _BusyError("it has not returned from an earlier frame")
        self.running, self.running_since_s = model, self._clock()
        try:
            before = self._before(model, job)
            inferred = self.shared.of(model, job, before) if level == "primary" else None
            more = () if inferred is None else (inferred,)
            result, stages_ms = model.run(job.frame, job.settings, before, *more)
        finally:
            if job.turn == self._turn:
                self.running = None
        if job.turn != self._turn:
            raise AdcpError("abandoned")  # it hung; the frame is another thread's
        return Answer(result, stages_ms, model.identity, level)

    def _before(self, model: ServedModel, job: Job) -> Before:
        """Return what a job's pipeline is given, in the thread that has it: also whose outputs follow."""
        if not job.camera:
            return job.before
        watched = self._watched if model is self._primary else self._standby_watched

        def before(pipeline: Pipeline) -> None:
            watched.camera = job.camera
            job.before(pipeline)

        return before

    def _is_blocked(self, model: ServedModel) -> bool:
        """Whether a thread is in the model that may never return; others, as of a shadow, are waited for."""
        number, probation = model.run_number, self._probation
        is_tried = probation is not None and probation[0] is model
        return number > 0 and (is_tried or model.late_run == number)

    def _hold(self, job: Job, text: str) -> Answer:
        held, now_s = self._held.get(job.camera), self._clock()
        limit_s = self.guard.settings.ladder.hold_s
        # By the stamps, which a consumer sees; by the clock where stamps are not set or stand still.
        is_fresh = (
            held is not None
            and 0 <= job.stamp_ns - held.stamp_ns <= limit_s * 1e9
            and now_s - held.at_s <= limit_s
            and self.guard.override != "stop"
        )
        self.guard.unanswered(text, now_s, job.stamp_ns, held=is_fresh, camera=job.camera)
        if held is None or not is_fresh:
            raise AdcpError(f"no model answered: {text}")
        age_ms = (job.stamp_ns - held.stamp_ns) / 1e6
        failure = f"the result of {age_ms:.0f} ms before is held: {text}"
        return replace(held.answer, stages_ms={}, level="hold", failure=failure, source=held.header)

    # Probation ------------------------------------------------------------------------------------

    def try_primary(self, answer: Answer) -> None:
        """Run the primary beside the standby's published answer, in a thread of its own, where that is due.

        A primary that hangs there keeps no frame waiting; see probation_since.
        """
        now_s, job, model = self._clock(), self._job, self._models.primary
        if answer.level != "standby" or job is None or model is None or self._probation is not None:
            return
        if model is not self._primary:
            self._adopt(model)
        if not self.guard.wants_probation(now_s) or now_s - self._last_probation_s < _PROBATION_PERIOD_S:
            return
        if model.in_use:
            return
        self._last_probation_s, self._probation = now_s, (model, now_s)
        Thread(target=self._try, args=(model, job, answer.own), name="adcp-probation", daemon=True).start()

    def _try(self, model: ServedModel, job: Job, standby: Result) -> None:
        begin = perf_counter()
        fault, constants = "", self._watched.of(job.camera)
        try:
            result, _ = model.run(job.frame, job.settings, self._before(model, job))
        except BaseException as error:
            fault = describe_error(error)
        else:
            run_ms = (perf_counter() - begin) * 1e3
            deadline_ms = self.guard.settings.deadline_of(job.camera)
            if constants.is_constant:
                fault = f"equal outputs for {constants.run} changed inputs"
            elif difference := self.guard.compare(result, standby, job.camera):
                fault = f"against the standby {difference}"
            elif 0.0 < deadline_ms < run_ms and self.guard.run_ms("standby") < run_ms:
                fault = f"{run_ms:.0f} ms, deadline {deadline_ms:g} ms"
        with self._lock:
            if self._probation is None or self._probation[0] is not model:
                return  # it was given up
            self._probation = None
        if fault or not constants.is_doubtful:  # else neither good nor bad yet
            self.guard.probation(fault, self._clock())

    @property
    def probation_since(self) -> tuple[ServedModel, float] | None:
        """The model that runs beside the standby, and since when; None where none does."""
        return self._probation

    def give_up_probation(self, text: str) -> None:
        """Note that a model beside the standby does not return; what it returns later is ignored."""
        with self._lock:
            self._probation = None
        self.guard.probation(text, self._clock())


class _BusyError(AdcpError):
    """A model is still in an earlier frame, which is noted as a time-out already."""
