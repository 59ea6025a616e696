# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node that detection, segmentation and planning share: image in, result out."""

from __future__ import annotations

import time
from abc import abstractmethod
from time import perf_counter
from typing import Any, ClassVar

from pydantic import ValidationError
from rcl_interfaces.msg import SetParametersResult
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from sensor_msgs.msg import CompressedImage, Image

from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.manifest import describe_validation_error, load_manifest
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, NodeReport
from ad_compressed_perception.image.decode import Frame, decode_image, to_bgr8
from ad_compressed_perception.image.files import MAX_PIXELS
from ad_compressed_perception.messages import timing as timing_message
from ad_compressed_perception.messages.image import to_image
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.diagnostics import NodeDiagnostics
from ad_compressed_perception.nodes.options import (
    LiveOptions,
    SetupOptions,
    StartOptions,
    parse_backend_options,
)
from ad_compressed_perception.nodes.qos import TIMING_QOS, describe_incompatible_qos, image_qos
from ad_compressed_perception.nodes.worker import Arrival, FrameWorker
from ad_compressed_perception.report.overlay import draw_result
from ad_compressed_perception.tasks import TASKS
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline


class InferenceNode(LifecycleNode):
    """Runs one variant of one model on the latest frame of a camera topic.

    A subclass names its task and publishes its results; _process handles a frame.
    """

    task_name: ClassVar[str]

    def __init__(self, **node_arguments: Any) -> None:
        """Declare parameters; autostart() or a lifecycle manager does the rest.

        Raises:
            AdcpError: a given parameter has the wrong type or is out of range.
        """
        super().__init__(node_arguments.pop("node_name", self.task_name), **node_arguments)
        self._settings_type = TASKS[self.task_name].settings_type
        for model in (StartOptions, SetupOptions, LiveOptions, self._settings_type):
            parameters.declare(self, model)
        self.declare_task_parameters()
        for name in parameters.undeclared_overrides(self):
            self.get_logger().warning(f"parameter {name!r} does not exist here and is ignored")
        self._setup_names = set(SetupOptions.model_fields)
        self._is_configured = False
        self._pipeline: Pipeline | None = None
        self._worker: FrameWorker | None = None
        self._subscription: Any = None
        self._timing_publisher: Publisher | None = None
        self._overlay_publisher: Publisher | None = None
        self._new_settings: Any = None
        self._reference_is_publish_time = False
        self._max_image_pixels = MAX_PIXELS
        self._start = StartOptions(**parameters.values(self, StartOptions))
        self.diagnostics = NodeDiagnostics(self, self._start.diagnostics_period_s)
        self._check(self.get_parameters([*self._setup_names, *LiveOptions.model_fields]))
        self.add_on_set_parameters_callback(self._on_set_parameters)

    # What a subclass provides -----------------------------------------------------------------

    def declare_task_parameters(self) -> None:
        """Declare parameters beyond the task's settings; none by default."""

    def before_frame(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Give the task what is known at a frame's stamp; called in the worker's thread."""

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

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:  # noqa: N802
        """Refuse an impossible transition; rclpy's method of this name raises, and answers no request."""
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)  # type: ignore[misc]
        except Exception as error:  # the class of this error is private
            if self.context.ok():
                note_failure(self, "transition refused", error)
            return TransitionCallbackReturn.FAILURE

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model; refuse with one line on any inconsistency."""
        try:
            self._pipeline = self._open()
            self._adopt_model_settings(self._pipeline)
        except AdcpError as error:
            self.diagnostics.refuse(str(error))
            self.get_logger().error(f"configure refused: {error}")
            return TransitionCallbackReturn.FAILURE
        self._timing_publisher = self.create_publisher(timing_message.DiagnosticArray, "~/timing", TIMING_QOS)
        self._overlay_publisher = self.create_publisher(Image, "~/overlay", 1)
        self.create_result_publishers(self._pipeline)
        self._is_configured = True
        self.diagnostics.describe_model(self._pipeline)
        info = self._pipeline.session.info
        self.get_logger().info(
            f"{self._pipeline.task.manifest.name}/{self._pipeline.variant} on {info.backend} "
            f"{info.provider} (asked: {info.requested_provider}), {info.precision}, "
            f"loaded in {info.load_ms:.0f} ms"
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe to the camera."""
        setup = self._setup()
        self._worker = FrameWorker(self._process, self._on_frame_done)
        self._worker.max_age_ms = float(self.get_parameter("max_age_ms").value)
        self._worker.start()
        compressed = setup.transport == "compressed"
        topic = "image/compressed" if compressed else "image"
        self._max_image_pixels = setup.max_image_pixels
        self._reference_is_publish_time = setup.age_reference == "publish_time"
        with_info: Any = self._on_image  # rclpy passes the message info to a callback of two arguments
        self._subscription = self.create_subscription(
            CompressedImage if compressed else Image,
            topic,
            with_info,
            image_qos(setup.qos_reliability, setup.qos_depth),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos),
        )
        self.diagnostics.monitor(self._subscription, self._worker)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the frame being processed is finished, the waiting one is counted as dropped."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the publishers."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state."""
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after an unexpected error in a transition."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop the worker and release the model, without a transition (at process end)."""
        self._halt()
        self._release()

    def _halt(self) -> None:
        self.diagnostics.stop_monitoring()
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _release(self) -> None:
        was_configured, self._is_configured = self._is_configured, False
        if self._pipeline is not None:
            if was_configured:
                self.destroy_result_publishers()
            self._pipeline.close()
            self._pipeline = None
        if self._timing_publisher is not None:
            self.destroy_publisher(self._timing_publisher)
            self._timing_publisher = None
        if self._overlay_publisher is not None:
            self.destroy_publisher(self._overlay_publisher)
            self._overlay_publisher = None
        self.diagnostics.forget_model()

    # Frame processing ---------------------------------------------------------------------------

    def _on_image(self, message: Any, info: Any) -> None:
        worker = self._worker
        if worker is None:
            return
        stamp_ns = timing_message.stamp_to_ns(message.header.stamp)
        age_ms = self._age_ms(stamp_ns, info)
        self.diagnostics.note_age(age_ms)
        worker.offer(Arrival(message, stamp_ns, age_ms))

    def _age_ms(self, stamp_ns: int, info: Any) -> float:
        if self._reference_is_publish_time:
            sent_ns = int(info["source_timestamp"])
            return (time.time_ns() - sent_ns) / 1e6 if sent_ns else float("nan")
        now_ns = self.get_clock().now().nanoseconds
        # A zero stamp was never set, a zero clock has not arrived yet: the age is unknown, not huge.
        if stamp_ns == 0 or now_ns == 0:
            return float("nan")
        return (now_ns - stamp_ns) / 1e6

    def _process(self, arrival: Arrival) -> dict[str, float]:
        pipeline = self._pipeline
        if pipeline is None:
            raise AdcpError("no model is loaded")
        if self._new_settings is not None:
            pipeline.task.settings, self._new_settings = self._new_settings, None
        start = perf_counter()
        frame = decode_image(arrival.message, self._subscription_topic(), self._max_image_pixels)
        decoded = perf_counter()
        self.before_frame(pipeline, arrival.stamp_ns)
        result, stages_ms = pipeline.run(frame)
        publish = perf_counter()
        self.publish_result(result, arrival.message.header)
        published = perf_counter()
        self._publish_overlay(frame, result, arrival.message.header)
        return {
            "decode": (decoded - start) * 1e3,
            **stages_ms,
            "publish": (published - publish) * 1e3,
        }

    def _publish_overlay(self, frame: Frame, result: Any, header: Any) -> None:
        """Draw the result on its frame, only when there is a subscriber; its time is in no stage."""
        publisher = self._overlay_publisher
        if publisher is not None and publisher.get_subscription_count():
            publisher.publish(to_image(draw_result(to_bgr8(frame), result), "bgr8", header))

    def _subscription_topic(self) -> str:
        subscription = self._subscription
        return subscription.topic_name if subscription is not None else "image"

    def _on_frame_done(self, timing: FrameTiming, counters: FrameCounters) -> None:
        if not self.context.ok():
            # The process is shutting down: a last frame that can no longer be published is no failure.
            return
        self.diagnostics.note_frame(timing)
        if timing.outcome == "failed":
            self.get_logger().error(
                f"frame {timing.stamp_ns} failed: {timing.reason}", throttle_duration_sec=1.0
            )
        pipeline, publisher = self._pipeline, self._timing_publisher
        if pipeline is None or publisher is None:
            return
        info = pipeline.session.info
        report = NodeReport(
            node=self.get_fully_qualified_name(),
            task=self.task_name,
            model=pipeline.task.manifest.name,
            variant=pipeline.variant,
            backend=info.backend,
            requested_provider=info.requested_provider,
            provider=info.provider,
            precision=info.precision,
            timing=timing,
            received=counters.received,
            counts=counters.counts,
        )
        try:
            publisher.publish(timing_message.to_message(report))
        except Exception:
            # The signal may arrive between the check and the publishing.
            if self.context.ok():
                raise

    def _on_incompatible_qos(self, event: Any) -> None:
        line = describe_incompatible_qos(self._subscription_topic(), event)
        self.diagnostics.note_qos(line)
        self.get_logger().error(line)

    # Parameters ---------------------------------------------------------------------------------

    def _setup(self) -> SetupOptions:
        return SetupOptions(**parameters.values(self, SetupOptions))

    def _open(self) -> Pipeline:
        setup = self._setup()
        if not setup.model:
            raise ManifestError("parameter 'model' is empty: name a folder with a model.yaml")
        manifest = load_manifest(setup.model)
        options = {"threads": setup.threads, **parse_backend_options(setup.backend_options)}
        return open_pipeline(
            manifest,
            setup.variant or None,
            task=self.task_name,
            backend=setup.backend or None,
            options=options,
            allow_rejected=setup.allow_rejected,
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
        pipeline.task.settings = self._settings_type(**parameters.values(self, self._settings_type))
        self._new_settings = None

    def _check(self, changed: list[Parameter]) -> None:
        """Validate values against their models; raise AdcpError with the reason."""
        by_name = {parameter.name: parameter.value for parameter in changed}
        for model in (StartOptions, SetupOptions, LiveOptions, self._settings_type):
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
        by_name = {parameter.name: parameter.value for parameter in changed}
        if self._worker is not None and "max_age_ms" in by_name:
            self._worker.max_age_ms = float(by_name["max_age_ms"])
        if names & set(self._settings_type.model_fields):
            current = parameters.values(self, self._settings_type)
            merged = {key: by_name.get(key, value) for key, value in current.items()}
            # The worker applies it between two frames.
            self._new_settings = self._settings_type(**merged)
        return SetParametersResult(successful=True)
