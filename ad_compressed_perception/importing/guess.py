# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Guesses what a model file does not say: task, decoder, scale, color, resizing, labels; and says how sure it is.

Candidates come from shapes, metadata and ranges of values (``candidates``). On real frames they are ranked by
how well results on mirrored frames agree with mirrored results (``judge``), on labeled ones by accuracy
(``labeled_ranking``). What was given is never changed; what is not certain is named as unsure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    UNIT,
    Preparation,
    Scaling,
    scalings_for,
    usual_preparation,
)
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

if TYPE_CHECKING:
    from ad_compressed_perception.importing.import_model import ImportRequest

_MOST_CANDIDATES = 6
_LEAST_PRIOR = 0.4
"""Candidates that are that much less likely than the first one are not tried on frames."""
_VALUE_FRAMES = 3
_PRIOR_WEIGHT = 0.3
_USUAL_WEIGHT = 0.05
_NO_SHA256 = "0" * 64


def manifest_for(source: Path, folder: Path, sample: str | None = None) -> Manifest:
    """Import a model file into a new folder with everything guessed; task raw where no decoder fits.

    Args:
        source: as of ``import_model``.
        folder: to be created.
        sample: BAG, BAG:TOPIC or folder of images to judge candidates on.

    Returns:
        The manifest, whose description says what was guessed and what is unsure.

    Raises:
        AdcpError: as ``import_model``.
    """
    from ad_compressed_perception.importing.import_model import ImportRequest, import_model

    return import_model(source, folder, ImportRequest(sample=sample)).manifest


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
    """

    session: Session
    facts: ModelFacts
    request: ImportRequest
    spec: InputSpec
    name: str
    backend: str
    file: str
    all_candidates: list[Candidate] = field(default_factory=list)

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
        judge = Judge(self.session, frames, self.manifest)
        candidates = self._candidates(judge)
        fitting = [one for one in candidates if not self.misfit(one)]
        if not are_real:
            fitting = self._usual_first(fitting)
        if not fitting:
            return self._without_decoder(candidates)
        if are_real:
            return self._judged(judge, fitting, data)
        first, *_ = plausible = self._plausible(fitting, judge.frames) or fitting
        return self._finish(first, [Row(one, "") for one in plausible], judge, None)

    def manifest(self, candidate: Candidate, spec: InputSpec) -> Manifest:
        """Return the manifest of a candidate; raise ManifestError where it is not valid."""
        try:
            return Manifest(
                name=self.name,
                task=candidate.task,  # type: ignore[arg-type]
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
        chosen = [
            replace(one, options={**one.options, **request.decoder_options})
            for one in found
            if request.task in (None, one.task) and request.decoder in (None, one.decoder)
        ]
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

    def _usual_first(self, fitting: list[Candidate]) -> list[Candidate]:
        """Put the task's usual decoder first where the task is given and no frame can tell more."""
        if self.request.task is None or self.request.decoder is not None:
            return fitting
        usual = DEFAULT_DECODERS.get(self.request.task)
        if usual is None or self.facts.metadata.exporter == "ultralytics":
            return fitting
        own = [one for one in fitting if one.decoder == usual]
        if not own:
            plain = self._as_given(self.request.task, usual)
            own = [] if self.misfit(plain) else [plain]
        return [*own, *(one for one in fitting if one.decoder != usual)]

    def misfit(self, candidate: Candidate) -> str:
        """Return why a candidate's decoder cannot read the outputs; empty where it can."""
        try:
            create_task(self.manifest(candidate, self._prepared(candidate))).bind(self.session.info)
        except AdcpError as error:
            return str(error)
        return ""

    def _plausible(self, candidates: list[Candidate], frames: Sequence[Frame]) -> list[Candidate]:
        """Return the candidates from the first on whose results are plausible on drawn frames."""
        for index, one in enumerate(candidates):
            if not self._implausible(one, self._prepared(one), frames):
                return candidates[index:]
        return []

    def _implausible(self, candidate: Candidate, spec: InputSpec, frames: Sequence[Frame]) -> str:
        """Return what is implausible in a candidate's outputs; empty where nothing is."""
        try:
            task = create_task(self.manifest(candidate, spec))
            check_outputs(Pipeline(task, self.session, "fp32"), frames, "the frames")
        except (ResultError, ModelFileError, ManifestError) as error:
            return str(error)
        return ""

    def _prepared(
        self, candidate: Candidate, scaling: Scaling | None = None, color: str | None = None
    ) -> InputSpec:
        """Return the input as it is usual for a candidate, but for what was given."""
        usual = usual_preparation(candidate.family, self.facts, self.spec.dtype)
        given = self.request.input
        scaling = scaling or scalings_for(usual, self.spec, given)[0]
        order = self.spec.color
        if order != "GRAY" and "color" not in given:
            order = color or choose.usual_color(usual, scaling, self.facts)  # type: ignore[assignment]
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
        likely = [one for one in fitting if one.prior >= fitting[0].prior - _LEAST_PRIOR]
        fitting = likely[:_MOST_CANDIDATES]
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
        best = self._best_plausible(judge, rows, scalings, usual.scaling)
        if best is None:
            return self._without_decoder(fitting)
        scaling = _scaling_of(best, scalings)
        color, colors = self._color(judge, best.candidate, scaling)
        ranking = None
        if data is not None:
            ranking = LabeledRanking(self.session, self.manifest, data, self.request.label_map)
        return self._finish(best.candidate, rows, judge, (scaling, scalings, color, colors, ranking))

    def _best_plausible(
        self, judge: Judge, rows: list[Row], scalings: Sequence[Scaling], usual: Scaling
    ) -> Row | None:
        """Return the best row whose outputs are plausible, and mark the others as failed."""
        while True:
            rows.sort(key=lambda row: -self._score(row, usual))
            if rows[0].judgment is None or rows[0].judgment.failed:
                return None
            best = self._best_decoder(judge, rows, scalings)
            spec = self._prepared(best.candidate, _scaling_of(best, scalings))
            problem = self._implausible(best.candidate, spec, judge.frames)
            if not problem:
                return best
            for index, row in enumerate(rows):
                if row.candidate == best.candidate and row.preparation == best.preparation:
                    rows[index] = replace(row, judgment=Judgment(failed=problem))

    def _score(self, row: Row, usual: Scaling) -> float:
        judgment = row.judgment
        if judgment is None or judgment.failed:
            return row.candidate.prior - 10.0
        is_usual = row.preparation.startswith(usual.name)
        return judgment.skill + _PRIOR_WEIGHT * row.candidate.prior + _USUAL_WEIGHT * is_usual

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
        moved.sort(key=lambda row: -self._score(row, usual))
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
        self, candidate: Candidate, rows: list[Row], judge: Judge, judged: choose.Judged | None
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
        chosen = choose.Chosen(self, candidate, spec, rows, judged, judge)
        return chosen.guess()

    def _is_open(self, *fields: str) -> bool:
        """Return whether none of these fields of the input was given."""
        return not set(fields) & self.request.input.keys()

    def _without_decoder(self, candidates: list[Candidate]) -> Guess:
        """Return the guess of task raw, or say why no decoder fits."""
        request = self.request
        if request.task is not None or request.decoder is not None:
            raise ManifestError(choose.misfit_message(self, candidates))
        return self._raw(choose.why_raw(self.facts, candidates))

    def _raw(self, why: str) -> Guess:
        """Return the guess of task raw; the scale is nobody's knowledge, and said to be."""
        spec = InputSpec.model_validate({**self.spec.model_dump(), **self._raw_scaling()})
        choices = []
        notes = []
        if self.request.task is None:
            choices.append(Choice("task", RAW, "file", True, why))
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
    raise ManifestError(f"decoder {decoder!r} belongs to no task of this package: give --task")
