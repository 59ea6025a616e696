# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several frames in one inference, where a model gives each of them what it gives it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from ad_compressed_perception.backends.base import Tensors
from ad_compressed_perception.core.errors import OutputError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.inputs import with_example_inputs
from ad_compressed_perception.tasks.pipeline import Inferred, Pipeline

TOLERANCE, TOLERANCE_HALF = 1e-3, 1e-2
"""Largest difference, by the largest magnitude of the output, of a frame's outputs in company and alone."""
_HALF = ("fp16", "bf16", "mixed")
_SIZE = 96


@dataclass(frozen=True)
class FrameInBatch:
    """A frame, and what is called before it is prepared; see ServedModel.run."""

    frame: Frame
    before: Callable[[Pipeline], None]


def infer_together(pipeline: Pipeline, frames: Sequence[FrameInBatch]) -> list[Inferred]:
    """Return what each frame's outputs are, by one inference; see Pipeline.finish.

    Raises:
        OutputError: an output does not have one row a frame.
        BaseException: what preparing or the runtime raises; nothing is known of any frame then.
    """
    begin_s = perf_counter()
    prepared: list[Inferred] = []
    for each in frames:
        each.before(pipeline)
        start_s = perf_counter()
        feeds, geometry = pipeline.task.prepare(each.frame)
        copied = {name: array.copy() for name, array in feeds.items()}  # the next frame reuses the arrays
        prepare_ms = (perf_counter() - start_s) * 1e3
        prepared.append(Inferred(each.frame, copied, {}, geometry, prepare_ms, 0.0))
    together = {name: np.concatenate([one.feeds[name] for one in prepared]) for name in prepared[0].feeds}
    outputs = pipeline.session.infer(together)
    took_ms = (perf_counter() - begin_s) * 1e3
    return [
        replace(one, outputs=_row(outputs, place, len(prepared)), infer_ms=took_ms - one.prepare_ms)
        for place, one in enumerate(prepared)
    ]


def _row(outputs: Tensors, place: int, count: int) -> Tensors:
    for name, array in outputs.items():
        if not array.ndim or array.shape[0] != count:
            raise OutputError(f"output {name!r} of {count} frames is {list(array.shape)}")
    return {name: array[place : place + 1] for name, array in outputs.items()}


def why_not_together(pipeline: Pipeline) -> str:
    """Return why a model's frames cannot share an inference; empty: they can.

    Two unlike frames run alone and together: outputs may have a row for each frame and still depend on the
    other one, as where a file quantizes by the range of its whole input.
    """
    info = pipeline.session.info
    for kind, specs in (("input", info.inputs), ("output", info.outputs)):
        for spec in specs:
            if not spec.shape or spec.shape[0] is not None:
                sizes = ["?" if size is None else size for size in spec.shape]
                return f"{kind} {spec.name!r} is {sizes}: its batch is not dynamic"
    rng = np.random.default_rng(0)
    images = (rng.integers(low, high, (_SIZE, _SIZE, 3), np.uint8) for low, high in ((0, 60), (80, 255)))
    manifest = pipeline.task.manifest
    frames = [
        FrameInBatch(with_example_inputs(Frame(image, "BGR"), manifest), lambda _: None) for image in images
    ]
    tolerance = TOLERANCE_HALF if info.precision in _HALF else TOLERANCE
    try:
        together = infer_together(pipeline, frames)
        for each, found in zip(frames, together, strict=True):
            (alone,) = infer_together(pipeline, [each])
            for name, expected in alone.outputs.items():
                got = found.outputs[name]
                largest = float(np.abs(expected.astype(np.float64)).max(initial=0.0))
                difference = float(np.abs(got.astype(np.float64) - expected).max(initial=0.0))
                if got.shape != expected.shape or not difference <= tolerance * largest + 1e-6:
                    return f"output {name!r} of a frame changes by {difference:.3g} with another frame"
    except BaseException as error:  # whatever a runtime raises
        return f"two frames together fail: {describe_error(error)}"
    return ""
