# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed-precision selection: the fewest tensors in float that keep the task's score within a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.verification.task_scores import create_score
from ad_compressed_perception.core.errors import DataError, ResultError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.pass_api.terms import VerifySpec
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_BYTES = 512 * 2**20


@dataclass(frozen=True)
class MixedPrecisionSelection:
    """Result of the mixed-precision selection.

    Attributes:
        tensors: those that stay in float, the most sensitive first.
        drop: drop of the score with them in float.
        first_drop: drop of the score with all tensors quantized.
        trials: how many graphs were evaluated.
    """

    tensors: tuple[str, ...]
    drop: float
    first_drop: float
    trials: int


def select_float_tensors(
    ranked: Sequence[str],
    drop_of: Callable[[tuple[str, ...]], float],
    max_drop: float,
    requantization_trials: int,
) -> MixedPrecisionSelection:
    """Select few tensors that, kept in float, keep the drop within ``max_drop``.

    Tensors are ranked by their own sensitivity; the criterion is the score with the first k of the ranking
    in float. k doubles until the drop is small enough, then bisection finds the least k between the last
    that was too small and the first that was large enough. At the end the chosen tensors are quantized
    again one by one, the least sensitive first, where the drop stays within the limit.

    Args:
        ranked: tensors, the most sensitive first.
        drop_of: returns the drop with these tensors in float.
        max_drop: limit.
        requantization_trials: maximum number of tensors to try to quantize again.
    """
    ranked = list(ranked)
    known: dict[tuple[str, ...], float] = {}

    def drop(tensors: Sequence[str]) -> float:
        key = tuple(tensors)
        if key not in known:
            known[key] = drop_of(key)
        return known[key]

    first = drop(())
    count, failing = 0, -1
    while drop(ranked[:count]) > max_drop and count < len(ranked):
        failing, count = count, min(len(ranked), max(1, 2 * count))
    while count - failing > 1:
        middle = (count + failing) // 2
        if drop(ranked[:middle]) > max_drop:
            failing = middle
        else:
            count = middle
    chosen = ranked[:count]
    # Bisection has already shown that the last one is needed.
    for tensor in chosen[-2::-1][:requantization_trials]:
        fewer = [name for name in chosen if name != tensor]
        if drop(fewer) <= max_drop:
            chosen = fewer
    return MixedPrecisionSelection(tuple(chosen), drop(chosen), first, len(known))


class CalibrationAgreement:
    """Measures the agreement of a changed graph's results with the float graph's."""

    def __init__(self, floating: ModelProto, context: PassContext, every_other: int) -> None:
        """Run the float graph on every other calibration frame.

        Args:
            floating: the graph before quantization.
            context: source of the frames and of the task (manifest, input and output).
            every_other: 0 for the frames of even number, 1 for the others.

        Raises:
            AdcpError: a frame cannot be read, the graph cannot run or returns no result.
        """
        self._context = context
        self._manifest = context.manifest.model_copy(
            update={"input": context.input, "output": context.output}
        )
        self._tries = 0
        pipeline = self._open(floating)
        score = create_score(self._manifest, context.verify or VerifySpec())
        self._frames = []
        self._references: list[Result] = []
        size = 0
        try:
            for number, image in enumerate(context.images()):
                if number % 2 != every_other or size > _MAX_BYTES:
                    continue
                feeds, geometry = pipeline.task.prepare(image)
                feeds = {name: tensor.copy() for name, tensor in feeds.items()}
                size += sum(tensor.nbytes for tensor in feeds.values())
                self._frames.append((feeds, geometry))
                outputs = pipeline.session.infer(feeds)
                self._references.append(score.decode(pipeline.task, outputs, geometry))
        finally:
            pipeline.close()

    @property
    def frames(self) -> int:
        """How many frames are compared."""
        return len(self._frames)

    def drop(self, model: ModelProto) -> float:
        """Return 1 - agreement with the float graph's results.

        Raises:
            DataError: nothing could be compared.
            AdcpError: the graph cannot run.
        """
        pipeline = self._open(model)
        score = create_score(self._manifest, self._context.verify or VerifySpec())
        try:
            for (feeds, geometry), reference in zip(self._frames, self._references, strict=True):
                found: Result | None
                try:
                    found = score.decode(pipeline.task, pipeline.session.infer(feeds), geometry)
                except ResultError:
                    found = None
                score.add(reference, found)
        finally:
            pipeline.close()
        summary = score.figures()
        if math.isnan(summary.drop):
            raise DataError(
                f"none of {len(self._frames)} calibration frames has a result by which to select the layers "
                "that stay in float: use frames with objects in view, or quantize_int8 with exclude"
            )
        return summary.drop

    def _open(self, model: ModelProto) -> Pipeline:
        import onnx

        self._tries += 1
        path: Path = self._context.scratch / f"trial_{self._tries}.onnx"
        onnx.save(model, str(path))
        try:
            session = create_backend("onnxruntime").load(path, {"warmup_runs": 0})
        finally:
            path.unlink()
        try:
            return Pipeline(create_task(self._manifest), session, "trial")
        except BaseException:
            session.close()
            raise
