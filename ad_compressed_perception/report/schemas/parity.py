# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp parity`` measures, schema "adcp-parity/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel, TaskName
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.benchmark import Spread
from ad_compressed_perception.report.schemas.fields import Count, Figure
from ad_compressed_perception.report.schemas.host import Host
from ad_compressed_perception.report.schemas.intervals import MedianInterval

CellStatus = Literal["reference", "ok", "wrong", "undecided", "failed"]


class CellAgreement(StrictModel):
    """How a cell's results agree with the reference's on the same frames."""

    measure: str = Field(
        description="f1, equal pixels, steering, rad (largest difference), equal labels or outputs; of a "
        "model with several heads with the name of the worst one"
    )
    value: Figure = Field(description="as measured over all frames")
    limit: float = Field(description="what it must reach, or for a difference must not exceed")
    evidence: Count = Field(
        description="what the reference found to agree on: objects, labels, frames with another steering"
    )
    failed_frames: Count = Field(description="frames on which the cell gave no valid result")
    output_error: Figure = Field(
        description="largest difference of any output's element, as a share of that output's range; null "
        "where the outputs have other names or shapes"
    )


class CellMemory(StrictModel):
    """Resident memory of a process that does nothing else, with the runtime itself, bytes."""

    running_bytes: Count = Field(description="after loading the runtime and the model and running it once")
    peak_bytes: Count = Field(description="highest while doing so")


class ParityCell(StrictModel):
    """One backend in one precision."""

    status: CellStatus = Field(
        description="reference; ok: within the limits; wrong: outside of them, or rejected by its gate; "
        "undecided: nothing to compare on these frames; failed: no session, or in another precision or on "
        "another device than asked for"
    )
    reasons: list[str] = Field(description="why it is wrong, undecided or failed")
    remarks: list[str] = Field(description="what else a reader must know")
    backend: str = Field(description="runtime")
    backend_version: str = Field(description="its version; empty where it was not loaded")
    requested_provider: str = Field(description="device or execution provider asked for")
    provider: str = Field(description="the one that ran it")
    variant: str = Field(description="variant of the manifest, or the pass that made the file")
    precision: str = Field(description="as it was asked for")
    executed_precision: str = Field(description="of the heavy layers as executed")
    integer_coverage: Figure = Field(
        description="share of compute ops that run as integer kernels; null without any"
    )
    threads: Count = Field(description="inside one inference; 0: the runtime's choice")
    size_bytes: Count = Field(description="of the file")
    agreement: CellAgreement | None = Field(description="null for the reference and where it was not run")
    infer_ms: Spread | None = Field(description="null unless the status is reference or ok")
    speedup: MedianInterval | None = Field(
        description="median of the rounds' ratios reference / this one of the inference with its 95 % "
        "interval; null unless the status is ok"
    )
    load_ms: Figure = Field(description="reading and compiling, in a process of its own")
    memory: CellMemory | None = Field(description="null where it could not be measured")


class MissingCell(StrictModel):
    """A backend or precision that could not take part."""

    backend: str = Field(description="runtime")
    precision: str = Field(description="fp32, fp16, bf16, int8; empty: all of them")
    why: str = Field(description="what is missing")
    install: str = Field(description="what installs it; empty where nothing does")


class Parity(Document):
    """Backends and precisions of one model, run interleaved on one host."""

    schema_: Literal["adcp-parity/1"] = field_of_kind("adcp-parity/1")
    model: str = Field(description="the model's name")
    task: TaskName = Field(description="of the model")
    reference: str = Field(description="the cell that the others are compared with")
    best: str | None = Field(
        description="fastest cell that is ok and whose interval lies above 1; null where there is none"
    )
    best_float: str | None = Field(
        description="likewise of the baseline's own file in a float precision, within those limits"
    )
    rounds: Count = Field(description="how often each cell ran")
    source: str = Field(description="where the frames come from")
    frames: Count = Field(description="different frames")
    cells: dict[str, ParityCell] = Field(description="name to figures, the reference first")
    missing: list[MissingCell] = Field(description="what could not take part")
    host: Host
