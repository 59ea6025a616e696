# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an exporter wrote about a model beside its graph: names of classes, size, stride, task.

Ultralytics writes it into ``metadata_props``: task, names, imgsz, stride, batch, end2end (its exporter,
``ultralytics/engine/exporter.py``; YOLOv5 writes stride and names). Everything here is text of a stranger: it
is parsed as literals, bounded, and believed only where the shapes agree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_CHARACTERS = 1 << 20
_MAX_NAMES = 10_000
_MAX_NAME_CHARACTERS = 200
_NAME_KEYS = ("names", "labels", "classes", "class_names", "id2label")


@dataclass(frozen=True)
class ExporterMetadata:
    """What a file says of itself; None and empty where it says nothing.

    Attributes:
        exporter: name of the maker's package, such as ultralytics; else of the producer, such as pytorch.
        task: in the exporter's own words, such as detect.
        names: names of the classes, in the order of their ids.
        image_size: (height, width) in pixels.
        stride: largest stride of the heads.
        is_end_to_end: whether the file suppresses boxes itself or needs no suppression.
        description: the exporter's sentence about the model.
    """

    exporter: str = ""
    task: str = ""
    names: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    stride: int | None = None
    is_end_to_end: bool | None = None
    description: str = ""


def read_metadata(model: ModelProto) -> ExporterMetadata:
    """Return the metadata of an ONNX model; what cannot be parsed counts as absent."""
    entries = {entry.key: entry.value[:_MAX_CHARACTERS] for entry in model.metadata_props}
    return parse_metadata(entries, model.producer_name)


def parse_metadata(entries: Mapping[str, str], producer: str = "") -> ExporterMetadata:
    """Return the metadata of ``metadata_props`` and of the file's producer name."""
    is_ultralytics = "ultralytics" in f"{entries.get('author', '')} {entries.get('description', '')}".lower()
    # YOLOv5's exporter writes these two alone.
    is_yolov5 = {"stride", "names"} <= entries.keys() and not is_ultralytics
    exporter = "ultralytics" if is_ultralytics or is_yolov5 else _plain(producer).lower()
    names: tuple[str, ...] = ()
    for key in _NAME_KEYS:
        names = names or _names(entries.get(key, ""))
    return ExporterMetadata(
        exporter=exporter,
        task=_plain(entries.get("task", "")).lower(),
        names=names,
        image_size=_size(entries.get("imgsz", "")),
        stride=_stride(entries.get("stride", "")),
        is_end_to_end=_flag(entries),
        description=_plain(entries.get("description", "")),
    )


def _plain(text: str) -> str:
    return " ".join(text.split())[:_MAX_NAME_CHARACTERS]


def _literal(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _names(text: str) -> tuple[str, ...]:
    value = _literal(text)
    if isinstance(value, dict):
        try:
            numbered = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            return ()
        if sorted(numbered) != list(range(len(numbered))):
            return ()
        value = [numbered[index] for index in range(len(numbered))]
    if value is None and "," in text and not re.search(r"[{}\[\]]", text):
        value = [part.strip() for part in text.split(",")]
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= _MAX_NAMES:
        return ()
    names = tuple(_plain(str(name)) for name in value)
    return names if all(names) else ()


def _size(text: str) -> tuple[int, int] | None:
    value = _literal(text)
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value, value]
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(type(side) is int for side in value):
        height, width = value
        return (height, width) if min(height, width) > 0 and max(height, width) <= 16384 else None
    return None


def _stride(text: str) -> int | None:
    value = _literal(text)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value <= 1024 else None


def _flag(entries: Mapping[str, str]) -> bool | None:
    """Return whether suppression is in the graph: ``end2end``, or ``nms`` among the exporter's arguments."""
    known = [entries["end2end"].strip().lower() == "true"] if "end2end" in entries else []
    arguments = _literal(entries.get("args", ""))
    if isinstance(arguments, dict) and isinstance(arguments.get("nms"), bool):
        known.append(bool(arguments["nms"]))
    return any(known) if known else None
