# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Structured pruning in steps: some channels leave, the rest learns to do without, and again.

The share that stays falls by the same factor in every step: after step k of n it is ``(1 - ratio)^(k/n)``
(Zhu and Gupta, To prune or not to prune, 2017, found many small steps better than one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ad_compressed_perception.compression.passes.base import Advance, Pass, PassContext
from ad_compressed_perception.compression.passes.training_options import TrainingOptions, require_training
from ad_compressed_perception.errors import RecipeError

if TYPE_CHECKING:
    from onnx import ModelProto

    from ad_compressed_perception.compression.training.school import School


class PruneChannelsOptions(TrainingOptions):
    """Options of prune_channels; training's are those of the rounds between two steps."""

    ratio: float = Field(0.5, gt=0.0, lt=1.0, description="share of the channels to remove")
    steps: int = Field(1, ge=1, le=50, description="in how many steps")
    epochs: int = Field(2, ge=0, le=10_000, description="rounds of learning after each step")
    round_to: int = Field(8, ge=1, le=128, description="channels that stay are a multiple of this")
    max_ratio: float = Field(0.8, gt=0.0, lt=1.0, description="no layer loses more than this share in a step")
    importance: Literal["taylor", "magnitude"] = Field("taylor", description="what a channel is worth")
    ranking: Literal["global", "layer"] = Field(
        "global", description="compare channels over all layers, or take the ratio from each"
    )
    samples: int = Field(64, ge=1, description="pictures that the importance taylor looks at")
    max_loss: float | None = Field(
        None, gt=0.0, description="stop before the step after which the held-out loss stays above this"
    )


class PruneChannels(Pass):
    """Removes whole channels, and heals what is left by distillation."""

    name = "prune_channels"
    options_type = PruneChannelsOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the smaller graph.

        Raises:
            BackendError: torch is not installed, or the baseline cannot run.
            RecipeError: nothing to prune, a graph that is quantised or not simplified, or bad training.
            ModelFileError: an operator that training does not know, or channels that cannot be parted.
            DataError: pictures that cannot be read.
        """
        require_training(self.name)
        from ad_compressed_perception.compression.training.channel_pruning import (
            channel_count,
            parameter_count,
        )
        from ad_compressed_perception.compression.training.school import open_school, part, teaching
        from ad_compressed_perception.compression.training.step_files import store_step, stored_step

        options: PruneChannelsOptions = self.options
        school = open_school(model, context, options)
        before = parameter_count(model)
        whole, stages = teaching(context), []
        channels = channel_count(model)
        for number in range(options.steps):
            wanted = channels * (1.0 - options.ratio) ** ((number + 1) / options.steps)
            ratio = 1.0 - wanted / channel_count(model)
            if ratio <= 0.0:
                continue  # rounding to whole vectors took that much before
            advance = part(whole, number / options.steps, (number + 1) / options.steps)
            path = context.checkpoints / f"step_{number}.onnx"
            stored = stored_step(path)
            if stored is None:
                stored = self._step(model, school, number, ratio, advance)
                store_step(path, *stored)
            fresh, facts = stored
            if options.max_loss is not None and facts["loss"] > options.max_loss:
                context.notes["stopped"] = f"step {number + 1} left a loss of {facts['loss']:.3g}, not taken"
                break
            model, stages = fresh, [*stages, facts]
        after = parameter_count(model)
        if after == before and "stopped" not in context.notes:
            raise RecipeError(
                f"no channel could leave: ratio {options.ratio} of the channels is less than round_to "
                f"{options.round_to} in every layer"
            )
        context.notes.update(
            parameters_before=before, parameters_after=after, steps=stages, pictures=len(school.lessons)
        )
        return model

    def _step(
        self, model: ModelProto, school: School, number: int, ratio: float, advance: Advance
    ) -> tuple[ModelProto, dict[str, Any]]:
        from ad_compressed_perception.compression.training.channel_pruning import (
            parameter_count,
            prune_channels,
        )
        from ad_compressed_perception.compression.training.graph_module import GraphModule

        options: PruneChannelsOptions = self.options
        module = GraphModule(model)
        taylor = options.importance == "taylor"
        smaller = prune_channels(
            module,
            school.example,
            ratio,
            round_to=options.round_to,
            max_ratio=options.max_ratio,
            global_ranking=options.ranking == "global",
            losses=school.single_losses(module, options.samples) if taylor else None,
        )
        student = GraphModule(smaller)
        history = school.teach(student, f"learn_{number}", advance)
        fresh = student.write_back()
        facts = {"parameters": parameter_count(fresh), "loss_unhealed": history.first, "loss": history.best}
        return fresh, facts
