# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Structured pruning in steps: some channels leave, the rest learns to do without, and again.

The share that stays falls by the same factor in every step: after step k of n it is ``(1 - ratio)^(k/n)``
(Zhu and Gupta, To prune or not to prune, 2017, found many small steps better than one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.pass_api.passes import Advance, Pass, PassContext
from ad_compressed_perception.training.options import TrainingOptions, require_training

if TYPE_CHECKING:
    from onnx import ModelProto

    from ad_compressed_perception.training.distillation.trainer import DistillationTrainer
    from ad_compressed_perception.training.pruning.latency_pruning import LatencyPruner


class PruneChannelsOptions(TrainingOptions):
    """Options of prune_channels; training's are those of the rounds between two steps."""

    allocation: Literal["importance", "latency"] = Field(
        "importance",
        description="which channels leave: the least important, or those that save most measured time for it",
    )
    ratio: float = Field(0.5, gt=0.0, lt=1.0, description="share of the channels to remove, by importance")
    speedup: float | None = Field(
        None, gt=1.0, description="goal of latency: baseline/variant inference time"
    )
    parameters: float | None = Field(
        None, gt=0.0, lt=1.0, description="or goal of latency: share of the weights to remove"
    )
    steps: int = Field(1, ge=1, le=50, description="in how many steps")
    epochs: int = Field(2, ge=0, le=10_000, description="rounds of learning after each step")
    round_to: int = Field(8, ge=1, le=128, description="channels that stay are a multiple of this")
    max_ratio: float = Field(0.8, gt=0.0, lt=1.0, description="no layer loses more than this share in a step")
    importance: Literal["taylor", "magnitude"] = Field("taylor", description="what a channel is worth")
    ranking: Literal["global", "layer"] = Field(
        "global", description="compare channels over all layers, or take the ratio from each"
    )
    samples: int = Field(64, ge=1, description="images that the importance taylor looks at")
    max_loss: float | None = Field(
        None, gt=0.0, description="stop before the step after which the held-out loss stays above this"
    )

    @model_validator(mode="after")
    def _one_goal(self) -> PruneChannelsOptions:
        given = [key for key in ("speedup", "parameters") if getattr(self, key) is not None]
        if self.allocation == "importance" and given:
            raise ValueError(f"{given[0]} goes with allocation: latency")
        if self.allocation == "latency":
            if len(given) != 1:
                raise ValueError("allocation: latency takes speedup or parameters, one of them")
            for key in ("ratio", "ranking"):
                if key in self.model_fields_set:
                    raise ValueError(f"{key} goes with allocation: importance")
        return self


class PruneChannels(Pass):
    """Removes whole channels, and heals what is left by distillation."""

    name = "prune_channels"
    options_type = PruneChannelsOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the smaller graph.

        Raises:
            BackendError: torch is not installed, or the baseline cannot run.
            RecipeError: nothing to prune, a graph that is quantized or not simplified, or bad training.
            ModelFileError: an operator that training does not know, or channels that cannot be parted.
            DataError: images that cannot be read.
        """
        require_training(self.name)
        from ad_compressed_perception.training.checkpoints import store_step, stored_step
        from ad_compressed_perception.training.distillation.trainer import (
            open_distillation,
            part,
            training_progress,
        )
        from ad_compressed_perception.training.pruning.channel_pruning import (
            channel_count,
            parameter_count,
        )

        options: PruneChannelsOptions = self.options
        school = open_distillation(model, context, options)
        before = parameter_count(model)
        whole = training_progress(context)
        taken: list[dict[str, Any]] = []
        narrower = self._latency_pruner(model, context, school)
        channels = channel_count(model)
        for number in range(options.steps):
            wanted = channels * (1.0 - options.ratio) ** ((number + 1) / options.steps)
            ratio = 1.0 - wanted / channel_count(model)
            if ratio <= 0.0 and narrower is None:
                continue  # rounding to whole vectors took that much before
            path = context.checkpoints / f"step_{number}.onnx"
            stored = stored_step(path)
            if stored is None:
                advance = part(whole, number / options.steps, (number + 1) / options.steps)
                smaller, facts = (
                    (self._by_importance(model, school, ratio), {})
                    if narrower is None
                    else self._by_latency(model, school, narrower, number)
                )
                stored = self._taught(smaller, facts, school, number, advance)
                store_step(path, *stored)
            fresh, facts = stored
            if options.max_loss is not None and facts["loss"] > options.max_loss:
                context.notes["stopped"] = f"step {number + 1} left a loss of {facts['loss']:.3g}, not taken"
                break
            model, taken = fresh, [*taken, facts]
        after = parameter_count(model)
        if after == before and "stopped" not in context.notes:
            raise RecipeError(
                f"no channel could leave: ratio {options.ratio} of the channels is less than round_to "
                f"{options.round_to} in every layer"
            )
        context.notes.update(
            parameters_before=before, parameters_after=after, steps=taken, images=len(school.dataset)
        )
        for key in ("groups", "layers"):  # those of the last step say it all: they count from the full width
            found = [facts.pop(key) for facts in taken if key in facts]
            context.notes.update({key: found[-1]} if found else {})
        return model

    def _by_importance(self, model: ModelProto, school: DistillationTrainer, ratio: float) -> ModelProto:
        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.pruning.channel_pruning import prune_channels

        options: PruneChannelsOptions = self.options
        module = GraphModule(model)
        taylor = options.importance == "taylor"
        return prune_channels(
            module,
            school.example,
            ratio,
            round_to=options.round_to,
            max_ratio=options.max_ratio,
            global_ranking=options.ranking == "global",
            losses=school.single_losses(module, options.samples) if taylor else None,
        )

    def _latency_pruner(
        self, model: ModelProto, context: PassContext, school: DistillationTrainer
    ) -> LatencyPruner | None:
        options: PruneChannelsOptions = self.options
        if options.allocation == "importance":
            return None
        from ad_compressed_perception.training.pruning.channel_timing import Runtime
        from ad_compressed_perception.training.pruning.latency_pruning import LatencyPruner

        return LatencyPruner(
            model,
            school.example,
            Runtime(*context.runtime),
            context.checkpoints / "timing",
            round_to=options.round_to,
            max_ratio=options.max_ratio,
        )

    def _by_latency(
        self, model: ModelProto, school: DistillationTrainer, narrower: LatencyPruner, number: int
    ) -> tuple[ModelProto, dict[str, Any]]:
        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.pruning.channel_groups import ChannelGroups
        from ad_compressed_perception.training.pruning.channel_pruning import square_gradients

        options: PruneChannelsOptions = self.options
        module, taylor = GraphModule(model), options.importance == "taylor"
        if taylor:
            square_gradients(module, school.single_losses(module, options.samples))
        worths = ChannelGroups(module, school.example).importances(taylor)
        part = (number + 1) / options.steps
        if options.speedup is not None:
            if number == 0 and options.steps > 1:  # said before hours of learning, not after
                narrower.narrow(model, worths, {"speedup": options.speedup})
            return narrower.narrow(model, worths, {"speedup": options.speedup**part})
        assert options.parameters is not None  # validated
        return narrower.narrow(model, worths, {"parameters": 1.0 - (1.0 - options.parameters) ** part})

    def _taught(
        self,
        model: ModelProto,
        facts: dict[str, Any],
        school: DistillationTrainer,
        number: int,
        advance: Advance,
    ) -> tuple[ModelProto, dict[str, Any]]:
        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.pruning.channel_pruning import parameter_count

        student = GraphModule(model)
        history = school.train(student, f"learn_{number}", advance)
        losses = {"loss_unhealed": history.first, "loss": history.best}
        return student.write_back(), {"parameters": parameter_count(model), **losses, **facts}
