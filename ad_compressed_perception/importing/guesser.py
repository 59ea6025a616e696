# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Guesses what a model file does not say: task, decoder, scale, color, resizing, labels; says how sure it is.

Candidates come from shapes, metadata and ranges of values (``candidates``). On real frames they are ranked by
how well results on mirrored frames agree with mirrored results (``judge``), on labeled ones by accuracy
(``labeled_ranking``). What was given is never changed; what is not certain is named as unsure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from ad_compressed_perception.analysis.output_plausibility import check_outputs
from ad_compressed_perception.backends import Session
from ad_compressed_perception.core.errors import AdcpError, ManifestError, ModelFileError, ResultError
from ad_compressed_perception.core.manifest import (
    InputSpec,
    Manifest,
    OutputSpec,
    Variant,
    describe_validation_error,
)
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing import choose
from ad_compressed_perception.importing.candidates import Candidate, Evidence, propose
from ad_compressed_perception.importing.choices import Choice, Guess, Row
from ad_compressed_perception.importing.infer_manifest import DEFAULT_DECODERS, infer_output
from ad_compressed_perception.importing.judge import Judge, Judgment
from ad_compressed_perception.importing.labeled_ranking import LabeledRanking
from ad_compressed_perception.importing.labels import proposed_labels, unique_labels
from ad_compressed_perception.importing.model_facts import ModelFacts
from ad_compressed_perception.importing.preparations import (
    BYTES,
    UNIT,
    Preparation,
    Scaling,
    scalings_for,
    usual_preparation,
)
from ad_compressed_perception.importing.request import ImportRequest
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

_MOST_CANDIDATES = 6
_LEAST_PRIOR = 0.4
"""Candidates that are that much less likely than the first one are not tried on frames."""
_VALUE_FRAMES = 3
_PRIOR_WEIGHT = 0.3
_USUAL_WEIGHT, _STATED_WEIGHT = 0.05, 0.2
"""Of the usual scale; more where the exporter's metadata name the family."""
_LEAST_SKILL = 0.3
"""Skill below it is noise, and convention decides."""
_EMPTY_MALUS = 5.0
"""Of what finds nothing on any frame, where another decoder of that task finds something."""
_MIRRORS, _MASS_WEIGHT = 0.85, 0.4
"""Rows that mirror nearly as well as the best are distinguished by how much they find."""
_NO_SHA256 = "0" * 64


@dataclass
class Guesser:
    """Guesses for one loaded model.

    Attributes:
        session: the loaded model.
        facts: of its file.
        request: what the user gave.
        spec: the input section by the file and by what was given.
        name: the model's name.
        backend: that runs it.
        file: its file's name.
        all_candidates: of the file, whatever was given.
        keeps_defaults: whether images are prepared by the defaults of the manifest: the task was given, and
            there are neither frames nor an exporter's name.
    """

    session: Session
    facts: ModelFacts
    request: ImportRequest
    spec: InputSpec
    name: str
    backend: str
    file: str
    all_candidates: list[Candidate] = field(default_factory=list)
    keeps_defaults: bool = False

    def guess(self, frames: Sequence[Frame], *, are_real: bool, data: str | None = None) -> Guess:
        """Return the guess.

        Args:
            frames: of the sample, evenly chosen, or drawn ones.
            are_real: whether they are of a camera: only then candidates are judged on them.
            data: specification of labeled data; None without.

        Raises:
            ManifestError: what was given contradicts itself or the file.
            ModelFileError: no decoder fits and the task was given, or there is no task raw.
        """
        if self.request.task == RAW:
            return self._raw("given")
        has_word = are_real or self.facts.metadata.exporter == "ultralytics"
        self.keeps_defaults = self.request.task is not None and not has_word
        judge = Judge(self.session, frames, self.manifest)
        candidates = self._candidates(judge)
        fitting = [one for one in candidates if not self.misfit(one)]
        if not fitting:
            return self._without_decoder(candidates)
        if are_real:
            return self._judged(judge, fitting, data)
        likely = _likely(fitting)
        doubts = [
            self._implausible(one, self._prepared(one), judge.frames) for one in likely[:_MOST_CANDIDATES]
        ]
        chosen = likely[doubts.index("")] if "" in doubts else likely[0]
        doubt = "" if "" in doubts else doubts[0]
        if doubt and self.request.raw_when_doubtful:
            return self._raw(doubt)
        rows = [Row(one, "") for one in (chosen, *(one for one in fitting if one != chosen))]
        return self._finish(chosen, rows, judge, None, doubt)

    def manifest(self, candidate: Candidate, spec: InputSpec) -> Manifest:
        """Return the manifest of a candidate; raise ManifestError where it is not valid."""
        try:
            return Manifest(
                name=self.name,
                task=candidate.task,
                labels=self.labels(candidate)[0],
                input=spec,
                output=OutputSpec(decoder=candidate.decoder, options=dict(candidate.options)),
                baseline="fp32",
                variants={"fp32": Variant(file=self.file, sha256=_NO_SHA256, backend=self.backend)},
            )
        except ValidationError as error:
            raise ManifestError(f"model {self.name!r}: {describe_validation_error(error)}") from error

    def labels(self, candidate: Candidate) -> tuple[list[str], str]:
        """Return labels for a candidate, and where they are from: given, metadata, or a list's name."""
        if self.request.labels:
            return unique_labels(self.request.labels)[0], "given"
        if not candidate.classes:
            return [], ""
        names = self.facts.metadata.names
        if len(names) == candidate.classes:
            return unique_labels(names)[0], "metadata"
        if len(names) == candidate.classes - 1 and candidate.task == "segmentation":
            return unique_labels(["background", *names])[0], "metadata"
        labels, known = proposed_labels(candidate.task, candidate.classes)
        return list(labels), known or "numbered"

    def _candidates(self, judge: Judge) -> list[Candidate]:
        """Return the candidates that agree with what was given, with the given options."""
        request, facts = self.request, self.facts
        given = self.spec
        if not {"scale", "mean", "std"} & request.input.keys() and given.dtype != "uint8":
            # Small values: ranges of outputs stay what they are meant to be, whatever the right scale is.
            given = given.model_copy(update={} if facts.normalizes else UNIT.fields(given.color))
        values = judge.values(given, _VALUE_FRAMES)
        names = len(request.labels) or len(facts.metadata.names)
        found = self.all_candidates = propose(Evidence(facts, given.width, given.height, names, values))
        fitting = [
            one
            for one in found
            if request.task in (None, one.task) and request.decoder in (None, one.decoder)
        ]
        # The other options of a candidate hold for its own reading of the columns.
        agreeing = [one for one in fitting if _agrees(one, request.decoder_options)] or fitting
        chosen = [replace(one, options={**one.options, **request.decoder_options}) for one in agreeing]
        if self.keeps_defaults and request.decoder is None:
            return [self._usual(found)]
        if request.decoder is not None and not chosen:
            chosen = [self._as_given(request.task or _task_of(request.decoder), request.decoder)]
        return chosen

    def _as_given(self, task: str, decoder: str) -> Candidate:
        output = infer_output(
            task,  # type: ignore[arg-type]
            self.request.labels,
            self.facts.outputs,
            decoder,
            self.request.decoder_options,
        )
        return Candidate(
            task, output.decoder, output.options, len(self.request.labels), "given", "given", 1.0
        )

    def _usual(self, found: list[Candidate]) -> Candidate:
        """Return the given task's usual decoder, for a file without frames and exporter."""
        task = self.request.task or ""
        usual = self._as_given(task, DEFAULT_DECODERS[task])  # type: ignore[index]
        own = [one for one in found if (one.task, one.decoder) == (task, usual.decoder)]
        if self.request.labels or self.request.decoder_options or not own:
            return usual
        return replace(usual, classes=own[0].classes, options={**own[0].options, **usual.options})

    def misfit(self, candidate: Candidate, *, plain: bool = False) -> str:
        """Return why a candidate's decoder cannot read the outputs; empty where it can.

        ``plain``: whatever labels were given.
        """
        if plain:
            request = replace(self.request, labels=(), decoder_options={})
            return replace(self, request=request).misfit(candidate)
        try:
            create_task(self.manifest(candidate, self._prepared(candidate))).bind(self.session.info)
        except AdcpError as error:
            return str(error)
        return ""

    def _implausible(self, candidate: Candidate, spec: InputSpec, frames: Sequence[Frame]) -> str:
        """Return what is implausible in a candidate's outputs; empty where nothing is."""
        try:
            task = create_task(self.manifest(candidate, spec))
            check_outputs(Pipeline(task, self.session, "fp32"), frames, self.request.sample or "drawn images")
        except (ResultError, ModelFileError, ManifestError) as error:
            return str(error)
        return ""

    def _prepared(
        self, candidate: Candidate, scaling: Scaling | None = None, color: str | None = None
    ) -> InputSpec:
        """Return the input as it is usual for a candidate, but for what was given."""
        usual = usual_preparation(candidate.family, self.facts, self.spec.dtype)
        if self.keeps_defaults:
            usual = Preparation(BYTES, "RGB", "stretch")
        given = self.request.input
        scaling = scaling or scalings_for(usual, self.spec, given)[0]
        order: str = self.spec.color
        if order != "GRAY" and "color" not in given:
            order = color or choose.usual_color(usual, scaling, self.facts)
        fields: dict[str, Any] = {"color": order, **self._geometry(usual)}
        fields.update(scaling.fields("RGB" if scaling.name == "given" else order))
        kept = {key: value for key, value in fields.items() if key not in given}
        return InputSpec.model_validate({**self.spec.model_dump(), **kept})

    def _geometry(self, usual: Preparation) -> dict[str, Any]:
        if {"resize", "letterbox_align", "resize_width"} & self.request.input.keys():
            return {}
        geometry = usual.geometry()
        if self.facts.network == "yolox" and geometry.get("resize") == "letterbox":
            geometry["letterbox_align"] = "top_left"
        return geometry

    def _judged(self, judge: Judge, fitting: list[Candidate], data: str | None) -> Guess:
        """Rank candidates and scales on frames, then the color order, then all of it on labels."""
        fitting = _likely(fitting)[:_MOST_CANDIDATES]
        usual = usual_preparation(fitting[0].family, self.facts, self.spec.dtype)
        scalings = scalings_for(usual, self.spec, self.request.input)
        rows: list[Row] = []
        for scaling in scalings:
            spec = self._prepared(fitting[0], scaling)
            found = judge.judge(fitting, spec)
            rows += [
                Row(one, f"{scaling.name}, {spec.color}", judgment)
                for one, judgment in zip(fitting, found, strict=True)
            ]
        best, doubt = self._best_plausible(judge, rows, scalings, usual.scaling)
        if best is None:
            reason = next((row.judgment.failed for row in rows if row.judgment is not None), "")
            return self._without_decoder(fitting, reason)
        if doubt and self.request.raw_when_doubtful:
            return self._raw(doubt)
        scaling = _scaling_of(best, scalings)
        color, colors = self._color(judge, best.candidate, scaling)
        ranking = None
        if data is not None:
            ranking = LabeledRanking(self.session, self.manifest, data, self.request.label_map)
        judged = (scaling, scalings, color, colors, ranking)
        return self._finish(best.candidate, rows, judge, judged, doubt)

    def _best_plausible(
        self, judge: Judge, rows: list[Row], scalings: Sequence[Scaling], usual: Scaling
    ) -> tuple[Row | None, str]:
        """Return the best row whose outputs are plausible; else the best one, and what is implausible.

        Returns:
            (None, "") where every decoder fails on some frame.
        """
        first: tuple[Row, str] | None = None
        while True:
            bonus = _mass_bonus(rows)
            empty = _empty_malus(rows)
            rows.sort(key=lambda row: -self._score(row, usual) - bonus(row) + empty(row))
            if rows[0].judgment is None or rows[0].judgment.failed:
                return first or (None, "")
            # Moved frames cost three inferences each: after the first row, only for what is plausible.
            best = rows[0] if first else self._best_decoder(judge, rows, scalings)
            problem = self._implausible_row(judge, best, scalings)
            if first and not problem:
                best = self._best_decoder(judge, rows, scalings)
                problem = self._implausible_row(judge, best, scalings)
            if not problem:
                return best, ""
            first = first or (best, problem)
            for index, row in enumerate(rows):
                if row.candidate == best.candidate and row.preparation == best.preparation:
                    rows[index] = replace(row, judgment=Judgment(failed=problem))

    def _implausible_row(self, judge: Judge, row: Row, scalings: Sequence[Scaling]) -> str:
        spec = self._prepared(row.candidate, _scaling_of(row, scalings))
        return self._implausible(row.candidate, spec, judge.frames)

    def _score(self, row: Row, usual: Scaling) -> float:
        judgment = row.judgment
        if judgment is None or judgment.failed:
            return row.candidate.prior - 10.0
        is_usual = row.preparation.rpartition(",")[0] == usual.name
        says_so = self.facts.metadata.exporter == row.candidate.family
        weight = _STATED_WEIGHT if says_so else _USUAL_WEIGHT
        skill = judgment.skill if judgment.skill >= _LEAST_SKILL else 0.0
        return skill + _PRIOR_WEIGHT * row.candidate.prior + weight * is_usual

    def _best_decoder(self, judge: Judge, rows: list[Row], scalings: Sequence[Scaling]) -> Row:
        """Return the best row; among decoders that mirror equally well, by moved frames too."""
        best = rows[0]
        rivals = [
            row
            for row in rows
            if row.preparation == best.preparation and row.judgment is not None and not row.judgment.failed
        ]
        if best.candidate.task != "detection" or len(rivals) < 2:
            return best
        spec = self._prepared(rows[0].candidate, _scaling_of(best, scalings))
        found = judge.judge([row.candidate for row in rivals], spec, move=True)
        usual = _scaling_of(best, scalings)
        moved = [replace(row, judgment=judgment) for row, judgment in zip(rivals, found, strict=True)]
        for old, new in zip(rivals, moved, strict=True):
            rows[rows.index(old)] = new
        empty = _empty_malus(moved)
        moved.sort(key=lambda row: -self._score(row, usual) + empty(row))
        return moved[0]

    def _color(self, judge: Judge, candidate: Candidate, scaling: Scaling) -> tuple[str, dict[str, Judgment]]:
        """Return the color order, and how both did; by convention unless the frames speak clearly."""
        spec = self._prepared(candidate, scaling)
        if spec.color == "GRAY" or "color" in self.request.input:
            return spec.color, {}
        orders = (spec.color, "RGB" if spec.color == "BGR" else "BGR")
        found = {
            order: judge.judge([candidate], self._prepared(candidate, scaling, order))[0] for order in orders
        }
        return choose.color_by_frames(orders[0], found), found

    def _finish(
        self,
        candidate: Candidate,
        rows: list[Row],
        judge: Judge,
        judged: choose.Judged | None,
        doubt: str = "",
    ) -> Guess:
        if judged is None:
            spec = self._prepared(candidate)
        else:
            scaling, scalings, color, colors, ranking = judged
            if ranking is not None:
                specs = {
                    (one.name, order): self._prepared(candidate, one, order)
                    for one in scalings
                    for order in ("RGB", "BGR")
                }
                spec = ranking.best_input(candidate, specs, (scaling.name, color), self._is_open)
                rows = [*ranking.rows, *rows]
            else:
                spec = self._prepared(candidate, scaling, color)
        return choose.Chosen(self, candidate, spec, rows, judged, judge, doubt).guess()

    def _is_open(self, *fields: str) -> bool:
        """Return whether none of these fields of the input was given."""
        return not set(fields) & self.request.input.keys()

    def _without_decoder(self, candidates: list[Candidate], reason: str = "") -> Guess:
        """Return the guess of task raw, or say why no decoder fits, or which fails on the frames."""
        request = self.request
        if reason and request.task is not None:
            raise ModelFileError(f"not imported: {reason}{choose.looks_like(self, candidates)}")
        if request.task is not None or request.decoder is not None:
            raise ManifestError(choose.misfit_message(self, candidates))
        nearest = candidates[0].command if candidates else ""
        return self._raw(choose.why_raw(self.facts, candidates, reason), nearest)

    def _raw(self, why: str, nearest: str = "") -> Guess:
        """Return the guess of task raw; its scale is unsure, and the task where a decoder is near."""
        spec = InputSpec.model_validate({**self.spec.model_dump(), **self._raw_scaling()})
        choices = []
        notes = []
        if self.request.task is None:
            choices.append(Choice("task", RAW, "file", not nearest, why, nearest))
            notes.append(why)
        if self._is_open("scale", "mean", "std") and spec.dtype != "uint8":
            value = f"{spec.scale:.6g}"
            choices.append(
                Choice("scale", value, "convention", False, "no result to judge by", "--input-scale 1")
            )
        return Guess(None, spec, list(self.request.labels), choices, notes=notes)

    def _raw_scaling(self) -> dict[str, Any]:
        if self.spec.dtype == "uint8" or self.facts.normalizes or not self._is_open("scale", "mean", "std"):
            return {}
        return UNIT.fields(self.spec.color)


def _likely(candidates: list[Candidate]) -> list[Candidate]:
    """Return the candidates that are not much less likely than the first one."""
    return [one for one in candidates if one.prior >= candidates[0].prior - _LEAST_PRIOR]


def _mass_bonus(rows: Sequence[Row]) -> Callable[[Row], float]:
    """Return a bonus for more objects among the rows that mirror nearly as well as the best."""
    best = max((row.judgment.skill for row in rows if row.judgment is not None), default=0.0)
    least = max(_LEAST_SKILL, _MIRRORS * best)
    near = [row.judgment.mass for row in rows if row.judgment is not None and row.judgment.skill >= least]
    most = max(near, default=0.0)

    def bonus(row: Row) -> float:
        judgment = row.judgment
        if judgment is None or judgment.skill < least or not most:
            return 0.0
        return _MASS_WEIGHT * judgment.mass / most

    return bonus


def _empty_malus(rows: Sequence[Row]) -> Callable[[Row], float]:
    """Return what puts decoders that find nothing behind those of their task that do; crowds do not count."""
    finding = {
        row.candidate.task
        for row in rows
        if row.judgment and row.judgment.found and not row.judgment.is_crowded
    }

    def malus(row: Row) -> float:
        is_behind = row.judgment is not None and row.judgment.is_empty and row.candidate.task in finding
        return _EMPTY_MALUS if is_behind else 0.0

    return malus


def _scaling_of(row: Row, scalings: Sequence[Scaling]) -> Scaling:
    name = row.preparation.rpartition(",")[0]
    return next(one for one in scalings if one.name == name)


def _task_of(decoder: str) -> str:
    """Return the task that a decoder belongs to; raise ManifestError where there is no such decoder."""
    from ad_compressed_perception.core.registry import DECODERS, find
    from ad_compressed_perception.tasks import TASKS

    found: Any = find(DECODERS, decoder, ManifestError)
    for name, task in TASKS.items():
        if issubclass(found, task.decoder_type):
            return name
    raise ManifestError(f"decoder {decoder!r} belongs to no task of this package: give the task")


def _agrees(candidate: Candidate, options: Mapping[str, Any]) -> bool:
    """Return whether no option of a candidate is given otherwise."""
    return all(candidate.options.get(key, value) == value for key, value in options.items())
