# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp export`` writes ("adcp-export/1"), and a device writes back ("adcp-device-outputs/1")."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import CalibrationRecord, StrictModel, TaskName
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure
from ad_compressed_perception.report.schemas.target_check import TargetFinding

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NO_ID = "0" * 64
"""Export id of a document that is not finished."""
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=128)]


class ReferenceFrame(StrictModel):
    """One frame that the device runs, with the files that the PC made of it."""

    name: FileName = Field(description="stem of its files in frames/, inputs/, expected/ and outputs/")
    image_sha256: Sha256 = Field(description="of frames/NAME.png")
    input_sha256: Sha256 = Field(description="of inputs/NAME.npy, the tensor that the model gets")
    expected_sha256: Sha256 = Field(description="of expected/NAME.npz, the float baseline's outputs")


class DeviceExport(Document):
    """A model handed to a device's tool; ``adcp verdict`` compares with it what the device gives back."""

    schema_: Literal["adcp-export/1"] = field_of_kind("adcp-export/1")
    export_id: Sha256 = Field(
        description="of model, terms, frames and expected outputs: what outputs must belong to"
    )
    created: str = Field(description="when, ISO 8601")
    model: str
    task: TaskName
    variant: str = Field(description="name of the exported form")
    target: str
    precision: str = Field(description="fp32, int8 ...: the target's list of passes that made it")
    model_sha256: Sha256 = Field(description="of model.onnx")
    model_file: FileName = Field(description="file that the runtime reads")
    model_file_sha256: Sha256 | None = Field(
        description="of that file; null where the vendor's commands make it"
    )
    recipe_sha256: Sha256 = Field(description="of recipe.yaml, the terms of the verdict")
    tail_sha256: Sha256 | None = Field(
        description="of tail.onnx, which the PC runs behind it; null without one"
    )
    cut_nodes: list[str] = Field(description="operators before which model.onnx ends")
    baseline_sha256: Sha256 = Field(description="of the float model's file, which gave the expected outputs")
    baseline_bytes: Count = Field(description="size of that file")
    manifest: dict[str, Any] = Field(description="model.yaml of the float model")
    changed_manifest: dict[str, Any] = Field(description="the same with the exported form's input and output")
    device_outputs: list[TensorSpec] = Field(
        description="outputs of model.onnx, in the order of outputs/*.npz"
    )
    outputs: list[TensorSpec] = Field(description="outputs behind the tail")
    baseline_outputs: list[TensorSpec] = Field(description="outputs of the float model, as in expected/*.npz")
    calibration: CalibrationRecord
    verification_source: str = Field(description="where the reference frames come from")
    findings: list[TargetFinding] = Field(description="what the target's rules find in model.onnx")
    float_operators: list[str] = Field(
        description="outputs of the operators of an int8 model.tflite that the conversion leaves in float"
    )
    frames: list[ReferenceFrame]


def export_id(document: DeviceExport) -> str:
    """Return the hash of a document without its own id, findings and date."""
    left_out = {"export_id", "created", "findings", "host"}
    return hashlib.sha256(document.model_dump_json(exclude=left_out).encode()).hexdigest()


class DeviceFrame(StrictModel):
    """What the device gave for one frame."""

    name: FileName
    input_sha256: Sha256 = Field(description="of the tensor that it ran")
    file: FileName = Field(description="outputs, in the order of device_outputs")
    sha256: Sha256 = Field(description="of that file")
    ms: Figure = Field(description="time of the inference there, ms; null where it was not measured")


class DeviceOutputs(Document):
    """outputs/index.json, written by run_on_device.py."""

    schema_: Literal["adcp-device-outputs/1"] = field_of_kind("adcp-device-outputs/1")
    export_id: Sha256 = Field(description="of the exported folder that was run")
    model_sha256: Sha256 = Field(description="of model.onnx there")
    model_file_sha256: Sha256 = Field(description="of the file that the runtime read")
    runtime: str
    version: str
    device: str
    placement: dict[str, Count] | None = Field(
        None,
        description="ONNX Runtime: nodes that ran on each execution provider; null: unknown",
    )
    frames: list[DeviceFrame]
