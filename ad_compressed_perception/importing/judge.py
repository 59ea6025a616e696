# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compares candidates on real frames: is the result on a mirrored scene the mirrored result of the scene?

A model whose pixels are scaled wrongly, or whose outputs are read wrongly, may well be confident, but what it
says then depends less on the scene. Two figures of each candidate:

* ``same``: agreement of the results on mirrored (detection: also on moved) frames with the mirrored results;
* ``other``: the same agreement with the results of *another* frame. A model that always says the same agrees
  with itself in any frame, so only what ``same`` has beyond ``other`` counts:
  ``skill = (same - other) / (1 - other)``.

Objects are counted with ``_PRIOR_OBJECTS`` wrong ones added, so that two objects that agree by chance do not
beat sixty of which fifty do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.mirrored import (
    mirrored_frame,
    mirrored_result,
    moved_boxes,
    moved_frame,
)
from ad_compressed_perception.backends import Session
from ad_compressed_perception.core.errors import AdcpError, ResultError
from ad_compressed_perception.core.manifest import InputSpec, Manifest
from ad_compressed_perception.core.results import Detections, Result, Trajectory
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.candidates import Candidate
from ad_compressed_perception.metrics.agreement import agreement, pool
from ad_compressed_perception.tasks import Task, create_task

_PRIOR_OBJECTS = 3.0
_LEAST_OTHER = 0.02
"""Below this distance from 1, ``other`` leaves nothing to judge by: all frames show the same."""
_MOVE_SHARE = 0.08
MOST_OBJECTS = 40
_CROWDED = 0.8
_DETECTION = {"score_threshold": 0.25, "max_detections": MOST_OBJECTS}
_FEWEST_FRAMES = 4
BUDGET_S = 30.0
"""Inference time of all candidates; slow models are judged on fewer frames."""

ManifestOf = Callable[[Candidate, InputSpec], Manifest]


@dataclass(frozen=True)
class Judgment:
    """How one decoder did with one preparation of the images.

    Attributes:
        same: agreement with itself on mirrored frames, 0..1; NaN where nothing could be compared.
        other: agreement with another frame.
        found: objects, or frames with a result of other tasks.
        confidence: mean score of the objects; NaN where there is none.
        failed: why it gives no result on some frame; empty where it does on all.
        frames: how many were run.
    """

    same: float = float("nan")
    other: float = float("nan")
    found: int = 0
    confidence: float = float("nan")
    failed: str = ""
    frames: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it gives results, and no object on any frame."""
        return not self.failed and self.frames > 0 and not self.found

    @property
    def is_crowded(self) -> bool:
        """Whether nearly every frame has as many objects as are looked at, as meaningless scores give."""
        return self.frames > 0 and self.mass > 0.0 and self.found >= _CROWDED * MOST_OBJECTS * self.frames

    @property
    def mass(self) -> float:
        """Sum of the objects' scores; 0 where there is none."""
        return 0.0 if np.isnan(self.confidence) else self.found * self.confidence

    @property
    def skill(self) -> float:
        """``(same - other) / (1 - other)``, within -1 to 1; 0 where nothing, or a crowd, was compared."""
        if self.failed or self.is_crowded or not np.isfinite(self.same) or not np.isfinite(self.other):
            return 0.0
        room = 1.0 - self.other
        return 0.0 if room < _LEAST_OTHER else float(np.clip((self.same - self.other) / room, -1.0, 1.0))


class Judge:
    """Runs a loaded model on frames for candidates and preparations; every inference serves all decoders."""

    def __init__(
        self, session: Session, frames: Sequence[Frame], manifest_of: ManifestOf, preparations: int = 6
    ) -> None:
        """Choose how many frames the time allows.

        Args:
            session: the loaded model.
            frames: to judge on, evenly chosen.
            manifest_of: returns the manifest of a candidate and an input.
            preparations: how many are expected to be judged.
        """
        self._session = session
        self._manifest_of = manifest_of
        self._frames = list(frames)
        self._preparations = preparations
        self._is_timed = False
        self.inferences = 0

    @property
    def frames(self) -> list[Frame]:
        """The frames that are judged on."""
        return self._frames

    def judge(
        self, candidates: Sequence[Candidate], spec: InputSpec, *, move: bool = False
    ) -> list[Judgment]:
        """Return a judgment of each candidate with images prepared by ``spec``.

        Args:
            candidates: decoders to try.
            spec: the input.
            move: also compare results on moved frames, which shows wrong boxes that mirror well.

        Raises:
            AdcpError: the runtime failed, an image cannot be prepared.
        """
        tasks: list[Task[Any] | str] = [self._task(one, spec) for one in candidates]
        usable = [task for task in tasks if not isinstance(task, str)]
        if not usable:
            return [Judgment(failed=str(task)) for task in tasks]
        runs: list[list[_Triple]] = [[] for _ in tasks]
        failed = [task if isinstance(task, str) else "" for task in tasks]
        prepared = usable[0]
        for frame in self._frames[: self._limit(prepared)]:
            height, width = frame.pixels.shape[:2]
            right, down = round(width * _MOVE_SHARE), round(height * _MOVE_SHARE)
            shown = [frame, mirrored_frame(frame)]
            shown += [moved_frame(frame, right, down)] if move else []
            raw = [self._infer(prepared, one) for one in shown]
            for index, task in enumerate(tasks):
                if failed[index] or isinstance(task, str):
                    continue
                try:
                    results = [task.decode(outputs, geometry) for outputs, geometry in raw]
                except ResultError as error:
                    failed[index] = str(error)
                    continue
                moved = results[2] if move else None
                runs[index].append(_Triple(results[0], results[1], moved, (right, down), (width, height)))
        return [
            Judgment(failed=why) if why else _judgment(triples)
            for why, triples in zip(failed, runs, strict=True)
        ]

    def values(self, spec: InputSpec, most: int) -> dict[str, NDArray[Any]]:
        """Return every output on the first frames, name to (frames, ...).

        An output whose length varies, such as a list of objects, is joined along that axis: (1, ...).
        """
        from ad_compressed_perception.tasks.prepare import Preparer

        preparer = Preparer(spec)
        found: dict[str, list[NDArray[Any]]] = {}
        for frame in self._frames[:most]:
            tensor, _ = preparer(frame)
            for name, value in self._session.infer({spec.name or "": tensor}).items():
                found.setdefault(name, []).append(value)
        joined = {name: _joined(values) for name, values in found.items()}
        return {name: values for name, values in joined.items() if values is not None}

    def results(self, candidate: Candidate, spec: InputSpec, most: int) -> list[tuple[Frame, Result]]:
        """Return a candidate's results on evenly chosen frames, of a detector on those with most objects."""
        task = self._task(candidate, spec)
        if isinstance(task, str):
            return []
        found = []
        for frame in self._frames if candidate.task == "detection" else _evenly(self._frames, most):
            outputs, geometry = self._infer(task, frame)
            try:
                found.append((frame, task.decode(outputs, geometry)))
            except ResultError:
                continue
        counts = [len(getattr(result, "scores", ())) for _, result in found]
        shown = sorted(np.argsort([-count for count in counts], kind="stable")[:most].tolist())
        return [found[index] for index in shown]

    def _task(self, candidate: Candidate, spec: InputSpec) -> Task[Any] | str:
        """Return the bound task, or why the decoder does not fit."""
        try:
            task = create_task(self._manifest_of(candidate, spec))
            task.bind(self._session.info)
            if candidate.task == "detection":
                task.settings = task.parse_settings({**task.settings.model_dump(), **_DETECTION})
        except AdcpError as error:
            return str(error)
        return task

    def _infer(self, task: Task[Any], frame: Frame) -> tuple[Mapping[str, NDArray[Any]], Any]:
        feeds, geometry = task.prepare(frame)
        self.inferences += 1
        return self._session.infer(feeds), geometry

    def _limit(self, task: Task[Any]) -> int:
        if not self._is_timed:
            self._is_timed = True
            self._infer(task, self._frames[0])
            start = perf_counter()
            self._infer(task, self._frames[0])
            cost_s = max(perf_counter() - start, 1e-4)
            allowed = int(BUDGET_S / (cost_s * 2.0 * max(1, self._preparations)))
            self._frames = _evenly(self._frames, max(_FEWEST_FRAMES, allowed))
        return len(self._frames)


def _joined(values: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    """Return an output's values of several frames as one array; None where their shapes do not allow it."""
    shapes = {value.shape for value in values}
    if len(shapes) == 1:
        return np.stack(values) if values[0].size else None
    if len({len(shape) for shape in shapes}) > 1:
        return None
    varying = [axis for axis in range(values[0].ndim) if len({shape[axis] for shape in shapes}) > 1]
    whole = np.concatenate(values, axis=varying[0])[None] if len(varying) == 1 else np.zeros(0)
    return whole if whole.size else None


@dataclass(frozen=True)
class _Triple:
    """Results on a frame, on its mirror image and on the moved frame."""

    plain: Result
    mirrored: Result
    moved: Result | None
    by: tuple[int, int]
    size: tuple[int, int]


def _evenly(frames: list[Frame], most: int) -> list[Frame]:
    if len(frames) <= most:
        return frames
    return [frames[step * len(frames) // most] for step in range(most)]


def _judgment(triples: Sequence[_Triple]) -> Judgment:
    if not triples:
        return Judgment(failed="no frame")
    first = triples[0].plain
    found, confidence = len(triples), float("nan")
    if isinstance(first, Detections):
        scores = np.concatenate([one.plain.scores for one in triples])  # type: ignore[union-attr]
        found = len(scores)
        confidence = float(scores.mean()) if found else float("nan")
    shifted = len(triples) // 2
    pairs = list(zip(triples, [*triples[shifted:], *triples[:shifted]], strict=True))
    return Judgment(
        _agreement([(one, one) for one in triples]),
        _agreement(pairs) if shifted else float("nan"),
        found,
        confidence,
        frames=len(triples),
    )


def _agreement(pairs: Sequence[tuple[_Triple, _Triple]]) -> float:
    """Return the agreement of mirrored and moved results of the first with the results of the second."""
    if isinstance(pairs[0][0].plain, Trajectory):
        return _symmetry(pairs)
    pooled: Any = None
    shares: list[float] = []
    for one, two in pairs:
        expected = mirrored_result(one.mirrored, one.size[0])
        if hasattr(one.plain, "boxes_xyxy") or hasattr(one.plain, "label_ids"):
            if _shape(expected) == _shape(two.plain):
                pooled = pool(pooled, agreement(two.plain, expected))
            if isinstance(one.moved, Detections) and isinstance(two.plain, Detections):
                moved = moved_boxes(two.plain, *one.by, *one.size)
                pooled = pool(pooled, agreement(moved, one.moved))
        else:
            shares.append(_overlap(two.plain, expected))
    if shares:
        return float(np.mean(shares))
    if pooled is None:
        return float("nan")
    counts = getattr(pooled, "overall", None)
    if counts is None:
        return float("nan") if pooled.score is None else float(pooled.score)
    if not counts.matched + counts.missed + counts.extra:
        return float("nan")
    return 2.0 * counts.matched / (2.0 * (counts.matched + _PRIOR_OBJECTS) + counts.missed + counts.extra)


def _shape(result: Result) -> tuple[int, ...]:
    ids = getattr(result, "label_ids", None)
    return () if ids is None else ids.shape


def _symmetry(pairs: Sequence[tuple[_Triple, _Triple]]) -> float:
    """Return ``1 - sum |k + k'| / sum (|k| + |k'|)`` of curvatures k and those of mirrored frames k'."""
    bends = np.array(
        [(two.plain.curvature_per_m, one.mirrored.curvature_per_m) for one, two in pairs]  # type: ignore[union-attr]
    )
    whole = float(np.abs(bends).sum())
    return 1.0 - float(np.abs(bends.sum(axis=1)).sum()) / whole if whole > 0.0 else float("nan")


def _overlap(first: Any, second: Any) -> float:
    """Return ``1 - sum |p - q| / 2`` of two classifications."""
    return 1.0 - 0.5 * float(np.abs(np.asarray(first.scores) - np.asarray(second.scores)).sum())
