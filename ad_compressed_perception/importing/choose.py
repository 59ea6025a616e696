# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Turns figures of candidates into choices: which is taken, whether that is certain, and what else would fit.

A choice is certain only where it was given, where the file itself settles it, or where frames or labels
separate it from the next candidate by a margin. Everything else is unsure, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.importing.candidates import Candidate
from ad_compressed_perception.importing.choices import Choice, Guess, Row, Source
from ad_compressed_perception.importing.judge import Judge, Judgment
from ad_compressed_perception.importing.model_facts import ModelFacts
from ad_compressed_perception.importing.preparations import BYTES, Preparation, Scaling
from ad_compressed_perception.importing.request import ImportRequest

if TYPE_CHECKING:
    from ad_compressed_perception.importing.labeled_ranking import LabeledRanking


class Guessing(Protocol):
    """What choices need of the guesser: what was given, the file's facts, and other candidates."""

    request: ImportRequest
    facts: ModelFacts
    all_candidates: list[Candidate]
    keeps_defaults: bool

    def labels(self, candidate: Candidate) -> tuple[list[str], str]:
        """Return labels for a candidate, and where they are from."""

    def misfit(self, candidate: Candidate, *, plain: bool = False) -> str:
        """Return why a candidate's decoder cannot read the outputs; empty where it can."""


Judged = tuple[Scaling, Sequence[Scaling], str, Mapping[str, Judgment], "LabeledRanking | None"]

_CERTAIN_SKILL, _MARGIN = 0.4, 0.15
_FEWEST_OBJECTS = 10
_WORTH_NAMING = 0.3
"""Prior from which another candidate is named in an error."""
_CLEARLY_MORE = 1.15
"""By how much the summed scores of a color order must exceed the usual one's to be taken instead."""


def usual_color(usual: Preparation, scaling: Scaling, facts: ModelFacts) -> str:
    """Return the conventional color order: files that take plain pixels and are BGR come from OpenCV users.

    Who scales to 0..1 or by ImageNet's figures trained with a library whose images are RGB.
    """
    if facts.metadata.exporter == "ultralytics":
        return "RGB"
    if usual.color == "BGR" and scaling != usual.scaling and scaling != BYTES:
        return "RGB"
    return usual.color


def color_by_frames(usual: str, found: Mapping[str, Judgment]) -> str:
    """Return the color order: the usual one unless objects of the other have clearly more score."""
    other = next(order for order in found if order != usual)
    enough = found[other].found >= _FEWEST_OBJECTS
    return other if enough and found[other].mass > _CLEARLY_MORE * found[usual].mass else usual


def why_raw(facts: ModelFacts, candidates: Sequence[Candidate], failed: str = "") -> str:
    """Return why no decoder reads the outputs, with what would be needed; ``failed``: how one did."""
    shown = "; ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in facts.outputs)
    text = f"no decoder reads the outputs ({shown})"
    metadata = facts.metadata
    if metadata.task:
        text += f"; {metadata.exporter or 'the exporter'} says task {metadata.task!r}"
    if candidates:
        first = candidates[0]
        text += f"; the nearest is {first.command} ({first.why})"
    if failed:
        text += f", which failed on the frames: {failed}"
    return text + "; task raw compares outputs as they are"


def misfit_message(guesser: Guessing, candidates: Sequence[Candidate]) -> str:
    """Return an error's text where what was given does not fit the file; it names what would."""
    request, facts = guesser.request, guesser.facts
    reason = guesser.misfit(candidates[0]) if candidates else ""
    if not reason:
        shown = "; ".join(f"{one.name} {list(one.shape)}" for one in facts.outputs)
        reason = f"no decoder of task {request.task} reads the file's outputs ({shown})"
    if request.labels:
        decoders = {one.decoder for one in candidates}
        known = [one for one in guesser.all_candidates if one.decoder in decoders]
        rooms = sorted({one.classes for one in known if one.classes})
        if rooms and len(request.labels) not in rooms:
            reason += (
                f"; {len(request.labels)} labels were given, the outputs have room for "
                f"{' or '.join(map(str, rooms))}: give that many, or none"
            )
    return reason + looks_like(guesser, candidates)


def looks_like(guesser: Guessing, candidates: Sequence[Candidate]) -> str:
    """Return the likeliest other candidate in words, with its options; empty where there is none."""
    decoders = {one.decoder for one in candidates}
    for one in guesser.all_candidates:
        if one.decoder not in decoders and one.prior >= _WORTH_NAMING and not guesser.misfit(one, plain=True):
            return f"; looks like {one.family}: {one.command}"
    return ""


@dataclass(frozen=True)
class Chosen:
    """What was taken, with all that it was taken from; ``doubt`` is what is implausible in its results."""

    guesser: Guessing
    candidate: Candidate
    spec: InputSpec
    rows: Sequence[Row]
    judged: Judged | None
    judge: Judge
    doubt: str = ""

    def guess(self) -> Guess:
        """Return the guess with its choices and notes."""
        rows = [replace(row, is_chosen=self._is_chosen(row)) for row in self.rows]
        labels, source = self.guesser.labels(self.candidate)
        choices = [
            *self._decoder(),
            *self._scale(),
            *self._color(),
            *self._resize(),
            *self._labels(labels, source),
        ]
        used = len(self.judge.frames) if self.judged is not None else 0
        return Guess(
            self.candidate,
            self.spec,
            labels,
            choices,
            rows,
            used,
            self.judge.inferences,
            self._notes(),
            self.doubt,
            looks_like(self.guesser, [self.candidate]),
        )

    def _is_chosen(self, row: Row) -> bool:
        if row.candidate != self.candidate or row.accuracy is not None:
            return row.is_chosen and row.candidate == self.candidate
        return self.judged is None or row.preparation == f"{self.judged[0].name}, {self._judged_color()}"

    def _judged_color(self) -> str:
        """Return the color order that the table of scales was made with."""
        return next(
            (row.preparation.rpartition(", ")[2] for row in self.rows if row.judgment), self.spec.color
        )

    def _own(self) -> Row | None:
        rows = [row for row in self.rows if row.judgment is not None and self._is_chosen(row)]
        return rows[0] if rows else None

    def _decoder(self) -> list[Choice]:
        request, candidate = self.guesser.request, self.candidate
        value = f"{candidate.task}, decoder {candidate.decoder}"
        if candidate.options:
            value += f" {dict(candidate.options)}"
        if request.task is not None and request.decoder is not None:
            return []
        others = [
            row.candidate
            for row in self.rows
            if row.candidate != candidate and not (row.judgment and row.judgment.failed)
        ]
        fix = others[0].command if others else ""
        metadata = self.guesser.facts.metadata
        own = self._own()
        stated = (
            candidate.family == metadata.exporter
            and bool(metadata.names)
            and len(metadata.names) == candidate.classes
        )
        if own is not None and own.judgment is not None and not self.doubt:
            return [self._decoder_by_frames(value, own.judgment, fix, stated=stated)]
        if self.doubt:
            return [Choice("decoder", value, "file", False, f"{candidate.why}; but {self.doubt}", fix)]
        if stated:
            why = f"{candidate.why}; {metadata.exporter} wrote {len(metadata.names)} names"
            return [Choice("decoder", value, "metadata", True, why, fix)]
        why = f"{candidate.why}; by shapes alone, no frame was seen"
        is_alone = not others and request.task is not None
        return [Choice("decoder", value, "file", is_alone, why, fix)]

    def _decoder_by_frames(self, value: str, own: Judgment, fix: str, *, stated: bool) -> Choice:
        rivals = [
            row.judgment.skill
            for row in self.rows
            if row.judgment is not None and not row.judgment.failed and row.candidate != self.candidate
        ]
        skill, next_best = own.skill, max(rivals, default=0.0)
        enough = self.candidate.task != "detection" or own.found >= _FEWEST_OBJECTS
        separated = enough and skill >= _CERTAIN_SKILL and skill - next_best >= _MARGIN
        separated = separated and not self.candidate.mirrors_anyway
        untried = self._untried() if separated and not stated else None
        agrees = stated and (skill >= _CERTAIN_SKILL / 2)
        why = f"{self.candidate.why}; {_figures(self.candidate, own)}"
        if rivals:
            why += f", the next decoder {next_best:.2f}"
        if own.is_empty:
            separated = agrees = False
            why += "; it finds nothing on any of these frames"
        if untried is not None:
            separated, fix = False, untried.command
            why += f"; not tried: {untried.decoder} with {untried.classes} classes"
        if stated:
            why += f"; {self.guesser.facts.metadata.exporter} names as many classes"
        if self.candidate.mirrors_anyway:
            why += "; whatever these numbers mean mirrors, so that frames do not show that they are classes"
        source: Source = "metadata" if stated else "frames"
        return Choice("decoder", value, source, separated or agrees, why, fix)

    def _untried(self) -> Candidate | None:
        """Return a less likely candidate that fits and that no frame was run for, if any."""
        tried = [row.candidate for row in self.rows]
        for one in self.guesser.all_candidates:
            is_rival = (
                one not in tried and one.prior >= _WORTH_NAMING and not self.guesser.request.decoder_options
            )
            if is_rival and not self.guesser.misfit(one):
                return one
        return None

    def _scale(self) -> list[Choice]:
        spec, given = self.spec, self.guesser.request.input
        if {"scale", "mean", "std"} & given.keys() or spec.dtype == "uint8":
            return []
        value = f"scale {spec.scale:.6g}, mean {_short(spec.mean)}, std {_short(spec.std)}"
        if self.judged is None:
            why = f"{self._usual()}; no frame was seen"
            if self.guesser.facts.normalizes:
                why = "the graph scales the image itself"
            fix = "--input-scale 1" if spec.scale != 1.0 else "--input-scale 0.00392157"
            return [Choice("scale", value, "convention", False, why, fix)]
        scaling, scalings, *_, ranking = self.judged
        if ranking is not None and ranking.table:
            return [ranking.choice("scale", value, scalings)]
        skills = {
            one.name: max(
                (
                    row.judgment.skill
                    for row in self.rows
                    if row.judgment is not None
                    and row.candidate == self.candidate
                    and row.preparation.startswith(f"{one.name},")
                ),
                default=0.0,
            )
            for one in scalings
        }
        others = sorted((one for one in scalings if one != scaling), key=lambda one: -skills[one.name])
        own = self._own()
        enough = self.candidate.task != "detection" or (
            own is not None and own.judgment is not None and own.judgment.found >= _FEWEST_OBJECTS
        )
        next_best = skills[others[0].name] if others else 0.0
        separated = skills[scaling.name] - next_best >= _MARGIN
        certain = (
            enough
            and not self.candidate.mirrors_anyway
            and skills[scaling.name] >= _CERTAIN_SKILL
            and separated
        )
        why = f"{scaling.name}: mirrored frames agree by skill {skills[scaling.name]:.2f}"
        if not certain and skills[scaling.name] < _CERTAIN_SKILL:
            why += f", which is too little; usual for {self.candidate.family}"
        if others:
            why += f", then {others[0].name} with {next_best:.2f}"
        return [Choice("scale", value, "frames", certain, why, others[0].options if others else "")]

    def _color(self) -> list[Choice]:
        spec = self.spec
        if spec.color == "GRAY" or "color" in self.guesser.request.input:
            return []
        fix = f"--input-color {'RGB' if spec.color == 'BGR' else 'BGR'}"
        if self.judged is None:
            return [Choice("color", spec.color, "convention", False, self._usual(), fix)]
        *_, colors, ranking = self.judged
        if ranking is not None and ranking.table:
            return [ranking.choice("color", spec.color, ())]
        parts = [
            f"{order} {judgment.found} objects of mean score {judgment.confidence:.2f}"
            if judgment.confidence == judgment.confidence
            else f"{order} skill {judgment.skill:.2f}"
            for order, judgment in colors.items()
        ]
        why = f"frames hardly differ ({', '.join(parts)}); labeled data decides"
        return [Choice("color", spec.color, "frames", False, why, fix)]

    def _resize(self) -> list[Choice]:
        spec, given = self.spec, self.guesser.request.input
        if "resize" in given:
            return []
        value: str = spec.resize
        if spec.resize == "letterbox":
            value += f" {spec.letterbox_align}, border {spec.pad_value}"
        ranking = None if self.judged is None else self.judged[-1]
        if ranking is not None and ranking.table:
            return [ranking.choice("resize", value, ())]
        fix = "--input-resize stretch" if spec.resize == "letterbox" else "--input-resize letterbox-center"
        why = self._usual()
        if self.guesser.facts.network == "yolox":
            why = "the network is YOLOX's, trained with the border at the right and below"
        return [Choice("resize", value, "convention", False, why, fix)]

    def _usual(self) -> str:
        if self.guesser.keeps_defaults:
            return "the default"
        return f"usual for {self.candidate.family}"

    def _labels(self, labels: Sequence[str], source: str) -> list[Choice]:
        if source in ("", "given"):
            return []
        shown = f"{len(labels)} names"
        fix = "--labels labels.txt"
        if source == "metadata":
            return [Choice("labels", shown, "metadata", True, "from the file's metadata", fix)]
        if source == "numbered":
            value = f"{labels[0]} to {labels[-1]}" if labels else "none"
            return [Choice("labels", value, "file", False, "the file holds no names", fix)]
        why = f"{source}, because the outputs have room for {len(labels)}"
        return [Choice("labels", shown, "convention", False, why, fix)]

    def _notes(self) -> list[str]:
        facts, notes = self.guesser.facts, []
        repeated = unique(self.guesser.request.labels or facts.metadata.names)
        if repeated:
            notes.append(
                f"labels that occur more than once got a number: {', '.join(repeated[:6])}; results are "
                "compared by name, so give labels with different names if they mean different classes"
            )
        if facts.suppression:
            notes.append(
                f"the graph suppresses boxes itself ({facts.suppression}): scores below its own threshold "
                "are lost, and that part is not compressed; an export without it can be compressed as a whole"
            )
        if self.judged is None:
            notes.append(
                "guessed by metadata, shapes and values on drawn images only: give a sample, a bag or "
                "a folder, to judge the candidates on real frames"
            )
        return notes


def unique(labels: Sequence[str]) -> list[str]:
    """Return the labels that occur more than once."""
    return sorted({label for label in labels if list(labels).count(label) > 1})


def _figures(candidate: Candidate, judgment: Judgment) -> str:
    what = f"{judgment.found} objects" if candidate.task == "detection" else f"{judgment.found} frames"
    if judgment.same != judgment.same or judgment.other != judgment.other:
        return f"{what}, nothing to compare with mirrored frames: skill 0"
    return (
        f"{what}, mirrored frames agree by {judgment.same:.2f}, other frames by {judgment.other:.2f}: skill "
        f"{judgment.skill:.2f}"
    )


def _short(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
