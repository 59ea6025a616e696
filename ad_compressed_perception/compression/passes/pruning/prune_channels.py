# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Iterative structured pruning: remove channels, fine-tune by distillation, repeat.

The share of channels left falls by the same factor in every step: after step k of n it is
``(1 - ratio)^(k/n)`` (Zhu and Gupta, To prune or not to prune, 2017, found many small steps better than one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.pass_api.passes import Pass, PassContext
from ad_compressed_perception.training.options import TrainingOptions, require_training

if TYPE_CHECKING:
    from onnx import ModelProto

    from ad_compressed_perception.training.distillation.trainer import DistillationTrainer
    from ad_compressed_perception.training.pruning.latency_pruning import LatencyPruner


class PruneChannelsOptions(TrainingOptions):
    """Options of prune_channels; the training options are those of fine-tuning after each step."""

    allocation: Literal["importance", "latency"] = Field(
        "importance",
        description="remove the least important channels, or those that save most time per importance",
    )
    ratio: float = Field(
        0.5, gt=0.0, lt=1.0, description="share of the channels to remove, with allocation importance"
    )
    speedup: float | None = Field(
        None, gt=1.0, description="goal with allocation latency: baseline/variant inference time"
    )
    parameters: float | None = Field(
        None, gt=0.0, lt=1.0, description="or goal with allocation latency: share of the weights to remove"
    )
    steps: int = Field(1, ge=1, le=50, description="number of pruning steps")
    epochs: int = Field(2, ge=0, le=10_000, description="epochs of fine-tuning after each step")
    round_to: int = Field(8, ge=1, le=128, description="remaining channels are a multiple of this")
    max_ratio: float = Field(
        0.8, gt=0.0, lt=1.0, description="largest share of a layer's channels removed in a step"
    )
    importance: Literal["taylor", "magnitude"] = Field(
        "taylor", description="importance criterion of a channel"
    )
    ranking: Literal["global", "layer"] = Field(
        "global", description="rank channels over all layers, or within each layer"
    )
    samples: int = Field(64, ge=1, description="images for the importance taylor")
    max_loss: float | None = Field(
        None, gt=0.0, description="stop before the step after which the validation loss exceeds this"
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
    """Removes whole channels and fine-tunes the network by distillation."""

    name = "prune_channels"
    image_input_only = True
    options_type = PruneChannelsOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the smaller graph.

        Raises:
            BackendError: torch is not installed, or the baseline cannot run.
            RecipeError: nothing to prune, a graph that is quantized or not simplified, or failed training.
            ModelFileError: an operator that training does not know, or channels that cannot be separated.
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
        trainer = open_distillation(model, context, options)
        before = parameter_count(model)
        progress = training_progress(context)
        steps: list[dict[str, Any]] = []
        latency_pruner = self._latency_pruner(model, context, trainer)
        channels = channel_count(model)
        for number in range(options.steps):
            target = channels * (1.0 - options.ratio) ** ((number + 1) / options.steps)
            ratio = 1.0 - target / channel_count(model)
            if ratio <= 0.0 and latency_pruner is None:
                continue  # rounding to round_to removed that much in an earlier step
            path = context.checkpoints / f"step_{number}.onnx"
            stored = stored_step(path)
            if stored is None:
                advance = part(progress, number / options.steps, (number + 1) / options.steps)
                smaller, facts = (
                    (self._by_importance(model, trainer, ratio), {})
                    if latency_pruner is None
                    else self._by_latency(model, trainer, latency_pruner, number)
                )
                stored = self._finetune(smaller, facts, trainer, number, advance)
                store_step(path, *stored)
            pruned, facts = stored
            if options.max_loss is not None and facts["loss"] > options.max_loss:
                context.notes["stopped"] = f"step {number + 1} left a loss of {facts['loss']:.3g}, discarded"
                break
            model, steps = pruned, [*steps, facts]
        after = parameter_count(model)
        if after == before and "stopped" not in context.notes:
            raise RecipeError(
                f"no channel could be removed: ratio {options.ratio} of the channels is less than round_to "
                f"{options.round_to} in every layer, or outputs, groups and deconvolutions fix their number"
            )
        context.notes.update(
            parameters_before=before, parameters_after=after, steps=steps, images=len(trainer.dataset)
        )
        for key in ("groups", "layers"):  # of the last step alone: it counts from the full width
            found = [facts.pop(key) for facts in steps if key in facts]
            context.notes.update({key: found[-1]} if found else {})
        return model

    def _by_importance(self, model: ModelProto, trainer: DistillationTrainer, ratio: float) -> ModelProto:
        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.pruning.channel_pruning import prune_channels

        options: PruneChannelsOptions = self.options
        module = GraphModule(model)
        taylor = options.importance == "taylor"
        return prune_channels(
            module,
            trainer.example,
            ratio,
            round_to=options.round_to,
            max_ratio=options.max_ratio,
            global_ranking=options.ranking == "global",
            losses=trainer.single_losses(module, options.samples) if taylor else None,
        )

    def _latency_pruner(
        self, model: ModelProto, context: PassContext, trainer: DistillationTrainer
    ) -> LatencyPruner | None:
        options: PruneChannelsOptions = self.options
        if options.allocation == "importance":
            return None
        from ad_compressed_perception.training.pruning.channel_timing import Runtime
        from ad_compressed_perception.training.pruning.latency_pruning import LatencyPruner

        return LatencyPruner(
            model,
            trainer.example,
            Runtime(*context.runtime),
            context.checkpoints / "timing",
            round_to=options.round_to,
            max_ratio=options.max_ratio,
        )

    def _by_latency(
        self, model: ModelProto, trainer: DistillationTrainer, latency_pruner: LatencyPruner, number: int
    ) -> tuple[ModelProto, dict[str, Any]]:
        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.pruning.channel_groups import ChannelGroups
        from ad_compressed_perception.training.pruning.channel_pruning import square_gradients

        options: PruneChannelsOptions = self.options
        module, taylor = GraphModule(model), options.importance == "taylor"
        if taylor:
            square_gradients(module, trainer.single_losses(module, options.samples))
        importances = ChannelGroups(module, trainer.example).importances(taylor)
        part = (number + 1) / options.steps
        if options.speedup is not None:
            if number == 0 and options.steps > 1:  # raises before hours of training, not after
                latency_pruner.narrow(model, importances, {"speedup": options.speedup})
            return latency_pruner.narrow(model, importances, {"speedup": options.speedup**part})
        assert options.parameters is not None  # validated
        return latency_pruner.narrow(
            model, importances, {"parameters": 1.0 - (1.0 - options.parameters) ** part}
        )

    def _finetune(
        self,
        model: ModelProto,
        facts: dict[str, Any],
        trainer: DistillationTrainer,
        number: int,
        advance: Advance,
    ) -> tuple[ModelProto, dict[str, Any]]:
        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.pruning.channel_pruning import parameter_count

        student = GraphModule(model)
        history = trainer.train(student, f"learn_{number}", advance)
        losses = {"loss_before_fine_tuning": history.first, "loss": history.best}
        return student.write_back(), {"parameters": parameter_count(model), **losses, **facts}
