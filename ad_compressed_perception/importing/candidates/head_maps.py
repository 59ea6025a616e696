# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders that could fit raw maps: a plane of numbers for each cell of one or several grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.importing.candidates.candidate import Candidate, Evidence, cells, is_float

_REG_MAX = (7, 16, 15, 8)
"""Bins of a distribution less one: NanoDet 7, YOLOv8 15, YOLOv6 16."""
_STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (8, 16, 32, 64, 128))


def heads_of_maps(evidence: Evidence) -> Sequence[Candidate]:
    """Return the detectors that maps of cells could belong to."""
    maps = [one for one in evidence.outputs if is_float(one) and len(one.shape) in (4, 5)]
    found = list(_distributions(evidence))
    if not maps or len(maps) != len(evidence.outputs):
        return found
    strides = [stride_of(evidence, one) for one in maps]
    if None in strides:
        return found
    if len(maps) in (3, 4) and len(set(strides)) == 1:
        return [*found, *_centernet(evidence, maps)]
    if all(stride is not None and stride >= 8 for stride in strides):
        return [*found, *_grid(evidence, maps)]
    return found


def stride_of(evidence: Evidence, tensor: TensorSpec) -> int | None:
    """Return the stride of a map (1, C, h, w), (1, h, w, C) or (1, A, h, w, C); None where it has none."""
    for rows, columns in ((-2, -1), (-3, -2)):
        if len(tensor.shape) == 5 and (rows, columns) == (-2, -1):
            continue
        high, wide = tensor.shape[rows], tensor.shape[columns]
        if high and wide and evidence.height % high == 0 and evidence.width % wide == 0:
            stride = evidence.height // high
            if stride == evidence.width // wide:
                return stride
    return None


def _channels(tensor: TensorSpec, evidence: Evidence) -> int:
    """Return the numbers of a cell: the axis that is none of the grid's."""
    if len(tensor.shape) == 5:
        return int((tensor.shape[1] or 1) * (tensor.shape[4] or 1))
    is_first = bool(tensor.shape[2]) and evidence.height % int(tensor.shape[2] or 1) == 0
    is_first = is_first and evidence.width % int(tensor.shape[3] or 1) == 0
    return int((tensor.shape[1] if is_first else tensor.shape[3]) or 0)


def _grid(evidence: Evidence, maps: list[TensorSpec]) -> Iterator[Candidate]:
    channels = {_channels(one, evidence) for one in maps}
    strides = sorted({stride_of(evidence, one) or 0 for one in maps})
    if len(channels) != 1 or len(strides) != len(maps):
        return
    numbers = channels.pop()
    for style, anchors, why in _STYLES:
        known = _anchors(style, strides)
        if known is None:
            continue
        extra = 5 * anchors if style == "yolo_fastest_v2" else 5
        classes, left = (numbers - extra, 0) if style == "yolo_fastest_v2" else divmod(numbers, anchors)
        classes -= 0 if style == "yolo_fastest_v2" else 5
        if left or classes < 1:
            continue
        if evidence.labels:
            fits = 1.0 if evidence.labels == classes else 0.1
        else:
            fits = 1.0 if classes in _USUAL_CLASSES else 0.3
        options: dict[str, object] = {"style": style, "strides": strides}
        if known:
            options["anchors"] = known
        if style != "fastestdet" and style != "yolo_fastest_v2":
            inside = all(evidence.are_probabilities(one.name) for one in maps) if evidence.values else False
            options["activated"] = inside
        yield Candidate(
            "detection",
            "grid",
            options,
            classes,
            "darknet" if style in ("yolov2", "yolov3") else "ultralytics",
            f"{len(maps)} maps of {numbers} numbers a cell: {why}, {classes} classes",
            0.8 * fits - 0.05 * (style == "yolov3") * (evidence.facts.metadata.exporter == "pytorch"),
        )


def _anchors(style: str, strides: list[int]) -> list[list[list[float]]] | None:
    """Return the published anchors of a style for these strides, [] where it has none, None where unknown."""
    if style == "fastestdet":
        return [] if len(strides) == 1 else None
    return _PUBLISHED.get((style, *strides))


_USUAL_CLASSES = (80, 20, 1, 3, 10)
_V3 = (
    [[10, 13], [16, 30], [33, 23]],
    [[30, 61], [62, 45], [59, 119]],
    [[116, 90], [156, 198], [373, 326]],
)
_TINY = ([[10, 14], [23, 27], [37, 58]], [[81, 82], [135, 169], [344, 319]])
# Anchors in pixels, as published with each network; a retrained one may have others.
_PUBLISHED: dict[tuple[object, ...], list[list[list[float]]]] = {
    ("yolov3", 8, 16, 32): [list(map(list, level)) for level in _V3],
    ("yolov5", 8, 16, 32): [list(map(list, level)) for level in _V3],
    ("yolov3", 16, 32): [list(map(list, level)) for level in _TINY],
    ("yolov2", 32): [
        [[18.33, 21.68], [59.98, 66.0], [106.83, 175.18], [252.25, 112.89], [312.66, 293.38]],
    ],
    ("yolo_fastest_v2", 16, 32): [
        [[12.64, 19.39], [37.88, 51.48], [55.71, 138.31]],
        [[126.91, 78.23], [131.57, 214.55], [279.92, 258.87]],
    ],
}
_STYLES = (
    ("yolov5", 3, "3 anchors x (5 + classes)"),
    ("yolov3", 3, "3 anchors x (5 + classes)"),
    ("yolov2", 5, "5 anchors x (5 + classes)"),
    ("fastestdet", 1, "objectness, 4 numbers of a box, classes"),
    ("yolo_fastest_v2", 3, "3 anchors x 5, classes once"),
)


def _distributions(evidence: Evidence) -> Iterator[Candidate]:
    """Yield nanodet: classes and a distribution for each side, joined over strides or one output a stride."""
    for tensor in evidence.outputs:
        if not is_float(tensor) or len(tensor.shape) != 3 or None in tensor.shape:
            continue
        rows, numbers = int(tensor.shape[1] or 0), int(tensor.shape[2] or 0)
        for strides in _STRIDE_SETS:
            fits_grid = rows in {
                cells(evidence.width, evidence.height, strides, rounded_up=up) for up in (False, True)
            }
            if not fits_grid:
                continue
            for reg_max in _REG_MAX:
                classes = numbers - 4 * (reg_max + 1)
                if classes < 1 or evidence.labels not in (0, classes):
                    continue
                usual = evidence.labels == classes or classes in (80, 20, 1)
                probability = evidence.are_probabilities(tensor.name, slice(0, classes))
                options = {
                    "strides": list(strides),
                    "reg_max": reg_max,
                    "scores": "probability" if probability else "logits",
                }
                yield Candidate(
                    "detection",
                    "nanodet",
                    options,
                    classes,
                    "nanodet",
                    f"{rows} rows are the cells of strides {', '.join(map(str, strides))}; {numbers} numbers "
                    f"are {classes} classes + 4 x {reg_max + 1} bins",
                    0.88 if usual else 0.15,
                )


def _centernet(evidence: Evidence, maps: list[TensorSpec]) -> Iterator[Candidate]:
    channels = [_channels(one, evidence) for one in maps]
    pairs = [one for one, number in zip(maps, channels, strict=True) if number == 2]
    heat = [(one, number) for one, number in zip(maps, channels, strict=True) if number != 2]
    if len(pairs) == 3 and len(maps) == 3 and evidence.labels in (0, 2):
        heat, pairs = [(maps[0], 2)], pairs[1:]
    if len(pairs) < 2 or len(heat) != 1:
        return
    stride = stride_of(evidence, maps[0])
    yield Candidate(
        "detection",
        "centernet",
        {
            "heatmap_output": heat[0][0].name,
            "stride": stride,
            "scores": "probability" if evidence.are_probabilities(heat[0][0].name) else "logits",
        },
        heat[0][1],
        "centernet",
        f"a map of {heat[0][1]} classes and two of 2 numbers at stride {stride}",
        0.85,
    )
