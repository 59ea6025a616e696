# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a model's outputs over several frames look like what its decoder expects.

Every frame's decoding checks what is impossible (tasks.output_contract). Here are the values that one frame
may have, but not most of them: boxes that are decoded already, scores after two sigmoids, degrees read as
radians, probabilities read as logits. Figures of trained models, for the distance to the limits:

| figure                                    | raw YOLOX heads | decoded boxes | limit |
|-------------------------------------------|-----------------|---------------|-------|
| correlation of centers with their cells   | -0.5 to 0.1     | 0.9 to 1      | 0.7   |
| 99th percentile of log sizes              | 2.4 to 2.9      | above 30      | 8     |
| median score of all cells                 | below 0.001     |               | 0.2   |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.class_plausibility import judge_classes, measure_classes
from ad_compressed_perception.analysis.detector_plausibility import judge_boxes, measure_boxes
from ad_compressed_perception.analysis.plan_plausibility import (
    FEWEST_FRAMES,
    PLANNER_MEASURES,
    ROUNDING,
    SIGMOID_OF_ONE,
    Outputs,
)
from ad_compressed_perception.core.errors import OutputError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.decoders.centernet import CenternetDecoder
from ad_compressed_perception.tasks.decoders.classes import ClassesDecoder
from ad_compressed_perception.tasks.decoders.grid import GridDecoder
from ad_compressed_perception.tasks.decoders.nanodet import NanodetDecoder
from ad_compressed_perception.tasks.decoders.sigmoid import SigmoidDecoder
from ad_compressed_perception.tasks.decoders.yolo import YoloDecoder
from ad_compressed_perception.tasks.decoders.yolox import RAW_HEAD, YoloxDecoder
from ad_compressed_perception.tasks.pipeline import Pipeline, heads_of

MOST_FRAMES = 16
_MAX_CENTER_CORRELATION = 0.7
_MAX_LOG_SIZE_P99 = 8.0
_MAX_MEDIAN_SCORE = 0.2


def choose_evenly(indices: Iterable[int], most: int = MOST_FRAMES) -> list[int]:
    """Return at most ``most`` of the indices, evenly spaced."""
    given = list(indices)
    return [given[step * len(given) // most] for step in range(most)] if len(given) > most else given


def check_outputs(pipeline: Pipeline, frames: Iterable[Frame], source: str) -> None:
    """Run a model on a few frames and refuse it where what it gives is not what its decoder expects.

    Args:
        pipeline: the loaded model.
        frames: about MOST_FRAMES; all are run.
        source: where they come from, for the message.

    Raises:
        OutputError: an output breaks the decoder's contract, or is implausible over the frames.
        AdcpError: a frame cannot be read, a runtime failed.
    """
    task = pipeline.task
    if task.manifest.outputs is not None:
        shown = list(frames)
        for one in heads_of(pipeline).values():
            check_outputs(one, shown, source)
        return
    found: list[tuple[float, ...]] = []
    measure = _MEASURES.get(type(task.decoder))
    for index, frame in enumerate(frames):
        feeds, geometry = task.prepare(frame)
        outputs = pipeline.session.infer(feeds)
        try:
            task.decode(outputs, geometry)
            if measure is not None:
                found.append(measure[0](task.decoder, outputs))
        except OutputError as error:
            raise OutputError(f"frame {index + 1} of {source}: {error}") from error
    if measure is not None and found:
        problem = measure[1](np.array(found, np.float64))
        if problem:
            raise OutputError(f"model {task.manifest.name!r} on {len(found)} frames of {source}: {problem}")


def _measure_heads(decoder: YoloxDecoder, outputs: Outputs) -> tuple[float, ...]:
    """Return least correlation of centers with cells, 99th percentile of log sizes and median score."""
    rows = decoder.rows(outputs)
    followed = []
    for stride in np.unique(decoder.strides):
        level = decoder.strides[:, 0] == stride
        for axis in (0, 1):
            cells, centers = decoder.cells[level, axis], rows[level, axis]
            if np.ptp(cells) > 0 and np.ptp(centers) > 0:
                followed.append(float(np.corrcoef(cells, centers)[0, 1]))
    scores = rows[:, 4] * rows[:, 5:].max(axis=1)
    return (
        float(np.median(followed)) if followed else 0.0,
        float(np.percentile(rows[:, 2:4], 99.0)),
        float(np.median(scores)),
    )


def _judge_heads(found: NDArray[np.float64]) -> str:
    correlation, size = np.median(found[:, 0]), np.median(found[:, 1])
    if correlation > _MAX_CENTER_CORRELATION:
        return (
            f"box centers follow the grid's cells (correlation {correlation:.2f}), so the boxes are decoded "
            f"already; {RAW_HEAD}"
        )
    if size > _MAX_LOG_SIZE_P99:
        return f"box sizes of {size:.4g} (99th percentile) are no logarithms; {RAW_HEAD}"
    # The least over the frames: a bright frame alone may be full of objects.
    median = found[:, 2].min()
    if median > _MAX_MEDIAN_SCORE:
        return (
            f"half of all cells have a score above {median:.2f} on every frame; is the sigmoid of "
            "objectness and classes applied twice?"
        )
    return ""


def _measure_planes(decoder: SigmoidDecoder, outputs: Outputs) -> tuple[float, ...]:
    scores = decoder.probabilities(outputs)
    return float(scores.min()), float(scores.max()), float(decoder.options.scores == "logits")


def _judge_planes(found: NDArray[np.float64]) -> str:
    low, high = found[:, 0].min(), found[:, 1].max()
    if len(found) < FEWEST_FRAMES or low == high:
        return ""
    if found[0, 2] and low >= 0.0 and high <= 1.0:
        return (
            f"scores from {low:.4g} to {high:.4g} on every frame are probabilities, not logits; set decoder "
            "option scores: probability"
        )
    if not found[0, 2] and low >= 0.5 - ROUNDING and high <= SIGMOID_OF_ONE + ROUNDING:
        return (
            f"scores from {low:.4g} to {high:.4g} on every frame are those of a sigmoid that is applied "
            "twice: leave one out"
        )
    return ""


_MEASURES: dict[type, tuple[Callable[[Any, Outputs], tuple[float, ...]], Callable[..., str]]] = {
    YoloxDecoder: (_measure_heads, _judge_heads),
    YoloDecoder: (measure_boxes, judge_boxes),
    NanodetDecoder: (measure_boxes, judge_boxes),
    CenternetDecoder: (measure_boxes, judge_boxes),
    GridDecoder: (measure_boxes, judge_boxes),
    SigmoidDecoder: (_measure_planes, _judge_planes),
    **PLANNER_MEASURES,
    ClassesDecoder: (measure_classes, judge_classes),
}
