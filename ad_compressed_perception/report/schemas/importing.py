# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp import`` chose, schema "adcp-import/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.json_values import Plain
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec, StrictModel
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure


class ImportChoice(StrictModel):
    """One value that the file alone does not settle."""

    what: str = Field(description="task, decoder, scale, color, resize or labels")
    value: str
    source: str = Field(description="what it rests on: given, file, metadata, frames, data or convention")
    certain: bool = Field(description="whether that settles it")
    why: str = Field(description="the evidence, in words")
    fix: str | None = Field(description="options that choose the next candidate; null where there is none")


class ImportCandidate(StrictModel):
    """A decoder that may fit, with its figures; null where they were not measured."""

    task: str
    decoder: str
    options: dict[str, Plain] = Field(description="of the decoder")
    classes: Count
    why: str = Field(description="why it may fit")
    prior: float = Field(description="how likely it is by the file alone")
    preparation: str = Field(description="how the images were scaled, and their color order")
    mirror_agreement: Figure = Field(description="agreement with the results on mirrored frames")
    other_frame_agreement: Figure = Field(description="agreement with the results on other frames")
    skill: Figure = Field(description="how far the first is above the second")
    found: Count | None = Field(description="objects, or frames with a result of other tasks")
    failed: str | None = Field(description="why it gives no result")
    accuracy: Figure = Field(description="main figure on labeled frames")
    chosen: bool


class ImportGuess(StrictModel):
    """How task, decoder, input and labels were found."""

    frames: Count = Field(description="frames that the candidates were judged on; 0 without a sample")
    inferences: Count = Field(description="how many were run")
    choices: list[ImportChoice] = Field(description="what was not given")
    unsure: list[str] = Field(description="which of these stay uncertain")
    candidates: list[ImportCandidate]
    notes: list[str] = Field(description="notes for the reader, in sentences")


class ImportFigures(ImportGuess, Document):
    """How an import found task, decoder, input and labels."""

    schema_: Literal["adcp-import-figures/1"] = field_of_kind("adcp-import-figures/1")


class ImportReport(Document):
    """The imported model, and what stays unsure."""

    schema_: Literal["adcp-import/1"] = field_of_kind("adcp-import/1")
    model: str = Field(description="the model's name")
    task: str
    kind: str = Field(description="framework of the source")
    manifest: str = Field(description="model.yaml")
    file: str = Field(description="the model file")
    backend: str = Field(description="runtime")
    input: InputSpec
    output: OutputSpec
    labels: list[str]
    guess: ImportGuess
    images: list[str] = Field(description="results drawn on frames")
    warnings: list[str] = Field(description="about the results on the sample, in sentences")
