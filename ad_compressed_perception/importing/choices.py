# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an import chose, why, whether that is certain, and the options that would choose otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.importing.candidates import Candidate
from ad_compressed_perception.importing.judge import Judgment

Source = Literal["given", "file", "metadata", "frames", "data", "convention"]


@dataclass(frozen=True)
class Choice:
    """One value that the file alone does not settle.

    Attributes:
        what: task, decoder, scale, color, resize or labels.
        value: for people.
        source: what it rests on.
        is_certain: whether that settles it.
        why: the evidence, in words.
        fix: options of ``adcp import`` that choose the next candidate; empty where there is none.
    """

    what: str
    value: str
    source: Source
    is_certain: bool
    why: str
    fix: str = ""


@dataclass(frozen=True)
class Row:
    """A candidate with its figures, for the table.

    Attributes:
        candidate: task and decoder.
        preparation: how the images were scaled and their color order.
        judgment: on unlabeled frames; None where there were none.
        accuracy: main figure on labeled frames; None where there were none.
        is_chosen: whether the import uses it.
    """

    candidate: Candidate
    preparation: str
    judgment: Judgment | None = None
    accuracy: float | None = None
    is_chosen: bool = False


@dataclass(frozen=True)
class Guess:
    """A model's task, decoder, input and labels, and how they were found.

    Attributes:
        candidate: task, decoder and its options; None where no decoder fits.
        spec: the input.
        labels: of the classes.
        choices: what was not given.
        rows: the candidates with their figures.
        frames: how many frames they were judged on; 0 without a sample.
        inferences: how many were run.
        notes: further sentences for the user.
        doubt: what is implausible in the results of the chosen decoder, where none was plausible.
        hint: the likeliest other decoder, for an error's text.
    """

    candidate: Candidate | None
    spec: InputSpec
    labels: Sequence[str]
    choices: Sequence[Choice] = ()
    rows: Sequence[Row] = ()
    frames: int = 0
    inferences: int = 0
    notes: Sequence[str] = ()
    doubt: str = ""
    hint: str = ""

    @property
    def unsure(self) -> list[Choice]:
        """The choices that stay uncertain."""
        return [one for one in self.choices if not one.is_certain]

    def summary(self) -> str:
        """Return one sentence for the manifest's description; empty where nothing was guessed."""
        guessed = [f"{one.what} {one.value}" for one in self.choices if one.source != "given"]
        if not guessed:
            return ""
        unsure = [one.what for one in self.unsure]
        return f"guessed: {'; '.join(guessed)}; unsure: {', '.join(unsure) or 'nothing'}"
