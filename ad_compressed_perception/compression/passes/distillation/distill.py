# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Self-distillation without labels: the graph is trained to reproduce the float baseline's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.io import is_quantized
from ad_compressed_perception.pass_api.passes import Pass, PassContext
from ad_compressed_perception.training.options import TrainingOptions, require_training

if TYPE_CHECKING:
    from onnx import ModelProto


class Distill(Pass):
    """Trains the weights of a float graph against the baseline's outputs."""

    name = "distill"
    image_input_only = True
    one_task_only = True
    options_type = TrainingOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the graph with the best weights found; its own weights where none were better.

        Raises:
            BackendError: torch is not installed, or the baseline cannot run.
            RecipeError: a quantized graph, outputs that cannot be compared, or a loss that became NaN.
            ModelFileError: an operator that training does not know.
            DataError: images that cannot be read.
        """
        require_training(self.name)
        self._check(model)
        return self._train(model, context)

    def _check(self, model: ModelProto) -> None:
        if is_quantized(model):
            raise RecipeError("the graph is quantized: distill before, or qat after, quantizing")

    def _train(self, model: ModelProto, context: PassContext) -> ModelProto:
        from ad_compressed_perception.training.distillation.trainer import (
            open_distillation,
            training_progress,
        )
        from ad_compressed_perception.training.graph_module.module import GraphModule

        trainer = open_distillation(model, context, self.options)
        module = GraphModule(model)
        history = trainer.train(module, self.name, training_progress(context))
        context.notes.update(
            images=len(trainer.dataset),
            epochs=len(history.losses),
            best_epoch=history.best_epoch + 1,
            loss_before=history.first,
            loss_after=history.best,
            training_seconds=round(history.seconds, 1),
        )
        return module.write_back()
