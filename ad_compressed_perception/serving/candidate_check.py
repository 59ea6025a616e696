# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a loaded model may take the place of the one that serves: labels, results, agreement.

Hash, verdict, signature and shapes were checked when it was loaded (see open_model).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import AdcpError, DataError, ManifestError, ResultError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.results import HeadResult, Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.metrics.agreement import agreement
from ad_compressed_perception.metrics.share_interval import clopper_pearson
from ad_compressed_perception.monitor.gate import Gate, gate_of
from ad_compressed_perception.monitor.pair_window import PairWindow, Scored
from ad_compressed_perception.serving.headwise import contract_by_head, needs_of, results_by_head
from ad_compressed_perception.serving.recent_frames import RecentFrame
from ad_compressed_perception.serving.served_model import ServedModel
from ad_compressed_perception.tasks.inputs import with_example_inputs
from ad_compressed_perception.tasks.pipeline import Pipeline

OF_THE_GATE = -1.0
"""Asks for the least agreement of the variants' own accept gates."""
_FRAMES_A_TRIAL = 3.0
_LONGEST_PERIOD_S = 0.25
"""Of the running model's frames; where they come more seldom, the check does not wait for them."""
BeforeFrame = Callable[[Pipeline, int], None]
"""Gives a pipeline's task what is known at a frame's stamp."""


@dataclass(frozen=True)
class Checked:
    """What was compared.

    Attributes:
        frames: on which the new model ran.
        informative: those on which there is something to compare.
        agreement: 0..1 by the task's measure; NaN without an informative frame.
        least: what was required; NaN where nothing was.
        frame_ms: median time of the new model for a frame, NaN without one.
        note: what was not compared, and why; empty where all was.
    """

    frames: int = 0
    informative: int = 0
    agreement: float = math.nan
    least: float = math.nan
    frame_ms: float = math.nan
    note: str = ""


def check_candidate(
    new: ServedModel,
    old: ServedModel | None,
    frames: Sequence[RecentFrame],
    *,
    settings: Any,
    before: BeforeFrame,
    least: float = OF_THE_GATE,
) -> Checked:
    """Run a new model on the frames that the old one answered last, and compare the results.

    Without a frame it runs on noise, so that what it gives is looked at once.

    Args:
        new: the candidate; nobody has to wait for it.
        old: serves; None where none does.
        frames: that ``old`` answered.
        settings: of the task, for the new model.
        before: see ServedModel.run; also gets the frame's stamp.
        least: least agreement, 0..1; OF_THE_GATE: that of the accept gates, below which the upper end of the
            score's interval must be for a refusal; 0: none is asked for.

    Raises:
        AdcpError: other labels in a task whose results are numbers of labels, no or a wrong result on some
            frame, or too little agreement; the line says which.
    """
    if old is not None:
        _check_labels(new, old)
    results, times_ms = [], []
    is_running = old is not None
    for each in frames or [_noise(new)]:
        # Between two frames of the running model: beside them both would take longer than a period.
        is_running = old is not None and is_running and old.wait_for_end_of_run(_LONGEST_PERIOD_S)
        start = perf_counter()
        results.append(_run(new, each, settings, before))
        times_ms.append((perf_counter() - start) * 1e3)
    if old is None:
        return Checked(note="no model to compare with")
    if not frames:
        return Checked(note="no frame to compare on: it gave a result on noise")
    frame_ms = float(np.median(times_ms))
    theirs = [results_by_head(each.result) for each in frames]
    ours = [results_by_head(each) for each in results]
    checked = [
        _check_head(new, old, name, [each[name] for each in theirs], [each[name] for each in ours], least)
        for name in ours[0]
    ]
    # A head on which nothing could be compared is the worst one, then that of the least agreement.
    worst = min(checked, key=lambda one: (not math.isnan(one.agreement), one.agreement))
    return replace(worst, frame_ms=frame_ms)


def _check_head(
    new: ServedModel,
    old: ServedModel,
    head: str,
    theirs: list[HeadResult],
    ours: list[HeadResult],
    least: float,
) -> Checked:
    """Compare the results of one head, which is "" of a model with one task; see check_candidate."""
    is_of_gate = least == OF_THE_GATE
    required, gate, note = _required(new, old, head) if is_of_gate else (least, _gate(new, old, head), "")
    scored, problem = _score(theirs, ours, gate)
    where = f"head {head}: " if head else ""
    if problem:
        if least > 0.0:
            raise AdcpError(f"{where}its agreement cannot be computed: {problem}")
        return Checked(len(ours), note=f"{where}{problem}")
    if required is not None:
        try:
            _refuse_low(scored, required, is_of_gate=is_of_gate)
        except AdcpError as error:
            raise AdcpError(f"{where}{error}") from error
    note = note or ("" if scored.informative else "nothing to compare on these frames")
    return Checked(
        frames=len(ours),
        informative=scored.informative,
        agreement=scored.score,
        least=math.nan if required is None else required,
        note=f"{where}{note}" if note else "",
    )


def _check_labels(new: ServedModel, old: ServedModel) -> None:
    """Refuse other labels of a mask, whose pixels are numbers: subscribers would read them wrongly."""
    needs = [needs_of(each.pipeline.task.manifest) for each in (new, old)]
    if needs[0] != needs[1]:
        raise ManifestError(
            f"{new.identity.model} needs other inputs than the running {old.identity.model}: clean up and "
            "configure the node instead"
        )
    ours, theirs = (contract_by_head(each.pipeline.task.manifest) for each in (new, old))
    ours_text, theirs_text = (
        ", ".join(f"{name} ({task})" for name, (task, _) in each.items()) for each in (ours, theirs)
    )
    if ours_text != theirs_text:
        raise ManifestError(
            f"{new.identity.model} has the heads {ours_text}, the running {old.identity.model} has "
            f"{theirs_text}: clean up and configure the node instead"
        )
    for name, (task, labels) in ours.items():
        if task == "segmentation" and labels != theirs[name][1]:
            _refuse_labels(new, old, labels, theirs[name][1])


def _refuse_labels(new: ServedModel, old: ServedModel, ours: Sequence[str], theirs: Sequence[str]) -> None:
    raise ManifestError(
        f"{new.identity.model} has the labels {', '.join(ours)}, and the masks of the running "
        f"{old.identity.model} mean {', '.join(theirs)}: clean up and configure the node instead"
    )


def _noise(model: ServedModel) -> RecentFrame:
    spec = model.pipeline.task.manifest.input
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
    frame = with_example_inputs(Frame(pixels, "BGR"), model.pipeline.task.manifest)
    return RecentFrame(frame, 0, None, model.identity)  # type: ignore[arg-type]


def _run(model: ServedModel, each: RecentFrame, settings: Any, before: BeforeFrame) -> Result:
    """Return a result; decoders refuse what is not finite or of a wrong shape."""
    try:
        return model.run(each.frame, settings, lambda pipeline: before(pipeline, each.stamp_ns))[0]
    except BaseException as error:  # whatever a runtime raises
        raise AdcpError(f"it fails on a frame: {describe_error(error)}") from error


def _gate(new: ServedModel, old: ServedModel, head: str) -> Gate | None:
    """Return the terms to measure by: the new variant's, else those of the old one."""
    for each in (new, old):
        try:
            gate = gate_of(each.pipeline.task.manifest, each.identity.variant, head)
        except ResultError:
            continue
        if gate is not None:
            return gate
    return None


def _required(new: ServedModel, old: ServedModel, head: str) -> tuple[float | None, Gate | None, str]:
    """Return the least agreement by the accept gates, the terms to measure by, and why there is none.

    A gate bounds what a variant may differ from the baseline of its model. Two variants may differ by both
    bounds together; of variants of different models nothing is known.
    """
    manifests = [each.pipeline.task.manifest for each in (new, old)]
    baselines = {(each.name, each.variant(each.baseline).sha256) for each in manifests}
    if len(baselines) > 1:
        return None, _gate(new, old, head), "no agreement required: not a variant of the same baseline"
    allowed, gates = 0.0, []
    for each, manifest in zip((new, old), manifests, strict=True):
        try:
            gate = gate_of(manifest, each.identity.variant, head)
        except ResultError as error:
            return None, _gate(new, old, head), f"no agreement required: {error}"
        if gate is not None:
            gates.append(gate)
            allowed += 1.0 - gate.min_agreement
        elif each.identity.variant != manifest.baseline:
            why = f"no agreement required: {each.identity.variant} has no accept gate"
            return None, _gate(new, old, head), why
    if not gates:
        return None, None, "no agreement required: the baseline has no accept gate"
    return max(0.0, 1.0 - allowed), gates[0], ""


def _score(old: Sequence[Result], new: Sequence[Result], gate: Gate | None) -> tuple[Scored, str]:
    """Return the agreement by the monitor's measure, or why there is none."""
    window = PairWindow(math.inf)
    if gate is not None:
        window.measure_by(gate)
    try:
        for index, (theirs, ours) in enumerate(zip(old, new, strict=True)):
            window.add(index, (theirs, ours), agreement(theirs, ours), float(index))
    except DataError as error:
        return Scored(), str(error)
    return window.report(math.inf, float(len(old))), ""


def _refuse_low(scored: Scored, required: float, *, is_of_gate: bool) -> None:
    """Refuse a score below the limit; by a gate only where the upper end of its interval is below, too.

    The gate's limit is for the mean of a drive, and a good variant may miss it for a moment. Neighboring
    frames are so alike that the interval of a verdict would span everything for as few of them: three of them
    count as one independent trial.
    """
    score = scored.score
    if not scored.informative or score >= required:
        return
    bound, source = "", "swap_min_agreement"
    if is_of_gate:
        trials = scored.informative / _FRAMES_A_TRIAL
        high = clopper_pearson(score * trials, trials)[1]
        if high >= required:
            return
        bound, source = f", at most {high:.3f} in the long run", "of the accept gates"
    raise AdcpError(
        f"it agrees with the running model by {score:.3f} on the last {scored.pairs} frames "
        f"({scored.informative} informative){bound}, and at least {required:.3g} is required ({source})"
    )
