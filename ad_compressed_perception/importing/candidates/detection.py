# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders that could fit lists of boxes: rows of coordinates and scores, joined or in several tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.importing.candidates.candidate import Candidate, Evidence, cells, is_float

STRIDES = (8, 16, 32)
_MOST_QUERIES = 1000
"""Rows of a detector without suppression; grids of cells have more."""
_NORMALIZED_UP_TO = 2.0
"""Coordinates that never exceed it are shares of the image; a box in pixels does on any frame."""
_USUAL_CLASSES = (80, 90, 91, 20, 10, 365)
_DETECT_WORDS = ("", "detect", "detection", "object-detection", "segment", "pose")
_ONE_IMAGE_TASKS = ("segment", "pose")


def detectors(evidence: Evidence) -> Sequence[Candidate]:
    """Return the detectors that outputs of three (or two) axes could belong to."""
    if evidence.facts.metadata.task not in _DETECT_WORDS:
        return []
    found = list(_separate(evidence))
    if found:  # boxes have a tensor of their own: the others hold scores
        return found
    for tensor in evidence.outputs:
        if not is_float(tensor) or len(tensor.shape) not in (2, 3):
            continue
        if None not in tensor.shape[-2:]:
            found += _joined(evidence, tensor)
        elif tensor.shape[-2] is None and tensor.shape[-1] in (6, 7):
            found += _end_to_end(evidence, tensor, int(tensor.shape[-1] or 0))
    return found


def _joined(evidence: Evidence, tensor: TensorSpec) -> Iterator[Candidate]:
    """Yield candidates of one tensor that holds boxes and scores."""
    first, last = (int(size or 0) for size in tensor.shape[-2:])
    if min(first, last) < 5:
        return
    metadata = evidence.facts.metadata
    if metadata.task in _ONE_IMAGE_TASKS:
        yield from _boxes_of_more(evidence, tensor)
        return
    may_be_ready = metadata.is_end_to_end is not False or evidence.labels not in (0, last - 4, last - 5)
    if last in (6, 7) and first <= _MOST_QUERIES and may_be_ready:
        yield from _end_to_end(evidence, tensor, last)
    columns_last = last <= first
    columns, rows = (last, first) if columns_last else (first, last)
    axis = -1 if columns_last else -2
    name = _named(evidence, tensor)
    if not columns_last:
        yield from _yolo(evidence, tensor, columns, rows, axis, objectness=False, name=name)
        yield from _yolo(evidence, tensor, columns, rows, axis, objectness=True, name=name)
        return
    yield from _yolox(evidence, tensor, columns, rows, name)
    yield from _yolo(evidence, tensor, columns, rows, axis, objectness=True, name=name)
    yield from _yolo(evidence, tensor, columns, rows, axis, objectness=False, name=name)


def _boxes_of_more(evidence: Evidence, tensor: TensorSpec) -> Iterator[Candidate]:
    """Yield the boxes of a model that also gives masks or key points, which are not read."""
    columns, rows = sorted(int(size or 0) for size in tensor.shape[-2:])
    extra = columns - 4 - evidence.labels
    if not evidence.labels or extra < 0 or rows < 100:
        return
    options = {**_named(evidence, tensor), "objectness": False, "extra_columns": extra}
    why = (
        f"task {evidence.facts.metadata.task}: 4 + {evidence.labels} classes, and {extra} numbers of masks "
        "or key points that are not read"
    )
    yield Candidate("detection", "yolo", options, evidence.labels, "ultralytics", why, 0.9)


def _named(evidence: Evidence, tensor: TensorSpec) -> dict[str, str]:
    return {"output": tensor.name} if len(evidence.outputs) > 1 else {}


def _yolox(
    evidence: Evidence, tensor: TensorSpec, columns: int, rows: int, name: dict[str, str]
) -> Iterator[Candidate]:
    if rows != cells(evidence.width, evidence.height, STRIDES) or columns < 6:
        return
    low, high = evidence.span(tensor.name, slice(2, 4))
    if high > 20.0:  # exp(20) is no size: decoded already
        return
    prior = 0.9 if np.isnan(low) or low < 0.0 else 0.55
    why = f"{rows} rows are the cells of strides 8, 16 and 32"
    why += ", with objectness" if np.isnan(low) else f"; sizes from {low:.3g} to {high:.3g} are logarithms"
    yield Candidate(
        "detection", "yolox", {"strides": list(STRIDES), **name}, columns - 5, "yolox", why, prior
    )


def _yolo(
    evidence: Evidence,
    tensor: TensorSpec,
    columns: int,
    rows: int,
    axis: int,
    *,
    objectness: bool,
    name: dict[str, str],
) -> Iterator[Candidate]:
    classes = columns - (5 if objectness else 4)
    if classes < 1:
        return
    low, high = evidence.span(tensor.name, slice(0, 4), axis)
    if low < -4.0 * max(evidence.width, evidence.height):
        return
    high = evidence.largest(tensor.name, slice(0, 4), axis)
    is_normalized = high <= _NORMALIZED_UP_TO
    # Columns behind the labels, such as keypoints, are no scores.
    last = columns - max(classes - evidence.labels, 0) if evidence.labels else columns
    is_probability = evidence.are_probabilities(tensor.name, slice(4, last), axis)
    prior = _prior(evidence, classes, columns_first=axis == -2, objectness=objectness)
    if rows <= _MOST_QUERIES and not objectness:
        prior += 0.05  # queries
    grid = cells(evidence.width, evidence.height, STRIDES)
    family = "ultralytics"
    if objectness and rows == grid:
        family = "yolox_decoded"
    where = "columns first" if axis == -2 else "rows first"
    why = (
        f"{rows} boxes of {columns} numbers, {where}: 4 + {'objectness + ' if objectness else ''}"
        f"{classes} classes"
    )
    if not np.isnan(high):
        why += f", coordinates up to {high:.4g} ({'of 1' if is_normalized else 'pixels'})"
    options: dict[str, object] = {
        **name,
        "objectness": objectness,
        "box_units": "normalized" if is_normalized else "pixels",
        "scores": "probability" if is_probability else "logits",
    }
    if evidence.box_order(tensor.name, axis) == "xyxy":
        options["box_format"] = "xyxy"
    is_queries = not objectness and rows <= _MOST_QUERIES and axis == -1
    if is_queries:
        options["nms"] = False
    yield Candidate("detection", "yolo", options, classes, family, why, min(prior, 0.95))


def _prior(evidence: Evidence, classes: int, *, columns_first: bool, objectness: bool) -> float:
    """Return how likely a reading of the columns is, by the number of labels and by the order of the axes."""
    if evidence.labels:
        return 0.9 if classes == evidence.labels else 0.05
    prior = 0.6 if columns_first != objectness else 0.35
    if classes in _USUAL_CLASSES:
        prior += 0.25
    return prior


def _end_to_end(evidence: Evidence, tensor: TensorSpec, columns: int) -> Iterator[Candidate]:
    options: dict[str, object] = dict(_named(evidence, tensor))
    first = 0
    if columns == 7:  # YOLOv7's export with suppression: image, corners, class, score
        first = 1
        options["columns"] = ["image", "box", "class", "score"]
    high = evidence.largest(tensor.name, slice(first, first + 4))
    if high <= _NORMALIZED_UP_TO:
        options["box_units"] = "normalized"
    if evidence.values and columns == 6 and evidence.box_order(tensor.name) == "center":
        options["box_order"] = "center"
    largest = evidence.span(tensor.name, 5)[1]
    labels = evidence.labels or (80 if np.isnan(largest) or largest < 80 else int(largest) + 1)
    stated = evidence.facts.metadata.is_end_to_end
    why = f"at most {tensor.shape[-2]} rows of {columns}: a box, score and class"
    if stated:
        why += "; the exporter says end2end"
    whole = _is_whole(evidence, tensor.name, 5)
    prior = 0.93 if stated else 0.85 if whole else 0.3
    family = "rtdetr" if options.get("box_order") == "center" else "ultralytics"
    yield Candidate("detection", "end_to_end", options, labels, family, why, prior)


def _is_whole(evidence: Evidence, output: str, column: int) -> bool:
    """Return whether a column holds whole numbers, as class ids are; true where nothing is known."""
    values = evidence.values.get(output)
    if values is None:
        return True
    ids = values[..., column]
    return bool(np.isfinite(ids).all() and np.allclose(ids, np.rint(ids), atol=1e-3) and ids.min() >= -1.0)


def _separate(evidence: Evidence) -> Iterator[Candidate]:
    """Yield candidates of boxes and scores in tensors of their own."""
    tensors = [one for one in evidence.outputs if is_float(one) and len(one.shape) in (2, 3)]
    boxes = [one for one in tensors if one.shape[-1] in (4, 5)]
    for box in boxes:
        rows = box.shape[-2]
        scores = [
            one
            for one in tensors
            if one is not box and len(one.shape) == len(box.shape) == 3 and one.shape[-2] == rows
        ]
        for score in scores:
            yield from _boxes_and_scores(evidence, box, score)
        flat = [one for one in evidence.outputs if len(one.shape) == len(box.shape) - 1 and one is not box]
        if len(flat) >= 2 or (flat and (evidence.facts.suppression or box.shape[-1] == 5)):
            yield from _ready(evidence, box)


def _ready(evidence: Evidence, box: TensorSpec) -> Iterator[Candidate]:
    options: dict[str, object] = {}
    classes = evidence.labels or 91
    high = evidence.largest(box.name, slice(0, 4))
    if high <= _NORMALIZED_UP_TO:
        options["box_units"] = "normalized"
        options["box_order"] = "yxyx"  # TensorFlow's; torchvision and EfficientNMS give pixels
    why = "boxes, scores and classes in outputs of their own"
    if evidence.facts.suppression:
        why += f", suppressed in the graph ({evidence.facts.suppression})"
    yield Candidate("detection", "end_to_end", options, classes, "torchvision", why, 0.85)


def _boxes_and_scores(evidence: Evidence, box: TensorSpec, score: TensorSpec) -> Iterator[Candidate]:
    rows, columns = box.shape[-2], int(score.shape[-1] or 0)
    if columns < 1 or box.shape[-1] != 4:
        return
    is_queries = rows is not None and rows <= _MOST_QUERIES
    low, high = evidence.span(box.name)
    inside = bool(low >= -0.01 and high <= 1.01)
    shown = f"{rows} boxes of 4 and {columns} scores each"
    if is_queries:
        yield from _detr(evidence, box, score, shown, inside=inside)
    yield from _ssd(evidence, box, score, shown, prior=0.3 if is_queries else 0.85)


def _detr(
    evidence: Evidence, box: TensorSpec, score: TensorSpec, shown: str, *, inside: bool
) -> Iterator[Candidate]:
    columns = int(score.shape[-1] or 0)
    prior = 0.85 if inside or not evidence.values else 0.4
    ready = evidence.are_probabilities(score.name)
    for activation, extra in (("sigmoid", 0), ("softmax", 1)):
        classes = columns - extra
        if classes < 1:
            continue
        options: dict[str, object] = {
            "logits_output": score.name,
            "boxes_output": box.name,
            "activation": "none" if ready and not extra else activation,
        }
        if evidence.values and not inside:
            options["box_units"] = "pixels"
        if evidence.box_order(box.name) == "xyxy":
            options["box_order"] = "xyxy"
        yield Candidate(
            "detection",
            "detr",
            options,
            classes,
            "detr" if extra or classes != 80 else "rtdetr",
            f"{shown}, few enough for queries; scores with {options['activation']}",
            prior * _label_share(evidence, classes),
        )


def _label_share(evidence: Evidence, classes: int) -> float:
    """Return a factor by the number of classes: that of the labels, or a usual one."""
    if evidence.labels:
        return 1.0 if evidence.labels == classes else 0.1
    return 1.0 if classes in _USUAL_CLASSES else 0.6


def _ssd(
    evidence: Evidence, box: TensorSpec, score: TensorSpec, shown: str, *, prior: float
) -> Iterator[Candidate]:
    columns = int(score.shape[-1] or 0)
    ready = evidence.are_probabilities(score.name)
    high = evidence.largest(box.name, slice(0, 4))
    decoded = not evidence.values or evidence.box_order(box.name) == "xyxy"
    for background, extra in (("first", 1), ("none", 0)):
        classes = columns - extra
        if classes < 1:
            continue
        options: dict[str, object] = {
            "boxes_output": box.name,
            "scores_output": score.name,
            "background": background,
            "activation": "none" if ready else "softmax" if extra else "sigmoid",
            "box_units": "normalized" if high <= _NORMALIZED_UP_TO else "pixels",
        }
        why = f"{shown}; background {background}, scores {'ready' if ready else 'as logits'}"
        if not decoded:
            why += "; the boxes look like offsets from anchors, which are not in the file (option anchors)"
        yield Candidate(
            "detection",
            "ssd",
            options,
            classes,
            "ssd",
            why,
            prior * _label_share(evidence, classes) * (1.0 if decoded else 0.5),
        )
