# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes, planned paths and labels as foxglove_msgs/ImageAnnotations in pixels of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ad_compressed_perception.report.overlay import PALETTE_BGR, DrawingCamera

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_PACKAGE = "foxglove_msgs"
# As of foxglove_msgs 3.2.5; a file carries the definitions of its messages, so viewers need no package.
_METADATA = f"{_PACKAGE}/KeyValuePair[] metadata"
FOXGLOVE_TYPES = {
    "KeyValuePair": "string key\nstring value",
    "Point2": "float64 x\nfloat64 y",
    "Color": "float64 r\nfloat64 g\nfloat64 b\nfloat64 a",
    "CircleAnnotation": (
        f"builtin_interfaces/Time timestamp\n{_PACKAGE}/Point2 position\nfloat64 diameter\n"
        "float64 thickness\n"
        f"{_PACKAGE}/Color fill_color\n{_PACKAGE}/Color outline_color\n{_METADATA}"
    ),
    "PointsAnnotation": (
        "builtin_interfaces/Time timestamp\nuint8 UNKNOWN=0\nuint8 POINTS=1\nuint8 LINE_LOOP=2\n"
        f"uint8 LINE_STRIP=3\nuint8 LINE_LIST=4\nuint8 type\n{_PACKAGE}/Point2[] points\n"
        f"{_PACKAGE}/Color outline_color\n{_PACKAGE}/Color[] outline_colors\n{_PACKAGE}/Color fill_color\n"
        f"float64 thickness\n{_METADATA}"
    ),
    "TextAnnotation": (
        f"builtin_interfaces/Time timestamp\n{_PACKAGE}/Point2 position\nstring text\nfloat64 font_size\n"
        f"{_PACKAGE}/Color text_color\n{_PACKAGE}/Color background_color\n{_METADATA}"
    ),
    "ImageAnnotations": (
        f"builtin_interfaces/Time timestamp\n{_PACKAGE}/CircleAnnotation[] circles\n"
        f"{_PACKAGE}/PointsAnnotation[] points\n{_PACKAGE}/TextAnnotation[] texts\n{_METADATA}"
    ),
}
"""Message to its definition."""
LINE_LOOP, LINE_STRIP = 2, 3
_THICKNESS_PX = 2.0
_FONT_PX = 14.0
_MARGIN_PX, _LINE_PX = 4.0, 18.0


def register_foxglove_types(store: Typestore) -> None:
    """Add the definitions to a type store, once."""
    from rosbags.typesys import get_types_from_msg

    if f"{_PACKAGE}/msg/ImageAnnotations" in store.fielddefs:
        return
    types: dict[str, Any] = {}
    for name, definition in FOXGLOVE_TYPES.items():
        types.update(get_types_from_msg(definition, f"{_PACKAGE}/msg/{name}"))
    store.register(types)


def annotations_of(
    task: str, message: Any, stamp: Any, size: tuple[int, int] | None, side: int, store: Typestore
) -> Any | None:
    """Return what is drawn over the image; None for a task without, and for a path without image size.

    Args:
        task: of the result.
        message: vision_msgs/Detection2DArray, vision_msgs/Classification or nav_msgs/Path, deserialized by
            the store.
        stamp: of the frame, builtin_interfaces/Time of the store.
        size: width and height of the image, pixels.
        side: which variant's result it is, 0 is the baseline; each has a color of its own.
        store: knows the types of register_foxglove_types.
    """
    draw = _Draw(store, stamp, side)
    if task == "detection":
        for detection in message.detections:
            draw.box(detection)
    elif task == "planning" and size is not None:
        draw.path(message, size)
    elif task == "classification":
        draw.labels(message)
    else:
        return None
    return draw.message()


class _Draw:
    """The annotations of one message."""

    def __init__(self, store: Typestore, stamp: Any, side: int) -> None:
        self._types, self._stamp, self._side = store.types, stamp, side
        bgr = PALETTE_BGR[(1 + side) % len(PALETTE_BGR)]
        self._points: list[Any] = []
        self._texts: list[Any] = []
        self._own, self._black = self._color(bgr), self._color((0, 0, 0))
        self._clear = self._color((0, 0, 0), 0.0)

    def message(self) -> Any:
        return self._type("ImageAnnotations")(self._stamp, [], self._points, self._texts, [])

    def box(self, detection: Any) -> None:
        best = max(detection.results, key=lambda one: one.hypothesis.score, default=None)
        label = best.hypothesis.class_id if best is not None else ""
        center, half_x, half_y = (
            detection.bbox.center.position,
            detection.bbox.size_x / 2,
            detection.bbox.size_y / 2,
        )
        corners = [(-half_x, -half_y), (half_x, -half_y), (half_x, half_y), (-half_x, half_y)]
        self._lines(LINE_LOOP, [(center.x + x, center.y + y) for x, y in corners])
        if best is not None:
            self._text(center.x - half_x, center.y - half_y, f"{label} {best.hypothesis.score:.2f}")

    def labels(self, message: Any) -> None:
        """Write the strongest label; that of each variant on a line of its own."""
        best = max(message.results, key=lambda one: one.score, default=None)
        text = "no label" if best is None else f"{best.class_id} {best.score:.2f}"
        self._text(_MARGIN_PX, _MARGIN_PX + (1 + self._side) * _LINE_PX, text)

    def _text(self, x: float, y: float, text: str) -> None:
        place = self._type("Point2")(float(x), float(y))
        self._texts.append(
            self._type("TextAnnotation")(self._stamp, place, text, _FONT_PX, self._black, self._own, [])
        )

    def path(self, path: Any, size: tuple[int, int]) -> None:
        """Draw a path on the road as the camera that drawings assume would see it."""
        ahead = [(pose.pose.position.x, pose.pose.position.y) for pose in path.poses]
        points = DrawingCamera().project(np.asarray(ahead, np.float64).reshape(-1, 2), *size)
        self._lines(LINE_STRIP, points.tolist())

    def _lines(self, kind: int, points: list[Any]) -> None:
        at = [self._type("Point2")(float(x), float(y)) for x, y in points]
        self._points.append(
            self._type("PointsAnnotation")(
                self._stamp, kind, at, self._own, [], self._clear, _THICKNESS_PX, []
            )
        )

    def _color(self, bgr: tuple[int, int, int], opacity: float = 1.0) -> Any:
        blue, green, red = (value / 255.0 for value in bgr)
        return self._type("Color")(red, green, blue, opacity)

    def _type(self, name: str) -> Any:
        return self._types[f"{_PACKAGE}/msg/{name}"]
