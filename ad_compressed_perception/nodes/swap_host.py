# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an exchange of the primary goes by, and what it asks of its node."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.serving.candidate_check import OF_THE_GATE
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import ServedModel
from ad_compressed_perception.tasks.pipeline import Pipeline


class SwapOptions(StrictModel):
    """What a new model is checked on before it takes the place of the running one."""

    swap_check_frames: int = Field(
        8,
        ge=0,
        le=256,
        description="frames, with their results, that are kept to compare a new model with the running one; "
        "0: none",
    )
    swap_min_agreement: float = Field(
        OF_THE_GATE,
        ge=-1.0,
        le=1.0,
        description="least agreement with the running model on these frames; -1: that of the variants' "
        "accept gates, none without a gate; 0: none",
    )


class SwapHost(Protocol):
    """What the part asks of its node."""

    task_name: ClassVar[str]

    @property
    def models(self) -> ModelSet:
        """Its models."""

    @property
    def is_configured(self) -> bool:
        """Whether it has loaded a model."""

    @property
    def unanswered(self) -> int:
        """Frames of this activation that were dropped or failed."""

    @property
    def is_active(self) -> bool:
        """Whether it takes frames."""

    @property
    def distrust(self) -> str:
        """Why the guard lets another model answer in the place of the primary; empty where it does not."""

    @property
    def is_replacing(self) -> bool:
        """Whether the primary hung and is being loaded anew."""

    def before_frame(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Give the task what is known at a frame's stamp."""

    def settings_for(self, pipeline: Pipeline) -> Any:
        """Return the task's settings that a model gets."""

    def adopt(self, model: ServedModel) -> None:
        """Describe a model that serves, on all topics, and set its settings."""
