# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A part of a node that each camera has for itself, since it compares a frame with those before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.frame_health import Problems
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer

PartT = TypeVar("PartT", bound=NodePart)


class CameraParts(NodePart, Generic[PartT]):
    """One part for each camera, of kinds that look at published frames; parameters are common to all.

    Attributes:
        parts: by camera.
    """

    def __init__(
        self,
        options_type: type[StrictModel] | None,
        make: Callable[[str], PartT],
        cameras: Callable[[], Sequence[str]],
    ) -> None:
        """Prepare for one camera without a name.

        Args:
            options_type: see NodePart.
            make: returns the part of a camera.
            cameras: returns the names of the node's cameras, at each configure.
        """
        self.options_type = options_type  # type: ignore[misc]
        self._make, self._cameras = make, cameras
        self.parts: dict[str, PartT] = {"": make("")}

    def configure(self) -> None:
        """Make a part for each camera, where they are others now."""
        names = self._cameras()
        if tuple(self.parts) != tuple(names):
            self.parts = {camera: self._make(camera) for camera in names}
        for part in self.parts.values():
            part.configure()

    def activate(self) -> None:
        """Begin."""
        for part in self.parts.values():
            part.activate()

    def deactivate(self) -> None:
        """End."""
        for part in self.parts.values():
            part.deactivate()

    def cleanup(self) -> None:
        """Release."""
        for part in self.parts.values():
            part.cleanup()

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Show an answered frame to its camera's part."""
        self.parts[arrival.camera].after_frame(frame, arrival, answer)

    def watch(self, now_s: float) -> None:
        """Do what is due."""
        for part in self.parts.values():
            part.watch(now_s)

    def check(self, values: Mapping[str, Any]) -> None:
        """Let each part look at parameters."""
        for part in self.parts.values():
            part.check(values)

    def apply(self, names: Collection[str]) -> None:
        """Let parameters take effect in each part."""
        for part in self.parts.values():
            part.apply(names)

    def problems(self) -> Problems:
        """Return what is wrong, with the camera's name before it."""
        return [
            (level, f"{camera}: {line}" if camera else line)
            for camera, part in self.parts.items()
            for level, line in part.problems()
        ]

    def values(self) -> dict[str, str]:
        """Return figures, with the camera's name before theirs."""
        return {
            f"{camera}.{key}" if camera else key: value
            for camera, part in self.parts.items()
            for key, value in part.values().items()
        }
