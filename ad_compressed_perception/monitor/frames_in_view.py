# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The latest camera images and the results that came for them, until one of them is drawn; no ROS."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from threading import Lock

from ad_compressed_perception.core.results import LabelMask, Result

Node = tuple[str, str]
"""A node by task and name of its variant."""

_MOST_FRAMES = 64
_MOST_BYTES = 128 << 20


@dataclass
class FrameInView:
    """An image and its results.

    Attributes:
        stamp_ns: source stamp.
        image: the serialized image message; empty before it came.
        arrival_s: monotonic time of the image or, before it, of the first result.
        results: by node.
    """

    stamp_ns: int
    arrival_s: float
    image: bytes = b""
    results: dict[Node, Result] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the image and of the masks."""
        masks = (each.label_ids.nbytes for each in self.results.values() if isinstance(each, LabelMask))
        return len(self.image) + sum(masks)


class FramesInView:
    """Images and results by source stamp, at most 64 frames and 128 MiB; the oldest are given up first.

    A frame is ready when all nodes have given a result for it, or when it has waited for ``patience_s``
    and at least one has. Frames without any result (which the nodes did not choose or were too busy for)
    are ready only while no node gives any result at all. Order is that of arrival, so that a recording
    that starts again is no fault. Methods may be called from any thread.
    """

    def __init__(self, nodes: Collection[Node], patience_s: float) -> None:
        """Expect a result of each of the nodes for every frame."""
        self._nodes = frozenset(nodes)
        self._patience_s = patience_s
        self._frames: OrderedDict[int, FrameInView] = OrderedDict()
        self._lock = Lock()
        self._last_result_s = -float("inf")
        self.last_image_s = -float("inf")

    def is_of(self, nodes: Collection[Node]) -> bool:
        """Whether these are the nodes whose results are expected."""
        return self._nodes == frozenset(nodes)

    def add_image(self, stamp_ns: int, image: bytes, now_s: float) -> None:
        """Add an image; one with the stamp of an earlier one that still waits takes its place."""
        with self._lock:
            frame = self._frames.get(stamp_ns)
            if frame is None or frame.image:
                frame = self._frames[stamp_ns] = FrameInView(stamp_ns, now_s)
                self._frames.move_to_end(stamp_ns)
            frame.image, frame.arrival_s, self.last_image_s = image, now_s, now_s
            self._shrink()

    def add_result(self, node: Node, stamp_ns: int, result: Result, now_s: float) -> None:
        """Add a node's result; those of nodes that are in no comparison are not kept."""
        if node not in self._nodes:
            return
        with self._lock:
            frame = self._frames.setdefault(stamp_ns, FrameInView(stamp_ns, now_s))
            frame.results[node] = result
            self._last_result_s = now_s
            self._shrink()

    def take(self, now_s: float) -> FrameInView | None:
        """Return the newest frame that is ready and forget it and all older ones; None while none is."""
        with self._lock:
            waiting = [frame for frame in reversed(self._frames.values()) if frame.image]
            is_silent = now_s - self._last_result_s > 2.0 * self._patience_s
            old = [frame for frame in waiting if now_s - frame.arrival_s >= self._patience_s]
            ready = (
                next((frame for frame in waiting if frame.results.keys() == self._nodes), None)
                or next((frame for frame in old if frame.results), None)
                or next((frame for frame in old if is_silent), None)
            )
            if ready is None:
                return None
            while next(iter(self._frames.values())) is not ready:
                self._frames.popitem(last=False)
            return self._frames.popitem(last=False)[1]

    def _shrink(self) -> None:
        size = sum(frame.size for frame in self._frames.values())
        while len(self._frames) > _MOST_FRAMES or (size > _MOST_BYTES and len(self._frames) > 1):
            size -= self._frames.popitem(last=False)[1].size
