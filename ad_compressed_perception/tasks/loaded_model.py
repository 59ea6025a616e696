# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A loaded variant that is called with numpy arrays, from any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.input_sources import history_of, topics_of
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.array_frame import frame_of_array
from ad_compressed_perception.image.decode import Frame, FrameInputs
from ad_compressed_perception.tasks.multi_task import MultiTask
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.tasks.planning import PlanningTask


class Model:
    """A loaded variant of a model: call it with an image.

    A context manager; ``close`` releases the runtime's memory. Several threads may call one model: it runs
    one image at a time, the others wait. Results stay valid after further calls.
    """

    def __init__(self, manifest: Manifest, pipeline: Pipeline) -> None:
        """Take over an open pipeline; ``load`` opens one."""
        self._manifest = manifest
        self._pipeline: Pipeline | None = pipeline
        self._lock = Lock()
        self._info, self._variant = pipeline.session.info, pipeline.variant

    @property
    def name(self) -> str:
        """The model's name."""
        return self._manifest.name

    @property
    def variant(self) -> str:
        """The loaded variant's name."""
        return self._variant

    @property
    def task(self) -> str:
        """What it is for: detection, segmentation, planning, classification, raw or multi_task."""
        return self._manifest.task

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes, in the order of their numbers; of a model with heads none."""
        return tuple(self._manifest.labels)

    @property
    def info(self) -> SessionInfo:
        """The runtime, provider, precision and threads that run it, as loaded."""
        return self._info

    def __call__(
        self,
        image: Any,
        *,
        encoding: str = "bgr8",
        speed_mps: float | None = None,
        previous: Sequence[Any] = (),
        inputs: Mapping[str, Any] | None = None,
    ) -> Result:
        """Return what the model finds in an image, in pixels of that image or in meters.

        Of a model with several heads it is a mapping of head names to results.

        Args:
            image: numpy array; (H, W, 3) uint8 for ``bgr8``, the order of OpenCV.
            encoding: what the numbers are, by the names of sensor_msgs/Image: ``rgb8`` for images of Pillow
                and imageio, ``mono8`` for (H, W) uint8, ``mono16``, ``bgra8``, ``bayer_rggb8``, ``nv12``...
            speed_mps: planning: the vehicle's speed, for models whose speed profile begins there.
            previous: earlier images of the same encoding, oldest first, for models that take some.
            inputs: values for inputs of source odometry_speed or topic, by tensor name, as messages have
                them: the manifest's scale and offset are applied.

        Raises:
            ImageError: not an image of that encoding.
            ResultError: the model's outputs are not finite or out of range on this image, or an input is
                missing.
            AdcpError: the model is closed, or its runtime failed.
        """
        return self.timed(image, encoding=encoding, speed_mps=speed_mps, previous=previous, inputs=inputs)[0]

    def timed(
        self,
        image: Any,
        *,
        encoding: str = "bgr8",
        speed_mps: float | None = None,
        previous: Sequence[Any] = (),
        inputs: Mapping[str, Any] | None = None,
    ) -> tuple[Result, dict[str, float]]:
        """Return the result as a call does, and the milliseconds of ``prepare``, ``infer`` and ``post``."""
        frame = self._frame(image, encoding, previous, inputs or {})
        with self._lock:
            if self._pipeline is None:
                raise AdcpError(f"model {self.name!r} is closed: load it again")
            task = self._pipeline.task
            if isinstance(task, PlanningTask) or (isinstance(task, MultiTask) and any(task.planners())):
                task.observe_speed(speed_mps)
            elif speed_mps is not None:
                raise ManifestError(f"speed_mps is for planning, {self.name!r} is for {self.task}")
            return self._pipeline.run(frame)

    def _frame(self, image: Any, encoding: str, previous: Sequence[Any], inputs: Mapping[str, Any]) -> Frame:
        frame = frame_of_array(image, encoding)
        if not previous and not inputs:
            return frame
        known = topics_of(self._manifest.inputs)
        unknown = [name for name in inputs if name not in known]
        if unknown or (previous and not history_of(self._manifest.inputs)):
            what = f"an input {unknown[0]!r}" if unknown else "previous images"
            takes = ", ".join(known) or "none"
            raise ManifestError(
                f"{self.name!r} takes no {what.removeprefix('an ')}; values it takes: {takes}"
            )
        count = len(previous)
        earlier = tuple(
            replace(frame_of_array(one, encoding), stamp_ns=place) for place, one in enumerate(previous)
        )
        values = {name: np.asarray(value, np.float64).reshape(-1) for name, value in inputs.items()}
        return replace(frame, stamp_ns=count, inputs=FrameInputs(earlier, values))

    def close(self) -> None:
        """Release the model; waits for an image in work. Closing twice does nothing."""
        with self._lock:
            pipeline, self._pipeline = self._pipeline, None
            if pipeline is not None:
                pipeline.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._pipeline is None else ""
        return f"<Model {self.name}/{self.variant}: {self.task} on {self.info.backend}{state}>"
