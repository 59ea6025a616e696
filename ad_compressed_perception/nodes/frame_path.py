# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A frame's way through a node: received, decoded, answered, published, shown to the parts, reported."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Protocol

from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.image.decode_once import decode_once
from ad_compressed_perception.messages import timing as timing_message
from ad_compressed_perception.messages.image import serialize_image
from ad_compressed_perception.messages.received_image import read_compressed_image, read_image
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.camera_options import CameraOptions
from ad_compressed_perception.nodes.camera_stream import CameraStream
from ad_compressed_perception.nodes.diagnostics import NodeDiagnostics
from ad_compressed_perception.nodes.fair_slots import FairSlots
from ad_compressed_perception.nodes.frame_slot import FrameSource
from ad_compressed_perception.nodes.image_receiver import JoinedReceivers
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.options import SetupOptions
from ad_compressed_perception.nodes.supervised_worker import SupervisedWorker
from ad_compressed_perception.nodes.timing_publisher import TimingPublisher
from ad_compressed_perception.nodes.worker import ABANDONED, Arrival, Processed
from ad_compressed_perception.report.overlay import DrawingCamera, draw_result
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.served_model import ServedModel
from ad_compressed_perception.tasks.batch import FrameInBatch
from ad_compressed_perception.tasks.pipeline import Pipeline


class FrameHost(Protocol):
    """What a frame meets in its node."""

    parts: tuple[NodePart, ...]

    def complete_frame(self, frame: Frame, topic: str) -> Frame:
        """Return a frame with what its model's further inputs need."""

    def before_frame(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Give the task what is known at a frame's stamp."""

    def publish_result(self, result: Any, header: Any, camera: str = "") -> None:
        """Publish a result of a camera's frame under its source header."""

    def drawing_camera(self, camera: str = "") -> DrawingCamera | None:
        """Return what a camera's overlay is drawn with."""


class FramePath:
    """Its methods are in the order in which a frame comes to them; each camera has a stream of its own.

    Attributes:
        streams: of the cameras, by name, while the node is configured.
        slots: where the frames of several cameras wait, while the node is active; None: it has one camera.
    """

    def __init__(self, node: Node, host: FrameHost, settings: Callable[[], Any]) -> None:
        """Prepare; ``node`` and ``host`` are the same object, ``settings`` returns the task's."""
        self._node, self._host, self._settings = node, host, settings
        self.streams: dict[str, CameraStream] = {}
        self.slots: FairSlots[Arrival] | None = None
        self._source: FrameSource | None = None
        self._joined: JoinedReceivers | None = None
        self._batch = 1
        self._decoded: dict[str, tuple[Arrival, Frame, float]] = {}

    def connect(
        self, supervised: SupervisedWorker, server: FrameServer, diagnostics: NodeDiagnostics
    ) -> None:
        """Use these: the worker, who answers, and where frames are counted."""
        self._supervised, self._server, self._diagnostics = supervised, server, diagnostics

    def configure(self, task: str, timing_period_s: float, cameras: Collection[str]) -> None:
        """Create the topics of these cameras."""
        self._diagnostics.use_cameras(cameras)
        self.streams = {
            camera: CameraStream(self._node, camera, frames, task, timing_period_s)
            for camera, frames in self._diagnostics.cameras.items()
        }

    def describe(self, model: ServedModel, every_nth: int) -> None:
        """Let the topics name a model that serves."""
        for stream in self.streams.values():
            stream.describe(model, every_nth)

    def cleanup(self) -> None:
        """Destroy the topics."""
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.destroy()

    @property
    def timing(self) -> TimingPublisher | None:
        """Publishes the timings of the first camera, while the node is configured."""
        return next((stream.timing for stream in self.streams.values()), None)

    def subscribe(self, setup: SetupOptions, options: CameraOptions) -> FrameSource:
        """Subscribe to the cameras; return what receives of all.

        Raises:
            AdcpError: two cameras have the same topic.
        """
        self._limits = setup.max_image_pixels, setup.sample_bits
        self._batch, self._decoded = setup.camera_batch, {}
        self._read = read_image if setup.transport == "raw" else read_compressed_image
        subscriptions = [
            stream.subscribe(setup, partial(self.on_image, camera=camera))
            for camera, stream in self.streams.items()
        ]
        if not options.cameras:
            self._source = subscriptions[0].receiver
            return self._source
        self._refuse_one_topic()
        self.slots = FairSlots(options.cameras, options.weights())
        self._joined = JoinedReceivers([each.receiver for each in subscriptions], self._node.context)
        self._source = self._joined
        return self._source

    def _refuse_one_topic(self) -> None:
        of_topic: dict[str, str] = {}
        for camera, stream in self.streams.items():
            other = of_topic.setdefault(stream.topic, camera)
            if other != camera:
                raise AdcpError(f"cameras {other} and {camera} have the same topic, {stream.topic}")

    def monitor(self) -> None:
        """Report on the cameras' frames from now on."""
        for stream in self.streams.values():
            if stream.subscription is not None:
                stream.diagnostics.monitor(stream.subscription, stream.selection)

    def stop_monitoring(self) -> None:
        """Report on no frames."""
        for stream in self.streams.values():
            stream.diagnostics.stop_monitoring()

    def unsubscribe(self) -> None:
        """Unsubscribe, and publish the timings that are collected."""
        joined, self._joined, self._source, self.slots = self._joined, None, None, None
        if joined is not None:
            joined.destroy()
        for stream in self.streams.values():
            stream.unsubscribe()

    def publish_due(self) -> None:
        """Publish timings whose time has come."""
        for stream in self.streams.values():
            stream.timing.publish_due()

    def receive_while_busy(self) -> None:
        """Receive in the place of a worker that has a frame in work, or that was given up."""
        worker, source = self._supervised.worker, self._source
        if worker is None or source is None:
            return
        progress = worker.progress()
        if progress.has_frame or not progress.is_alive:
            source.receive()

    def on_image(self, serialized: bytes, info: Any, waited_s: float, camera: str = "") -> None:
        """Take a serialized message from a camera, which waited so long, and offer it to the worker."""
        worker, stream = self._supervised.worker, self.streams.get(camera)
        if worker is None or stream is None or stream.subscription is None:
            return
        arrived_s = perf_counter() - waited_s
        try:
            message = stream.videos.receive(self._read(serialized))
        except Exception as error:
            where = f"image message of {camera} not understood" if camera else "image message not understood"
            note_failure(self._node, where, error)
            return
        stamp_ns = timing_message.stamp_to_ns(message.header.stamp)
        stream.subscription.note_arrival(stamp_ns)
        if stream.selection is not None and not stream.selection.takes(stamp_ns):
            return
        decode_ms = getattr(message, "decode_ms", 0.0)
        age_ms = stream.age_of(stamp_ns, info, waited_s * 1e3, decode_ms)
        worker.offer(Arrival(message, stamp_ns, age_ms, arrived_s + decode_ms * 1e-3, camera))

    def process(self, arrival: Arrival) -> Processed:
        """Decode, answer and publish a frame; in the worker's thread."""
        try:
            frame, decode_ms = self._decode(arrival)
        except BaseException as error:
            self._server.unpublished(describe_error(error), arrival.stamp_ns, arrival.camera)
            raise
        decoded = perf_counter()
        self._show_parts("before_answer", frame, arrival)
        # What a part lets the frame wait for, such as a shadow that runs first, is no time of the model.
        self._supervised.extend(arrival, perf_counter() - decoded)
        answer = self._server.answer(
            frame,
            arrival.stamp_ns,
            self._settings(),
            lambda pipeline: self._host.before_frame(pipeline, arrival.stamp_ns),
            arrival.camera,
            partial(self._decode_next, self.slots) if self.slots is not None and self._batch > 1 else None,
        )
        if not self._supervised.claim(arrival):
            raise AdcpError("abandoned")  # it hung; an old result must not follow newer ones
        publish = perf_counter()
        # A held result keeps the stamp of the frame that it was made from.
        header = arrival.message.header if answer.source is None else answer.source
        answer = self._publish(answer, header, arrival)
        self._server.published(answer, header, arrival.stamp_ns, arrival.camera)
        published = perf_counter()
        self._publish_overlay(frame, answer.result, arrival)
        self._show_parts("after_frame", frame, arrival, answer)
        stages_ms = {
            "decode": decode_ms + getattr(arrival.message, "decode_ms", 0.0),
            **answer.stages_ms,
            "publish": (published - publish) * 1e3,
        }
        if self._batch > 1:  # some of that was done in the turn of another frame, and waited for since
            total_ms = (published - arrival.arrived_s) * 1e3
            stages_ms["queue_wait"] = max(total_ms - sum(stages_ms.values()), 0.0)
        return Processed(stages_ms, answer.texts(), answer.failure)

    def _decode(self, arrival: Arrival) -> tuple[Frame, float]:
        """Return a frame and how long its decoding took, ms; a frame of a batch may be decoded already."""
        known = self._decoded.pop(arrival.camera, None)
        if known is not None and known[0] is arrival:
            return known[1:]
        start = perf_counter()
        topic = self.streams[arrival.camera].topic
        frame = self._host.complete_frame(decode_once(arrival.message, topic, *self._limits), topic)
        return frame, (perf_counter() - start) * 1e3

    def _decode_next(self, slots: FairSlots[Arrival]) -> list[tuple[str, FrameInBatch]]:
        """Return the frames of the next turns, which share an inference; broken ones fail in their turn."""
        found = []
        for arrival in slots.promise(self._batch - 1):
            try:
                frame, decode_ms = self._decode(arrival)
            except Exception:  # noqa: S112
                continue
            self._decoded[arrival.camera] = arrival, frame, decode_ms
            before = partial(self._host.before_frame, stamp_ns=arrival.stamp_ns)
            found.append((arrival.camera, FrameInBatch(frame, before)))
        return found

    def _publish(self, answer: Answer, header: Any, arrival: Arrival) -> Answer:
        """Publish an answer, or the standby's where there is no valid message of it; return which one."""
        publish, stamp_ns = self._host.publish_result, arrival.stamp_ns
        if arrival.camera:
            publish = partial(publish, camera=arrival.camera)
        try:
            publish(answer.result, header)
            return answer
        except BaseException as error:
            text = describe_error(error)
            try:
                other = self._server.other_answer(answer)
                if other is None:
                    raise
                publish(other.result, header)
            except BaseException:
                self._server.unpublished(text, stamp_ns, arrival.camera)
                raise
        self._server.guard.fault("invalid_output", f"not published: {text}", monotonic(), stamp_ns)
        return other

    def _show_parts(self, method: str, *arguments: Any) -> None:
        for part in self._host.parts:
            try:
                getattr(part, method)(*arguments)
            except Exception as error:  # the frame's result does not depend on it
                note_failure(self._node, f"{type(part).__name__}.{method}", error)

    def _publish_overlay(self, frame: Frame, result: Any, arrival: Arrival) -> None:
        """Draw the result on its frame, only when there is a subscriber; its time is in no stage."""
        stream = self.streams.get(arrival.camera)
        if stream is not None and stream.overlay.get_subscription_count():
            drawn = draw_result(to_bgr8(frame), result, self._host.drawing_camera(arrival.camera))
            stream.overlay.publish(serialize_image(drawn, "bgr8", arrival.message.header))

    def report(self, timing: FrameTiming, counters: FrameCounters) -> None:
        """Report a completed frame, whatever became of it."""
        if not self._node.context.ok():
            # The process is shutting down: a last frame that can no longer be published is no failure.
            return
        stream = self.streams.get(timing.camera)
        if timing.reason.startswith(ABANDONED):
            self._server.unpublished(timing.reason, timing.stamp_ns, timing.camera)
        if timing.outcome == "failed":
            whose = f" of {timing.camera}" if timing.camera else ""
            self._node.get_logger().error(
                f"frame {timing.stamp_ns}{whose} failed: {timing.reason}", throttle_duration_sec=1.0
            )
        if stream is not None:
            stream.diagnostics.note_frame(timing)
            stream.timing.add(timing, counters)
