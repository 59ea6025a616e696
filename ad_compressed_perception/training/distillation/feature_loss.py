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

import torch
from onnx import ModelProto
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.training.distillation.resized_teacher import resized_teacher
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.teacher import Teacher, default_device


def last_features(model: ModelProto) -> list[str]:
    """Return the inputs of the last compute nodes: those that no other Conv/MatMul depends on."""
    made = Graph(model).producers
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
    """Computes the teacher's features for a student's inputs.

    Attributes:
        names: of the tensors.
    """

    def __init__(self, context: PassContext, student: GraphModule, example: Tensor, threads: int) -> None:
        """Find the tensors that both networks have in the same shape.

        Raises:
            RecipeError: the student's input is prepared differently, or there is no such tensor.
        """
        model, spec = resized_teacher(context)
        if spec != context.input:
            raise RecipeError(
                "feature_weight: the student's input is prepared differently from its teacher's"
            )
        names = last_features(model)
        in_student = {name for step in student.steps for name in step.outputs}
        both = [name for name in names if name in in_student]
        shapes: list[list[torch.Size]] = []
        for module in (GraphModule(model), student):
            with torch.no_grad():
                shapes.append([value.shape for value in module.batch(example, both)])
        self.names = [name for name, a, b in zip(both, *shapes, strict=True) if a == b]
        if not self.names:
            raise RecipeError(
                f"feature_weight: none of the inputs of the teacher's last layers ({', '.join(names)}) "
                "is in the student's graph in the same shape: leave feature_weight out"
            )
        self.of = Teacher(model, spec, self.names, default_device(), threads)


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return the loss of features; those whose shapes differ, as after channel pruning, are skipped."""
    shares = [
        (s - t).pow(2).sum() / t.pow(2).sum().clamp_min(1e-12)
        for s, t in zip(student, teacher, strict=True)
        if s.shape == t.shape
    ]
    return torch.stack(shares).mean() if shares else torch.zeros((), device=student[0].device)
