# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Refit every layer of a changed network by least squares to the output of the original's layer.

Layer by layer, from the input on, with the layers before already refitted (He, Zhang and Sun, Channel
Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section 3.1, there for pruned inputs):

    min over W, b of  sum over samples |W x + b - k y|^2 + r tr(G) / n (|W - W0|^2 + |b - b0|^2)

x: the layer's input in the changed network, y: the output of the original's layer on the same image,
G = sum of x x^T over n inputs. This is a linear system for each layer: no gradient, no epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ad_compressed_perception.training.graph_module.layers import Convolution, WeightLayer
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.graph_module.operators import same_padding

HARD_SWISH_SCALE = 1.15
"""k for layers before a HardSwish that was a SiLU, since HardSwish(k x) / k is nearer to SiLU(x).

The best k in mean square is 1.2 where x has a standard deviation of 1 and 1.1 where it has 2. It need not be
undone: the next layers are fitted to their actual inputs.
"""

Values = dict[str, Tensor]


@dataclass(frozen=True)
class LayerFit:
    """Squared error of a layer's output against the original's, as a share of its variance."""

    name: str
    before: float
    after: float


@torch.no_grad()
def reconstruct(
    teacher: GraphModule,
    student: GraphModule,
    images: Sequence[tuple[Tensor, Tensor]],
    *,
    ridge: float = 1e-4,
    positions: int = 1024,
    seed: int = 0,
) -> Iterator[LayerFit]:
    """Refit the student's layers in place, one by one; yield each layer's error before and after.

    Layers are matched by the name of their output. Where the student's has fewer channels, the
    kept ones are identified by their biases (and weights, where no inputs were removed), which pruning does
    not change; a layer whose channels cannot be identified is left unchanged.

    Args:
        teacher: the original, float.
        student: the changed network, float.
        images: (1, ...) inputs of the teacher and of the student, of the same images.
        ridge: r above.
        positions: maximum number of pixels of a layer's output used per image.
        seed: of the choice of pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    original = _Runner(teacher, [{teacher.input_names[0]: x} for x, _ in images], _matched(teacher, student))
    changed: list[Values] = [{student.input_names[0]: x} for _, x in images]
    scales: dict[str, float] = {}
    for index, step in enumerate(student.steps):
        name = step.outputs[0]
        scales[name] = scales.get(step.inputs[0], 1.0) if step.inputs else 1.0
        if name in original.layer_keys:
            layer = cast(WeightLayer, student.layers[str(index)])
            rows = kept_rows(cast(WeightLayer, teacher.layers[original.layer_keys[name]]), layer)
            expected = original.outputs(name)
            if rows is not None:
                k = HARD_SWISH_SCALE if _became_hard_swish(teacher, student, name) else 1.0
                _prior(layer, k / scales[name], k)
                targets = [y[:, rows] * k for y in expected]
                inputs = [values[step.inputs[0]] for values in changed]
                before, after = _refit(layer, inputs, targets, ridge, positions, generator)
                scales[name] = k
                yield LayerFit(step.name or name, before, after)
        for values in changed:
            for output, value in zip(step.outputs, student.execute(index, values), strict=False):
                values[output] = value
            for spent in student.spent_after(index):
                values.pop(spent, None)


def kept_rows(original: WeightLayer, changed: WeightLayer) -> list[int] | None:
    """Return which output channels of a layer were kept; None where they cannot be identified."""
    count = len(changed.weight)
    if count == len(original.weight):
        return list(range(count))
    alike = original.weight.shape[1:] == changed.weight.shape[1:]  # else inputs were removed too
    original_keys, changed_keys = _channel_keys(original, alike), _channel_keys(changed, alike)
    places: dict[bytes, list[int]] = {}
    for place, mark in enumerate(original_keys):
        places.setdefault(mark, []).append(place)
    found = [places.get(mark, []) for mark in changed_keys]
    return [place[0] for place in found] if all(len(place) == 1 for place in found) else None


def _channel_keys(layer: WeightLayer, with_weights: bool) -> list[bytes]:
    """Return what identifies each output channel: its bias, and its weights if requested."""
    parts = [layer.weight.flatten(1)] if with_weights else []
    parts += [layer.bias[:, None]] if layer.bias is not None else []
    return [row.numpy().tobytes() for row in torch.cat(parts, 1).detach()] if parts else []


class _Runner:
    """Runs the original network step by step, up to the requested layer."""

    def __init__(self, module: GraphModule, values: list[Values], layer_keys: dict[str, str]) -> None:
        self.module, self.values, self.layer_keys = module, values, layer_keys
        self._done = 0
        self._kept: dict[str, list[Tensor]] = {}

    def outputs(self, name: str) -> list[Tensor]:
        """Return a layer's output on every image; each can be requested once."""
        while name not in self._kept:
            index, self._done = self._done, self._done + 1
            step = self.module.steps[index]
            for values in self.values:
                made = self.module.execute(index, values)
                for output, value in zip(step.outputs, made, strict=False):
                    values[output] = value
            if step.outputs[0] in self.layer_keys:
                self._kept[step.outputs[0]] = [values[step.outputs[0]] for values in self.values]
            for values in self.values:
                for spent in self.module.spent_after(index):
                    values.pop(spent, None)
        return self._kept.pop(name)


def _matched(teacher: GraphModule, student: GraphModule) -> dict[str, str]:
    """Return output name to the teacher's layer key, for layers that both have."""
    teacher_layers = {
        step.outputs[0]: str(i) for i, step in enumerate(teacher.steps) if str(i) in teacher.layers
    }
    student_layers = {
        step.outputs[0]
        for i, step in enumerate(student.steps)
        if str(i) in student.layers and student.layers[str(i)].weight.requires_grad  # else arithmetic
    }
    return {name: key for name, key in teacher_layers.items() if name in student_layers}


def _became_hard_swish(teacher: GraphModule, student: GraphModule, name: str) -> bool:
    after, before = (
        {step.operator for step in module.steps if name in step.inputs} for module in (student, teacher)
    )
    return after == {"HardSwish"} and "HardSwish" not in before


def _prior(layer: WeightLayer, weight: float, bias: float) -> None:
    layer.weight.mul_(weight)
    if layer.bias is not None:
        layer.bias.mul_(bias)


def _refit(
    layer: WeightLayer,
    inputs: list[Tensor],
    targets: list[Tensor],
    ridge: float,
    positions: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Solve for the layer's weights; return the error before and after as shares of the targets' variance."""
    groups = getattr(layer, "groups", 1)
    weight = layer.weight.detach().reshape(groups, len(layer.weight) // groups, -1)
    parts = [weight, layer.bias.detach().reshape(groups, -1, 1)] if layer.bias is not None else [weight]
    start = torch.cat(parts, 2).transpose(1, 2).double()  # (groups, inputs, outputs)
    size = start.shape[1]
    gram = torch.zeros(groups, size, size, dtype=torch.float64)
    cross = torch.zeros_like(start)
    misses, powers, total, count = 0.0, 0.0, torch.zeros(1, dtype=torch.float64), 0
    for x, y in zip(inputs, targets, strict=True):
        samples, expected = _samples(layer, x, y, positions, generator)
        if layer.bias is not None:
            samples = torch.cat([samples, torch.ones(*samples.shape[:2], 1)], 2)
        missing = expected - samples @ start.float()
        gram += (samples.transpose(1, 2) @ samples).double()
        cross += (samples.transpose(1, 2) @ missing).double()
        misses += float((missing**2).sum())
        powers += float((expected**2).sum())
        total, count = total + expected.double().sum(), count + expected.numel()
    spread = max(powers - float(total) ** 2 / count, 1e-12)
    damping = ridge * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    damped = gram + damping.reshape(-1, 1, 1) * torch.eye(size, dtype=torch.float64)
    change = torch.linalg.solve(damped, cross)
    solved = (start + change).transpose(1, 2).float()
    gained = float((2 * change * cross - change * (gram @ change)).sum())
    if layer.bias is not None:
        layer.bias.copy_(solved[:, :, -1].reshape(-1))
        solved = solved[:, :, :-1]
    layer.weight.copy_(solved.reshape(layer.weight.shape))
    return misses / spread, (misses - gained) / spread


def _samples(
    layer: WeightLayer, x: Tensor, y: Tensor, positions: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return (groups, samples, inputs) and (groups, samples, outputs) of some pixels of one image."""
    if not isinstance(layer, Convolution):
        return x.reshape(1, -1, x.shape[-1]), y.reshape(1, -1, y.shape[-1])
    rows, columns = y.shape[2:]
    chosen = torch.randperm(rows * columns, generator=generator)[:positions]
    down, right = chosen // columns, chosen % columns
    kernel = list(layer.weight.shape[2:])
    pads = same_padding(layer.attributes, list(x.shape[2:]), kernel)
    padded = torch.nn.functional.pad(x, [pads[1], pads[3], pads[0], pads[2]])[0]
    where = [
        start[:, None] * layer.stride[axis] + torch.arange(kernel[axis]) * layer.dilation[axis]
        for axis, start in enumerate((down, right))
    ]
    patches = padded[:, where[0][:, :, None], where[1][:, None, :]]  # (channels, samples, kernel)
    groups = layer.groups
    grouped = patches.reshape(groups, -1, len(chosen), int(np.prod(kernel)))
    samples = grouped.permute(0, 2, 1, 3).reshape(groups, len(chosen), -1)
    expected = y[0][:, down, right].reshape(groups, -1, len(chosen)).transpose(1, 2)
    return samples, expected
