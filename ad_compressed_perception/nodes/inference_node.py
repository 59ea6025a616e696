# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node that detection, segmentation and planning share: image in, result out."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, ClassVar

from pydantic import ValidationError
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image

from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.manifest import describe_validation_error, load_manifest
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.image.decode_once import decode_once
from ad_compressed_perception.image.files import MAX_PIXELS
from ad_compressed_perception.image.video import MessageDecoder
from ad_compressed_perception.messages import timing as timing_message
from ad_compressed_perception.messages.image import serialize_image
from ad_compressed_perception.messages.received_image import read_compressed_image, read_image
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import PeriodicThread, note_failure
from ad_compressed_perception.nodes.diagnostics import NodeDiagnostics
from ad_compressed_perception.nodes.frame_selection import FrameSelection, prefers
from ad_compressed_perception.nodes.guarded_lifecycle import GuardedLifecycleNode
from ad_compressed_perception.nodes.image_subscription import ImageSubscription
from ad_compressed_perception.nodes.model_info import ModelInfoTopic
from ad_compressed_perception.nodes.options import (
    HealthOptions,
    LiveOptions,
    SetupOptions,
    StartOptions,
    parse_backend_options,
)
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.nodes.rclpy_compat import on_parameters_set
from ad_compressed_perception.nodes.run import exit_now
from ad_compressed_perception.nodes.supervised_worker import SupervisedWorker
from ad_compressed_perception.nodes.timing_publisher import TimingPublisher
from ad_compressed_perception.nodes.watchdog import EXIT_HUNG, Action
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.report.overlay import DrawingCamera, draw_result
from ad_compressed_perception.tasks import TASKS
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline

_LOOKS_PERIOD_S = 0.1
_LEAST_DEPTH = 16
"""Frames that the middleware keeps between two looks; up to 160 a second all of them are counted."""


class InferenceNode(GuardedLifecycleNode):
    """Runs one variant of one model on the latest frame of a camera topic.

    A subclass names its task and publishes its results; _process handles a frame. Three threads besides the
    executor's: the worker, a loader while a model is loaded, and one that watches both and publishes
    /diagnostics.
    """

    task_name: ClassVar[str]
    _watch_thread: PeriodicThread | None = None

    def __init__(self, **node_arguments: Any) -> None:
        """Declare parameters; autostart() or a lifecycle manager does the rest.

        Raises:
            AdcpError: a given parameter has the wrong type or is out of range.
        """
        super().__init__(node_arguments.pop("node_name", self.task_name), **node_arguments)
        self._settings_type = TASKS[self.task_name].settings_type
        self._models = (StartOptions, SetupOptions, LiveOptions, HealthOptions, self._settings_type)
        for model in self._models:
            parameters.declare(self, model)
        self._setup_names = set(SetupOptions.model_fields)
        self.declare_task_parameters()
        for name in parameters.undeclared_overrides(self):
            self.get_logger().warning(f"parameter {name!r} does not exist here and is ignored")
        self._is_configured = False
        self._subscription: ImageSubscription | None = None
        self._selection: FrameSelection | None = None
        self._timing_publisher: TimingPublisher | None = None
        self._overlay_publisher: Publisher | None = None
        self._report_texts: dict[str, str] = {}
        self._settings: Any = None
        self._reference_is_publish_time = False
        self._max_image_pixels = MAX_PIXELS
        self._sample_bits = 0
        self._check(self.get_parameters([name for model in self._models for name in model.model_fields]))
        self._start = StartOptions(**parameters.values(self, StartOptions))
        self._health = HealthOptions(**parameters.values(self, HealthOptions))
        self._supervised = SupervisedWorker(
            self._open, self._adopt, self._process, self._on_frame_done, self.get_logger().error
        )
        self.diagnostics = NodeDiagnostics(self, self._supervised, lambda: self._health)
        self._model_info = ModelInfoTopic(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        on_parameters_set(self, self._apply)
        self._next_status_s = 0.0
        self._watch_thread = PeriodicThread(self, self._watch, _LOOKS_PERIOD_S)

    # What a subclass provides -----------------------------------------------------------------

    def declare_task_parameters(self) -> None:
        """Declare parameters beyond the task's settings; none by default."""

    def before_frame(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Give the task what is known at a frame's stamp; called in the worker's thread."""

    def drawing_camera(self) -> DrawingCamera | None:
        """Return the camera that ~/overlay is drawn with; None where nothing of a result is projected."""
        return None

    @abstractmethod
    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create the task's publishers, and publish what is latched."""

    @abstractmethod
    def publish_result(self, result: Any, header: Any) -> None:
        """Publish a frame's result under its source header."""

    @abstractmethod
    def destroy_result_publishers(self) -> None:
        """Destroy what create_result_publishers made."""

    # Lifecycle ----------------------------------------------------------------------------------

    def autostart(self) -> bool:
        """Configure and activate when the parameter says so; return False when that failed."""
        if not self._start.autostart:
            return True
        success = TransitionCallbackReturn.SUCCESS
        return bool(self.trigger_configure() == success and self.trigger_activate() == success)

    def configure(self) -> None:
        """Load the model and create the publishers."""
        pipeline = self._load()
        self._adopt_model_settings(pipeline)
        self._timing_publisher = TimingPublisher(self, self.task_name, self._start.timing_period_s)
        self._timing_publisher.texts = self._report_texts
        self._overlay_publisher = self.create_publisher(Image, "~/overlay", 1)
        self.create_result_publishers(pipeline)
        self._is_configured = True

    def activate(self) -> None:
        """Start the worker and subscribe to the camera."""
        self._load()  # only where the previous activation ended with a hung worker
        setup = self._setup()
        self._selection = (
            FrameSelection(setup.every_nth, setup.camera_rate_hz) if setup.every_nth > 1 else None
        )
        self._max_image_pixels, self._sample_bits = setup.max_image_pixels, setup.sample_bits
        self._reference_is_publish_time = setup.age_reference == "publish_time"
        qos = image_qos(setup.qos_reliability, max(setup.qos_depth, _LEAST_DEPTH))
        self._read = read_image if setup.transport == "raw" else read_compressed_image
        self._subscription = ImageSubscription(self, setup.transport, qos, self._on_image)
        self._videos = MessageDecoder(self._subscription.topic, setup.max_image_pixels)
        preference = prefers if setup.keep_when_busy == "ranked" else None
        max_age_ms = float(self.get_parameter("max_age_ms").value)
        self._supervised.start(self._subscription.receiver, preference, max_age_ms)
        self.diagnostics.monitor(self._subscription, self._selection)

    def deactivate(self) -> None:
        """Unsubscribe; the frame being processed is finished, the waiting one is counted as dropped."""
        self.diagnostics.stop_monitoring()
        self._receive_while_busy()
        self._supervised.stop()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.destroy()
        if self._timing_publisher is not None:
            self._timing_publisher.flush()

    def cleanup(self) -> None:
        """Release the model and the publishers."""
        was_configured, self._is_configured = self._is_configured, False
        self.diagnostics.forget_model()
        self._supervised.close()
        if was_configured:
            self.destroy_result_publishers()
        timing, overlay = self._timing_publisher, self._overlay_publisher
        self._timing_publisher = self._overlay_publisher = None
        if timing is not None:
            timing.destroy()
        if overlay is not None:
            self.destroy_publisher(overlay)

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
        super().destroy_node()

    # Health -------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Watch the worker and publish /diagnostics; called periodically in a thread of its own."""
        timing = self._timing_publisher
        try:
            self._receive_while_busy()
            if timing is not None:
                timing.publish_due()
        except Exception as error:  # the watchdog goes on
            note_failure(self, "receiving frames or publishing timings", error)
        now_s, health = monotonic(), self._health
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

    # Frame processing ---------------------------------------------------------------------------

    def _receive_while_busy(self) -> None:
        """Receive in the place of a worker that has a frame in work, or that was given up."""
        worker, subscription = self._supervised.worker, self._subscription
        if worker is None or subscription is None:
            return
        progress = worker.progress()
        if progress.has_frame or not progress.is_alive:
            subscription.receiver.receive()

    def _on_image(self, serialized: bytes, info: Any, waited_s: float) -> None:
        worker, subscription = self._supervised.worker, self._subscription
        if worker is None or subscription is None:
            return
        arrived_s = perf_counter() - waited_s
        try:
            message = self._videos.receive(self._read(serialized))
        except Exception as error:
            note_failure(self, "image message not understood", error)
            return
        stamp_ns = timing_message.stamp_to_ns(message.header.stamp)
        subscription.note_arrival(stamp_ns)
        if self._selection is not None and not self._selection.takes(stamp_ns):
            return
        # Decoding of a video's packet is no waiting: it is counted where other images are decoded.
        decode_ms = getattr(message, "decode_ms", 0.0)
        age_ms, waited_ms = self._age_ms(stamp_ns, info) - decode_ms, waited_s * 1e3
        clock: Any = self.get_clock()
        if clock.ros_time_is_active:  # simulated time may be slower, and then no stamp lies in the future
            waited_ms = min(waited_ms, max(age_ms, 0.0))
        age_ms -= waited_ms
        self.diagnostics.note_age(age_ms)
        worker.offer(Arrival(message, stamp_ns, age_ms, arrived_s + decode_ms * 1e-3))

    def _age_ms(self, stamp_ns: int, info: Any) -> float:
        if self._reference_is_publish_time:
            sent_ns = 0 if info is None else int(info["source_timestamp"])
            return (time.time_ns() - sent_ns) / 1e6 if sent_ns else float("nan")
        now_ns = self.get_clock().now().nanoseconds
        # A zero stamp was never set, a zero clock has not arrived yet: the age is unknown, not huge.
        if stamp_ns == 0 or now_ns == 0:
            return float("nan")
        return (now_ns - stamp_ns) / 1e6

    def _process(self, pipeline: Pipeline, arrival: Arrival) -> dict[str, float]:
        pipeline.task.settings = self._settings
        start = perf_counter()
        limits = self._max_image_pixels, self._sample_bits
        frame = decode_once(arrival.message, self._subscription_topic(), *limits)
        decoded = perf_counter()
        self.before_frame(pipeline, arrival.stamp_ns)
        result, stages_ms = pipeline.run(frame)
        if self._supervised.pipeline is not pipeline:
            raise AdcpError("abandoned")  # it hung; an old result must not follow newer ones
        publish = perf_counter()
        self.publish_result(result, arrival.message.header)
        published = perf_counter()
        self._publish_overlay(frame, result, arrival.message.header)
        return {
            "decode": (decoded - start) * 1e3 + getattr(arrival.message, "decode_ms", 0.0),
            **stages_ms,
            "publish": (published - publish) * 1e3,
        }

    def _publish_overlay(self, frame: Frame, result: Any, header: Any) -> None:
        """Draw the result on its frame, only when there is a subscriber; its time is in no stage."""
        publisher = self._overlay_publisher
        if publisher is not None and publisher.get_subscription_count():
            drawn = draw_result(to_bgr8(frame), result, self.drawing_camera())
            publisher.publish(serialize_image(drawn, "bgr8", header))

    def _subscription_topic(self) -> str:
        subscription = self._subscription
        return subscription.topic if subscription is not None else "image"

    def _on_frame_done(self, timing: FrameTiming, counters: FrameCounters) -> None:
        if not self.context.ok():
            # The process is shutting down: a last frame that can no longer be published is no failure.
            return
        self.diagnostics.note_frame(timing)
        if timing.outcome == "failed":
            self.get_logger().error(
                f"frame {timing.stamp_ns} failed: {timing.reason}", throttle_duration_sec=1.0
            )
        publisher = self._timing_publisher
        if publisher is not None:
            publisher.add(timing, counters)

    # Parameters ---------------------------------------------------------------------------------

    def _setup(self) -> SetupOptions:
        return SetupOptions(**parameters.values(self, SetupOptions))

    def _load(self) -> Pipeline:
        """Load the model unless it is loaded; raise what that raises, or AdcpError after load_timeout_s."""
        limit_s = self._setup().load_timeout_s
        return self._supervised.open(limit_s, lambda: not self.context.ok())

    def _open(self) -> Pipeline:
        """Open the pipeline that the parameters name; called in a loader's thread."""
        setup = self._setup()
        if not setup.model:
            raise ManifestError("parameter 'model' is empty: name a folder with a model.yaml")
        key = Path(setup.public_key).expanduser() if setup.public_key else None
        manifest = load_manifest(setup.model, allow_outside=setup.allow_outside, public_key=key)
        options = {"threads": setup.threads, **parse_backend_options(setup.backend_options)}
        return open_pipeline(
            manifest,
            setup.variant or None,
            task=self.task_name,
            backend=setup.backend or None,
            options=options,
            allow_rejected=setup.allow_rejected,
        )

    def _adopt(self, pipeline: Pipeline) -> None:
        """Describe a pipeline that will be used."""
        self.diagnostics.describe_model(pipeline)
        self._model_info.publish(pipeline, self._setup().every_nth)
        info = pipeline.session.info
        self._report_texts = {
            "model": pipeline.task.manifest.name,
            "variant": pipeline.variant,
            "backend": info.backend,
            "requested_provider": info.requested_provider,
            "provider": info.provider,
            "precision": info.precision,
        }
        if self._timing_publisher is not None:
            self._timing_publisher.flush()  # frames of the model before
            self._timing_publisher.texts = self._report_texts
        self.get_logger().info(
            f"{pipeline.task.manifest.name}/{pipeline.variant} on {info.backend} "
            f"{info.provider} (asked: {info.requested_provider}), {info.precision}, "
            f"loaded in {info.load_ms:.0f} ms"
        )

    def _adopt_model_settings(self, pipeline: Pipeline) -> None:
        # The manifest's settings are this model's defaults; values given by the user take precedence.
        given = parameters.given_overrides(self)
        manifest_settings = pipeline.task.manifest.output.settings
        adopted = [
            Parameter(name, value=getattr(pipeline.task.settings, name))
            for name in manifest_settings
            if name not in given
        ]
        if adopted:
            self.set_parameters(adopted)
        self._settings = self._settings_type(**parameters.values(self, self._settings_type))
        pipeline.task.settings = self._settings

    def _check(self, changed: list[Parameter]) -> None:
        """Validate values against their models; raise AdcpError with the reason."""
        by_name = {parameter.name: parameter.value for parameter in changed}
        for model in self._models:
            present = parameters.values(self, model)
            merged = {key: by_name.get(key, value) for key, value in present.items()}
            try:
                model.model_validate(merged)
            except ValidationError as error:
                raise AdcpError(f"parameter {describe_validation_error(error)}") from error

    def _on_set_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        names = {parameter.name for parameter in changed}
        locked = sorted(names & self._setup_names) if self._is_configured else []
        fixed = sorted(names & set(StartOptions.model_fields))
        if fixed:
            return SetParametersResult(
                successful=False, reason=f"{fixed[0]!r} is read once, at the node's start"
            )
        if locked:
            return SetParametersResult(
                successful=False,
                reason=f"{locked[0]!r} takes effect at configure: deactivate and clean up first",
            )
        try:
            self._check(changed)
        except AdcpError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, changed: list[Parameter]) -> None:
        """Let parameters that were set take effect; the worker applies settings between two frames."""
        names = {parameter.name for parameter in changed}
        worker = self._supervised.worker
        if worker is not None and "max_age_ms" in names:
            worker.max_age_ms = float(self.get_parameter("max_age_ms").value)
        if names & set(HealthOptions.model_fields):
            self._health = HealthOptions(**parameters.values(self, HealthOptions))
        if names & set(self._settings_type.model_fields):
            self._settings = self._settings_type(**parameters.values(self, self._settings_type))
