# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Unstructured pruning: the weights of lowest score become zero, in steps with fine-tuning or at once.

After step k of n the share ``ratio (1 - (1 - k/n)^3)`` is zero (``onnx_graph/sparsity.py``), and the network
is fine-tuned by distillation. A weight that is zero stays masked; scores of the others are computed again in
each step. With ``train: false`` one step prunes all of them, without a training package. The score of a
weight, by ``score``:

* ``lamp``: ``w^2`` as a share of the squares of its tensor that are not smaller (Lee et al., "Layer-adaptive
  sparsity for the magnitude-based pruning", 2021). Tensors of different scale become comparable, and the
  largest weight of each is always kept;
* ``magnitude``: ``|w|``. Across tensors (``scope: global``) that removes whole layers whose inputs are
  large and weights therefore small, such as a first convolution on pixels of 0..255;
* ``taylor``: ``w^2 E[(dL/dw)^2]``, the second-order increase of the loss with the Fisher matrix's diagonal in
  place of the Hessian (LeCun et al., Optimal Brain Damage, NeurIPS 1989); needs training;
* ``activation``: ``|w| sqrt(E[x^2])`` with the mean square of the input it multiplies (Sun et al., "A
  simple and effective pruning approach for large language models", 2023); without training only.

Biases, normalizations and small tensors are not pruned. Reduces size only, and only when stored packed: no
maintained CPU runtime skips single zeros, so the speed stays the same. For speed: ``prune_channels``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ad_compressed_perception.compression.quantization.activation_statistics import (
    correct_bias,
    importance,
    measure_moments,
)
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.onnx_graph.io import float_constants, is_quantized
from ad_compressed_perception.onnx_graph.sparsity import EFFECT, Scope, lamp, select_lowest, share_after
from ad_compressed_perception.onnx_graph.weights import WeightTensor, find_weights
from ad_compressed_perception.pass_api.passes import Pass, PassContext
from ad_compressed_perception.training.options import TrainingOptions, require_training

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from ad_compressed_perception.training.distillation.trainer import DistillationTrainer
    from ad_compressed_perception.training.graph_module.module import GraphModule


class PruneUnstructuredOptions(TrainingOptions):
    """Options of prune_unstructured; the training options are those of fine-tuning after each step."""

    train: bool = Field(True, description="fine-tune after each step; false: prune once, without training")
    ratio: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="share of the weights that become zero; with training 0.7 by default",
    )
    threshold: float | None = Field(
        None,
        gt=0.0,
        description="weights of less magnitude become zero, instead of a ratio; without training",
    )
    steps: int = Field(4, ge=1, le=50, description="number of pruning steps")
    epochs: int = Field(1, ge=0, le=10_000, description="epochs of fine-tuning after each step but the last")
    last_epochs: int = Field(4, ge=0, le=10_000, description="epochs of fine-tuning after the last step")
    scope: Scope = Field("global", description="rank weights over the whole model, or within each tensor")
    score: Literal["lamp", "magnitude", "taylor", "activation"] = Field(
        "lamp", description="score of a weight; the lowest are pruned"
    )
    samples: int = Field(64, ge=1, description="images for the score taylor")
    max_loss: float | None = Field(
        None, gt=0.0, description="stop before the step after which the validation loss exceeds this"
    )
    correct_bias: bool = Field(
        True, description="compensate the mean shift of each output in its bias; without training"
    )
    min_size: int = Field(256, ge=2, description="tensors of fewer weights stay as they are")
    exclude: list[str] = Field(
        default_factory=list, description="weights or operators left as they are, by name (* and ? allowed)"
    )

    @model_validator(mode="after")
    def _check_kind(self) -> PruneUnstructuredOptions:
        """Refuse what the chosen kind does not use: it would have no effect."""
        unused = _WITHOUT_TRAINING if self.train else _TRAINING_ONLY
        given = [name for name in type(self).model_fields if name in unused & self.model_fields_set]
        if given:
            raise ValueError(f"{given[0]} has no effect with train: {str(self.train).lower()}: leave it out")
        if self.score == ("activation" if self.train else "taylor"):
            raise ValueError(f"score: {self.score} needs train: {str(not self.train).lower()}")
        if not self.train:
            if (self.ratio is None) == (self.threshold is None):
                raise ValueError("give either ratio or threshold")
            if self.threshold is not None and "score" in self.model_fields_set and self.score != "magnitude":
                raise ValueError(f"a threshold is on magnitudes: use ratio with score: {self.score}")
        elif self.ratio is None:
            self.ratio = _RATIO
        return self


_RATIO = 0.7
_WITHOUT_TRAINING = frozenset({"threshold", "correct_bias"})
_TRAINING_ONLY = frozenset({*TrainingOptions.model_fields, "steps", "last_epochs", "samples", "max_loss"})


class PruneUnstructured(Pass):
    """Sets single weights to zero; in steps, with fine-tuning of the others by distillation, or at once."""

    name = "prune_unstructured"
    options_type = PruneUnstructuredOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with zeros in its weights.

        Raises:
            BackendError: torch is not installed, or the baseline cannot run.
            RecipeError: a pattern in ``exclude`` that matches nothing, a quantized graph to train, or failed
                training.
            ModelFileError: no weights of that size, one that is not finite, a model that cannot run, or an
                operator that training does not know.
            DataError: images that cannot be read.
        """
        return self._train(model, context) if self.options.train else self._prune_once(model, context)

    def _train(self, model: ModelProto, context: PassContext) -> ModelProto:
        require_training(self.name)
        if is_quantized(model):
            raise RecipeError("the graph is quantized, its weights are integers: prune before quantizing")
        from ad_compressed_perception.training.checkpoints import store_step, stored_step
        from ad_compressed_perception.training.distillation.trainer import (
            open_distillation,
            part,
            training_progress,
        )
        from ad_compressed_perception.training.graph_module.unshare_weights import unshare_weights

        options: PruneUnstructuredOptions = self.options
        model = unshare_weights(model)
        names = [weight.name for weight in find_weights(model, self.name, options.min_size, options.exclude)]
        trainer = open_distillation(model, context, options)
        progress = training_progress(context)
        steps: list[dict[str, Any]] = []
        for number in range(options.steps):
            path = context.checkpoints / f"step_{number}.onnx"
            advance = part(progress, number / options.steps, (number + 1) / options.steps)
            stored = stored_step(path)
            if stored is None:
                stored = self._step(model, names, trainer, number, advance)
                store_step(path, *stored)
            pruned, facts = stored
            if options.max_loss is not None and facts["loss"] > options.max_loss:
                context.notes["stopped"] = f"step {number + 1} left a loss of {facts['loss']:.3g}, discarded"
                break
            model, steps = pruned, [*steps, facts]
        weights = find_weights(model, self.name, options.min_size, options.exclude)
        context.notes.update(_zeros(model, weights), steps=steps, images=len(trainer.dataset))
        return model

    def _prune_once(self, model: ModelProto, context: PassContext) -> ModelProto:
        options: PruneUnstructuredOptions = self.options
        weights = find_weights(model, self.name, options.min_size, options.exclude)
        needs_moments = options.score == "activation" or options.correct_bias
        moments = measure_moments(model, weights, context) if needs_moments else {}
        scores = []
        for weight in weights:
            score = np.abs(weight.values.astype(np.float64))
            if options.score == "activation":
                score *= np.sqrt(importance(weight, moments, centered=options.correct_bias))
            elif options.score == "lamp" and options.threshold is None:
                score = lamp(score)
            scores.append(score)
        if options.threshold is not None:
            chosen = [score < options.threshold for score in scores]
        else:
            chosen = select_lowest(scores, options.ratio or _RATIO, options.scope)
        pruned = corrected = 0
        for weight, drop in zip(weights, chosen, strict=True):
            before = weight.values
            weight.store(np.where(drop, np.float32(0.0), before))
            pruned += int(np.count_nonzero(before) - np.count_nonzero(weight.values))
            if options.correct_bias:
                corrected += correct_bias(model, weight, before, moments)
        context.notes.update(_zeros(model, weights), pruned=pruned, biases_corrected=corrected)
        return model

    def _step(
        self, model: ModelProto, names: list[str], trainer: DistillationTrainer, number: int, advance: Advance
    ) -> tuple[ModelProto, dict[str, Any]]:
        import torch

        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.pruning.sparsity_mask import (
            apply_sparsity_mask,
            trainable_weights,
        )

        options: PruneUnstructuredOptions = self.options
        module = GraphModule(model)
        share = share_after(options.ratio or _RATIO, number + 1, options.steps)
        parameters = trainable_weights(module, names)
        chosen = select_lowest(self._scores(module, names, trainer), share, options.scope)
        for parameter, drop in zip(parameters.values(), chosen, strict=True):
            apply_sparsity_mask(parameter, torch.from_numpy(drop))
        epochs = options.last_epochs if number + 1 == options.steps else options.epochs
        history = trainer.train(module, f"learn_{number}", advance, epochs=epochs)
        facts = {"zeros": share, "loss_before_fine_tuning": history.first, "loss": history.best}
        return module.write_back(), facts

    def _scores(
        self, module: GraphModule, names: list[str], trainer: DistillationTrainer
    ) -> list[NDArray[np.float64]]:
        """Return the scores of the weights; -1, the lowest, for those that are zero already."""
        from ad_compressed_perception.training.pruning.channel_pruning import square_gradients
        from ad_compressed_perception.training.pruning.sparsity_mask import trainable_weights

        options: PruneUnstructuredOptions = self.options
        if options.score == "taylor":
            square_gradients(module, trainer.single_losses(module, options.samples))
        scores = []
        for parameter in trainable_weights(module, names).values():
            score = np.abs(parameter.detach().numpy().astype(np.float64))
            if options.score == "lamp":
                score = lamp(score)
            elif options.score == "taylor" and parameter.grad is not None:
                score = score**2 * parameter.grad.numpy().astype(np.float64)
            scores.append(np.where(parameter.detach().numpy() == 0.0, -1.0, score))
        module.zero_grad()
        return scores


def _zeros(model: ModelProto, weights: list[WeightTensor]) -> dict[str, Any]:
    """Return the notes on the zeros in the pruned tensors."""
    zeros = sum(int(weight.values.size - np.count_nonzero(weight.values)) for weight in weights)
    return {
        "zeros_of_pruned_tensors": zeros / sum(weight.values.size for weight in weights),
        "zeros_of_all_parameters": zeros / sum(values.size for _, values in float_constants(model)),
        "pruned_tensors": len(weights),
        "emptied_tensors": all_zero_names(weights),
        "effect": EFFECT,
    }


def all_zero_names(weights: list[WeightTensor]) -> list[str]:
    """Return the names of tensors without a nonzero weight, which block their layer's signal."""
    return [weight.name for weight in weights if not weight.values.any()]


class PruneMagnitude(PruneUnstructured):
    """``prune_unstructured`` with ``train: false``."""

    name = "prune_magnitude"
    defaults = {"train": False}
