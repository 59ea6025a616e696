# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the last layers read, learned from the teacher besides its answers (FitNets: Romero et al., ICLR 2015).

An answer says little where nothing is to be seen, and nothing about labels that the images do not show.
The tensors that the last products read are dense and know no labels: a student of the teacher's own
architecture that gets these right gets right what was on no image.

    loss = loss of the answers + features * mean over the tensors of  sum((s - t)^2) / sum(t^2)

The teacher runs beside the student, at the student's input size.
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
    """Return the tensors that the last products (those that no other product depends on) read."""
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
    """The teacher's features of a student's images."""

    def __init__(self, context: PassContext, student: GraphModule, example: Tensor) -> None:
        """Find the tensors that both networks make in one shape.

        Raises:
            RecipeError: the student takes other numbers than its teacher, or there is no such tensor.
        """
        model, spec = resized_teacher(context)
        if spec != context.input:
            raise RecipeError("features: the student's input is prepared otherwise than its teacher's")
        self._teacher = GraphModule(model)
        wanted = last_features(model)
        mine = {name for step in student.steps for name in step.outputs}
        both = [name for name in wanted if name in mine]
        shapes = [
            [value.shape for value in self._run(module, example, both)] for module in (self._teacher, student)
        ]
        self.names = [name for name, a, b in zip(both, *shapes, strict=True) if a == b]
        if not self.names:
            raise RecipeError(
                f"features: none of the tensors that the teacher's last layers read ({', '.join(wanted)}) "
                "is in the student's graph in the same shape: leave features out"
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
    """Lessons whose answers end with the teacher's features."""

    def __init__(self, lessons: DistillationDataset, features: Features) -> None:
        """Add the features to what the lessons hold."""
        super().__init__(lessons.inputs, lessons.answers)
        self._features = features

    def batch(
        self, indices: Sequence[int] | NDArray[np.int64], device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """Return inputs, answers and features of some rows; see Lessons.batch."""
        inputs, answers = super().batch(indices, device)
        return inputs, answers + self._features.of(inputs)


def with_features(loss: Loss, count: int, weight: float) -> Loss:
    """Return a loss that also looks at the last ``count`` outputs and answers.

    Those that have lost channels since are not looked at.
    """

    def both(outputs: Sequence[Tensor], answers: Sequence[Tensor]) -> Tensor:
        told = loss(outputs[:-count], answers[:-count])
        pairs = zip(outputs[-count:], answers[-count:], strict=True)
        shares = [
            (s - t).pow(2).sum() / t.pow(2).sum().clamp_min(1e-12) for s, t in pairs if s.shape == t.shape
        ]
        return told + weight * torch.stack(shares).mean() if shares else told

    return both
