# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node that detection, segmentation and planning share: image in, result out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, ClassVar

from rcl_interfaces.msg import Parameter as ParameterMessage
from rclpy.lifecycle import TransitionCallbackReturn

from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.nodes.batch_part import BatchPart
from ad_compressed_perception.nodes.callback_guard import PeriodicThread, note_failure
from ad_compressed_perception.nodes.camera_parts import CameraParts
from ad_compressed_perception.nodes.diagnostics import NodeDiagnostics
from ad_compressed_perception.nodes.drift_part import DriftPart
from ad_compressed_perception.nodes.frame_path import FramePath
from ad_compressed_perception.nodes.frame_selection import prefers
from ad_compressed_perception.nodes.guard_part import GuardHost, GuardPart
from ad_compressed_perception.nodes.guarded_lifecycle import GuardedLifecycleNode
from ad_compressed_perception.nodes.memory_part import MemoryPart
from ad_compressed_perception.nodes.model_info import ModelInfoTopic
from ad_compressed_perception.nodes.model_inputs import ModelInputs
from ad_compressed_perception.nodes.node_parameters import NodeParameters
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.process_part import ProcessPart
from ad_compressed_perception.nodes.result_topics import ResultTopics, prefixes_of
from ad_compressed_perception.nodes.run import exit_now
from ad_compressed_perception.nodes.shadow_part import ShadowPart
from ad_compressed_perception.nodes.supervised_worker import SupervisedWorker
from ad_compressed_perception.nodes.swap_parameters import Waiting, model_request
from ad_compressed_perception.nodes.swap_part import SwapPart
from ad_compressed_perception.nodes.watchdog import EXIT_HUNG, Action
from ad_compressed_perception.report.overlay import DrawingCamera
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import Before, ServedModel, open_model
from ad_compressed_perception.tasks import TASKS
from ad_compressed_perception.tasks.pipeline import Pipeline

_LOOKS_PERIOD_S = 0.1


class InferenceNode(GuardedLifecycleNode):
    """Runs one variant of one model on the latest frame of a camera topic, or of each of several.

    A subclass names its task and publishes its results; frame_path.py has a frame's way. Three threads
    besides the executor's: the worker, a loader while a model is loaded, and one that watches both and
    publishes /diagnostics.
    """

    task_name: ClassVar[str]
    _watch_thread: PeriodicThread | None = None

    def __init__(self, **node_arguments: Any) -> None:
        """Declare parameters; autostart() or a lifecycle manager does the rest.

        Raises:
            AdcpError: a given parameter has the wrong type or is out of range.
        """
        super().__init__(node_arguments.pop("node_name", self.task_name), **node_arguments)
        self._is_configured = False
        self.parts = self.create_parts()
        self._own_parameters = NodeParameters(self, self, TASKS[self.task_name].settings_type)
        self.declare_task_parameters()
        self._own_parameters.begin()
        self._start = self._own_parameters.start
        self._frames = FramePath(self, self, lambda: self._own_parameters.settings)
        limit_s, load_limit_s = self._start.process_watchdog_s, self._own_parameters.setup().load_timeout_s
        self._process_part = ProcessPart(self, limit_s, load_limit_s)
        self.parts = (self._process_part, *self.parts)
        self._supervised = SupervisedWorker(
            self._open, self._adopt, self._frames.process, self._frames.report, self.get_logger().error
        )
        self._server = FrameServer(self._supervised.models)
        self.diagnostics = NodeDiagnostics(
            self, self._supervised, lambda: self._own_parameters.health, self.parts
        )
        self._frames.connect(self._supervised, self._server, self.diagnostics)
        self._model_info = ModelInfoTopic(self)
        self._own_parameters.answer_requests(self._on_applied)
        self._next_status_s = 0.0
        self._watch_thread = PeriodicThread(self, self._watch, _LOOKS_PERIOD_S)

    def create_parts(self) -> tuple[NodePart, ...]:
        """Return the node's further duties in their order; called before any parameter exists."""
        self._swap = SwapPart(self, self)
        drift = CameraParts(
            DriftPart.options_type,
            lambda camera: DriftPart(self, lambda: self._supervised.models, camera),
            lambda: self._own_parameters.cameras().names,
        )
        host = GuardHost(
            task=self.task_name,
            setup=lambda: self._own_parameters.setup(),
            supervised=lambda: self._supervised,
            server=lambda: self._server,
            settings_for=self.settings_for,
            cameras=lambda: self._own_parameters.cameras().names,
            alarms=lambda: [alarm for each in drift.parts.values() for alarm in each.active_alarms()],
        )
        self.guard = GuardPart(self, host)
        shadow = ShadowPart(self, self, self.guard.note_agreement)
        self._model_inputs = ModelInputs(self, lambda: self._supervised.models)
        batch = BatchPart(
            lambda: self._supervised.models,
            lambda: self._server,
            lambda: (self._own_parameters.setup().camera_batch, len(self._own_parameters.cameras().cameras)),
        )
        return (self._swap, self.guard, shadow, drift, MemoryPart(self), batch, self._model_inputs)

    # What a subclass provides -----------------------------------------------------------------

    def declare_task_parameters(self) -> None:
        """Declare parameters beyond the task's settings; none by default."""

    def complete_frame(self, frame: Frame, topic: str) -> Frame:
        """Return a frame with what its model's further inputs need."""
        return self._model_inputs.complete(frame, topic)

    def before_frame(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Give the task what is known at a frame's stamp; called in the worker's thread."""

    def inputs_at(self, stamp_ns: int) -> Before:
        """Return what before_frame gives, as it is known now, for a model that runs later."""
        return lambda pipeline: self.before_frame(pipeline, stamp_ns)

    def drawing_camera(self, camera: str = "") -> DrawingCamera | None:
        """Return what a camera's overlay is drawn with; None where nothing of a result is projected."""
        return None

    @property
    def prefixes(self) -> dict[str, str]:
        """Camera to prefix of its topics; ~ where the node has one camera, which has no name."""
        return prefixes_of(self, self._own_parameters.cameras().names)

    @abstractmethod
    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create the task's publishers, and publish what is latched."""

    @abstractmethod
    def result_topics(self, prefix: str, pipeline: Pipeline) -> ResultTopics:
        """Create publishers of results under ``prefix``, with whatever state they need of their own."""

    @abstractmethod
    def publish_result(self, result: Any, header: Any, camera: str = "") -> None:
        """Publish a result of a camera's frame under its source header."""

    @abstractmethod
    def destroy_result_publishers(self) -> None:
        """Destroy what create_result_publishers made."""

    def describe_results(self, pipeline: Pipeline) -> None:
        """Publish what is latched about results, again for each model that serves; nothing by default."""

    # What parts ask for ---------------------------------------------------------------------------

    @property
    def models(self) -> ModelSet:
        """The loaded models."""
        return self._supervised.models

    @property
    def is_configured(self) -> bool:
        """Whether a model was loaded."""
        return self._is_configured

    @property
    def unanswered(self) -> int:
        """Frames of this activation that were dropped or failed."""
        worker = self._supervised.worker
        counters = None if worker is None else worker.counters()
        return 0 if counters is None else sum(counters.counts.values()) - counters.counts["processed"]

    @property
    def is_active(self) -> bool:
        """Whether frames are taken."""
        return self._supervised.worker is not None

    @property
    def is_replacing(self) -> bool:
        """Whether the primary hung and is being loaded anew; see SupervisedWorker."""
        return self._supervised.is_replacing

    @property
    def distrust(self) -> str:
        """Why the guard lets another model answer in the place of the primary; empty where it does not."""
        return self._server.guard.distrust

    def load_ahead(self, given: Sequence[ParameterMessage]) -> Waiting | None:
        """Begin to load what a request for parameters asks for; see let_requests_wait."""
        return self._swap.load_ahead(given)

    def adopt(self, model: ServedModel) -> None:
        """Describe a model that serves, on all topics, and set its settings."""
        self._adopt(model)
        self._own_parameters.adopt_settings(model.pipeline)
        self.describe_results(model.pipeline)

    def settings_for(self, pipeline: Pipeline) -> Any:
        """Return the task's settings with a model: values that a user gave, else its manifest's."""
        return self._own_parameters.settings_for(pipeline)

    # Lifecycle ----------------------------------------------------------------------------------

    def autostart(self) -> bool:
        """Configure and activate when the parameter says so; return False when that failed."""
        if not self._start.autostart:
            return True
        success = TransitionCallbackReturn.SUCCESS
        return bool(self.trigger_configure() == success and self.trigger_activate() == success)

    def configure(self) -> None:
        """Load the model and create the publishers."""
        model = self._load()
        self._own_parameters.adopt_settings(model.pipeline)
        cameras = self._own_parameters.cameras().names
        self._frames.configure(self.task_name, self._start.timing_period_s, cameras)
        self._frames.describe(model, self._own_parameters.setup().every_nth)
        self.create_result_publishers(model.pipeline)
        self.describe_results(model.pipeline)
        self._is_configured = True
        for part in self.parts:
            part.configure()

    def activate(self) -> None:
        """Start the worker and subscribe to the cameras."""
        self._load()  # only where the previous activation ended with a hung worker
        setup = self._own_parameters.setup()
        source = self._frames.subscribe(setup, self._own_parameters.cameras())
        preference = prefers if setup.keep_when_busy == "ranked" else None
        max_age_ms = float(self.get_parameter("max_age_ms").value)
        for part in self.parts:
            part.activate()
        self._supervised.start(source, preference, max_age_ms, self._frames.slots)
        self._frames.monitor()

    def deactivate(self) -> None:
        """Unsubscribe; the frame being processed is finished, waiting ones are counted as dropped."""
        self._frames.stop_monitoring()
        self._frames.receive_while_busy()
        self._supervised.stop()
        for part in self.parts:
            self._end_part(part, part.deactivate)
        self._frames.unsubscribe()

    def cleanup(self) -> None:
        """Release the model and the publishers."""
        was_configured, self._is_configured = self._is_configured, False
        self.diagnostics.forget_model()
        for part in self.parts:
            self._end_part(part, part.cleanup)
        self._supervised.close()
        if was_configured:
            self.destroy_result_publishers()
        self._frames.cleanup()

    def _end_part(self, part: NodePart, end: Callable[[], None]) -> None:
        try:
            end()
        except Exception as error:  # the others, and the models, must be released, too
            note_failure(self, f"{end.__name__} of {type(part).__name__}", error)

    def note_refusal(self, line: str) -> None:
        """Report a refused transition at once: an autostarted node ends with it."""
        self.diagnostics.refuse(line)
        if line:
            self.diagnostics.publish()

    def close(self) -> None:
        """Release everything, without a transition (at process end)."""
        self.release()

    def destroy_node(self) -> None:
        """End the thread of /diagnostics and destroy the node, which Kilted's rclpy does with half a one."""
        if self._watch_thread is not None:
            self._watch_thread.stop()
            self._process_part.end()
        super().destroy_node()

    # Health -------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Watch the worker and publish /diagnostics; called periodically in a thread of its own."""
        for part in self.parts:
            try:
                part.watch(monotonic())
            except Exception as error:  # the others have duties, too
                note_failure(self, f"watch of {type(part).__name__}", error)
        try:
            self._frames.receive_while_busy()
            self._frames.publish_due()
        except Exception as error:  # the watchdog goes on
            note_failure(self, "receiving frames or publishing timings", error)
        now_s, health = monotonic(), self._own_parameters.health
        action = self._supervised.watch(now_s, health.watchdog_error_s, health.watchdog_exit_s)
        if action is Action.NONE and now_s < self._next_status_s:
            return
        self._next_status_s = now_s + self._start.diagnostics_period_s
        try:
            self.diagnostics.publish()
        finally:
            if action is Action.EXIT:
                reason = "; ".join(
                    line for _, line in self._supervised.problems(now_s, health.watchdog_error_s)
                )
                self.get_logger().fatal(f"the process ends with status {EXIT_HUNG}: {reason}")
                exit_now(EXIT_HUNG)

    # The model ----------------------------------------------------------------------------------

    def _load(self) -> ServedModel:
        """Load the model unless it is loaded; raise what that raises, or AdcpError after load_timeout_s."""
        limit_s = self._own_parameters.setup().load_timeout_s
        return self._supervised.open(limit_s, lambda: not self.context.ok())

    def _open(self) -> ServedModel:
        """Load the model that the parameters name; called in a loader's thread."""
        return open_model(model_request(vars(self._own_parameters.setup())), self.task_name)

    def _adopt(self, model: ServedModel) -> None:
        """Describe a model that will be used."""
        pipeline = model.pipeline
        self.diagnostics.describe_model(pipeline)
        every_nth = self._own_parameters.setup().every_nth
        self._model_info.publish(pipeline, every_nth)
        self._frames.describe(model, every_nth)
        info = pipeline.session.info
        self.get_logger().info(
            f"{model.identity.name} on {info.backend} "
            f"{info.provider} (asked: {info.requested_provider}), {info.precision}, "
            f"loaded in {info.load_ms:.0f} ms"
        )

    def _on_applied(self, names: set[str]) -> None:
        worker = self._supervised.worker
        if worker is not None and "max_age_ms" in names:
            worker.max_age_ms = float(self.get_parameter("max_age_ms").value)
        slots = self._frames.slots
        if slots is not None and "camera_weights" in names:
            slots.set_weights(self._own_parameters.cameras().weights())
