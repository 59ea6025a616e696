# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Feature distillation (FitNets: Romero et al., ICLR 2015) on the inputs of the last layers.

Outputs carry little information where an image is empty, and none about labels that no image shows. The
inputs of the last Conv/MatMul nodes are dense and independent of labels: a student of the teacher's own
architecture that reproduces them also keeps the labels that no training image shows.

    loss = loss of the outputs + feature_weight * mean over the tensors of  sum((s - t)^2) / sum(t^2)

The teacher runs next to the student in every step, at the student's input size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.training.distillation.dataset import DistillationDataset
from ad_compressed_perception.training.distillation.losses import Loss
from ad_compressed_perception.training.distillation.resized_teacher import resized_teacher
from ad_compressed_perception.training.graph_module.module import GraphModule


def last_features(model: ModelProto) -> list[str]:
    """Return the inputs of the last compute nodes: those that no other Conv/MatMul depends on."""
    made = {name for node in model.graph.node for name in node.output}
    feeding: set[str] = set()
    found: list[str] = []
    for node in reversed(model.graph.node):
        fed = not feeding.isdisjoint(node.output)
        if node.op_type in COMPUTE_OPS and not fed and node.input[0] in made and node.input[0] not in found:
            found.append(node.input[0])
        if node.op_type in COMPUTE_OPS or fed:
            feeding.update(node.input)
    return found


class Features:
    """Computes the teacher's features for a student's inputs."""

    def __init__(self, context: PassContext, student: GraphModule, example: Tensor) -> None:
        """Find the tensors that both networks have in the same shape.

        Raises:
            RecipeError: the student's input is prepared differently, or there is no such tensor.
        """
        model, spec = resized_teacher(context)
        if spec != context.input:
            raise RecipeError(
                "feature_weight: the student's input is prepared differently from its teacher's"
            )
        self._teacher = GraphModule(model)
        names = last_features(model)
        student_outputs = {name for step in student.steps for name in step.outputs}
        both = [name for name in names if name in student_outputs]
        shapes = [
            [value.shape for value in self._run(module, example, both)] for module in (self._teacher, student)
        ]
        self.names = [name for name, a, b in zip(both, *shapes, strict=True) if a == b]
        if not self.names:
            raise RecipeError(
                f"feature_weight: none of the inputs of the teacher's last layers ({', '.join(names)}) "
                "is in the student's graph in the same shape: leave feature_weight out"
            )
        self._teacher.allow_batches(example)

    @staticmethod
    @torch.no_grad()
    def _run(module: GraphModule, inputs: Tensor, names: list[str]) -> tuple[Tensor, ...]:
        return module.run({module.input_names[0]: inputs}, names)

    def of(self, inputs: Tensor) -> list[Tensor]:
        """Return the teacher's features of prepared (B, ...) images."""
        self._teacher.to(inputs.device)
        rows = inputs.split(1) if self._teacher.one_by_one else [inputs]
        made = [self._run(self._teacher, row, self.names) for row in rows]
        return [torch.cat(parts) for parts in zip(*made, strict=True)]


class FeatureDistillationDataset(DistillationDataset):
    """A distillation dataset whose targets end with the teacher's features."""

    def __init__(self, dataset: DistillationDataset, features: Features) -> None:
        """Append features to the targets of a dataset."""
        super().__init__(dataset.inputs, dataset.targets)
        self._features = features

    def batch(
        self, indices: Sequence[int] | NDArray[np.int64], device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """Return inputs, targets and features of some rows; see DistillationDataset.batch."""
        inputs, targets = super().batch(indices, device)
        return inputs, targets + self._features.of(inputs)


def with_features(loss: Loss, count: int, weight: float) -> Loss:
    """Return a loss that adds the feature loss of the last ``count`` outputs and targets.

    Features whose shapes differ, as after channel pruning, are skipped.
    """

    def both(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        output_loss = loss(outputs[:-count], targets[:-count])
        pairs = zip(outputs[-count:], targets[-count:], strict=True)
        shares = [
            (s - t).pow(2).sum() / t.pow(2).sum().clamp_min(1e-12) for s, t in pairs if s.shape == t.shape
        ]
        return output_loss + weight * torch.stack(shares).mean() if shares else output_loss

    return both
