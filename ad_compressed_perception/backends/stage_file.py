# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The file ``stages.yaml``: sub-models that one after the other compute what a model computes.

The hash of ``stages.yaml`` covers the stages, whose hashes it has. Stage files lie beside it, and read no
further files, whose content nothing would check.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from ad_compressed_perception.backends.base import MAX_INPUT_VALUES
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.json_values import plain
from ad_compressed_perception.core.manifest import StrictModel, describe_validation_error
from ad_compressed_perception.core.model_files import STAGES_NAME, read_checked
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.workspace.atomic_file import write_file

SCHEMA: Final = "adcp-stages/1"
STAGED: Final = "staged"
"""Name of the backend that runs stages."""
MOST_STAGES: Final = 16

_Dtype = Literal[
    "float32", "float16", "float64", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


class StageTensor(StrictModel):
    """A tensor that a stage reads or computes."""

    name: str
    dtype: _Dtype
    shape: list[Annotated[int, Field(ge=0)]] = Field(max_length=16)

    @model_validator(mode="after")
    def _is_of_a_network(self) -> StageTensor:
        if prod(self.shape) > MAX_INPUT_VALUES:
            raise ValueError(f"{self.name!r} has more than {MAX_INPUT_VALUES} values")
        return self

    @property
    def bytes(self) -> int:
        """Size of its values."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class StageRuntime(StrictModel):
    """What runs a stage."""

    backend: str = Field("onnxruntime", description="runtime of the stage")
    options: dict[str, Any] = Field(default_factory=dict, description="the runtime's own options")

    @model_validator(mode="after")
    def _is_no_pipeline(self) -> StageRuntime:
        if self.backend == STAGED:
            raise ValueError("a stage cannot consist of stages")
        return self


class Stage(StageRuntime):
    """One sub-model."""

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=200, description="beside this one")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    inputs: list[StageTensor] = Field(min_length=1)
    outputs: list[StageTensor] = Field(min_length=1)
    bytes_in: int | None = Field(None, ge=0, description="of all tensors that are alive before the stage")
    compute_ops: int = Field(0, ge=0, description="convolutions and matrix products in the file")
    cost_ms: float | None = Field(None, ge=0.0, description="least measured time of the stage alone")


class StageFile(StrictModel):
    """Stages in order; each reads inputs of the model and outputs of the stages before it."""

    schema_: Literal["adcp-stages/1"] = Field(SCHEMA, alias="schema")
    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the model that was cut")
    inputs: list[StageTensor] = Field(min_length=1, description="of the model")
    outputs: list[str] = Field(min_length=1, description="of the model, in its order")
    stages: list[Stage] = Field(min_length=1, max_length=MOST_STAGES)

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @model_validator(mode="after")
    def _fits_together(self) -> StageFile:
        known = {tensor.name: tensor for tensor in self.inputs}
        files = set()
        for number, stage in enumerate(self.stages, start=1):
            if stage.file in files:
                raise ValueError(f"stage {number} is the file of another stage: {stage.file}")
            files.add(stage.file)
            for tensor in stage.inputs:
                if known.get(tensor.name) != tensor:
                    raise ValueError(
                        f"stage {number} reads {tensor.name!r}, which no stage before it computes"
                    )
            for tensor in stage.outputs:
                if tensor.name in known:
                    raise ValueError(f"stage {number} computes {tensor.name!r} again")
            known |= {tensor.name: tensor for tensor in stage.outputs}
        for number, stage in enumerate(self.stages):
            alive = self.bytes_at(number)
            if stage.bytes_in not in (None, alive):
                raise ValueError(f"{alive} bytes are alive before stage {number + 1}, not {stage.bytes_in}")
            stage.bytes_in = alive
        computed = known.keys() - {tensor.name for tensor in self.inputs}
        lost = [name for name in self.outputs if name not in computed]
        if lost:
            raise ValueError(f"no stage computes the output {lost[0]!r}")
        return self

    def kept_after(self, number: int) -> frozenset[str]:
        """Return the tensors that are still needed after the stage of this index, from 0 on."""
        later = {tensor.name for stage in self.stages[number + 1 :] for tensor in stage.inputs}
        return frozenset(later | set(self.outputs))

    def bytes_at(self, number: int) -> int:
        """Return the bytes alive before a stage: of inputs and stages before it, for it and later ones."""
        before = {tensor.name: tensor for tensor in self.inputs}
        for stage in self.stages[:number]:
            before |= {tensor.name: tensor for tensor in stage.outputs}
        read = {tensor.name for stage in self.stages[number:] for tensor in stage.inputs}
        return sum(tensor.bytes for name, tensor in before.items() if name in read)


def write_stage_file(stages: StageFile, folder: Path) -> Path:
    """Write ``stages.yaml`` into the stages' folder and return its path."""
    text = yaml.safe_dump(plain(stages.model_dump(mode="json", by_alias=True)), sort_keys=False, width=110)
    return write_file(folder / STAGES_NAME, text)


def read_stage_file(path: Path, sha256: str | None = None) -> StageFile:
    """Read a ``stages.yaml`` of the given sha256 (None: any).

    Raises:
        BackendError: it is missing, malformed, or has another hash; one line.
    """
    if not path.is_file():
        raise BackendError(f"no stages at {path}")
    content = read_checked(path, sha256, BackendError)
    data = read_yaml_mapping(path, "stages", BackendError, content=content)
    try:
        return StageFile.model_validate(data)
    except ValidationError as error:
        raise BackendError(f"stages {path}: {describe_validation_error(error)}") from error
