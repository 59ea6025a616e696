# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Why a quantized variant lost its results, as far as its graph shows it, and the recipe that helps.

A tensor has one scale. Where a Concat joins parts of different ranges, or a Split takes them from one tensor,
the step may be larger than a part: then that tensor is named. Otherwise the first layer of a low SQNR is
named, and nothing is claimed where no layer has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.quantization.float_graph import name_nodes
from ad_compressed_perception.compression.quantization.layer_sqnr import QUANTIZED
from ad_compressed_perception.compression.quantization.sensitivity import open_session, with_outputs
from ad_compressed_perception.compression.verification.difference_images import Snapshots
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import Verdict
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.heads import CONCATENATING, SPLITTING, find_heads
from ad_compressed_perception.onnx_graph.io import input_specs
from ad_compressed_perception.report.schemas.compression import Layer
from ad_compressed_perception.tasks.inputs import prepared_feeds

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from ad_compressed_perception.compression.recipe import LoadedRecipe

LEAST_STEPS = 16.0
"""A part of fewer steps has lost more than four of eight bits."""
LOW_SQNR_DB = 10.0
"""Below, the error's amplitude is more than a third of the signal's."""
_FRAMES = 3
# Terms that no choice of layers meets.
_OTHER_TERMS = ("speed-up", "size", "integer coverage", "inference p99", "p99")


@dataclass(frozen=True)
class Joint:
    """A tensor whose step is too large for one of its parts.

    Attributes:
        tensor: name in the graph before quantization.
        node: the Concat that makes it, or the Split, Slice or Gather that takes the part from it.
        operator: of that node.
        part: the tensor that suffers.
        low, high: its range.
        step: of the quantized tensor.
        is_protected: whether the head finder keeps the node in float.
    """

    tensor: str
    node: str
    operator: str
    part: str
    low: float
    high: float
    step: float
    is_protected: bool

    @property
    def steps(self) -> float:
        """Number of steps over the part's range."""
        return (self.high - self.low) / self.step


def with_advice(
    verdict: Verdict,
    recipe: LoadedRecipe,
    snapshots: Snapshots,
    layers: Sequence[Layer],
    frames: FrameSample,
) -> Verdict:
    """Return a rejection with what the graph shows as a further reason; any other verdict as it is.

    Args:
        verdict: of the gate.
        recipe: that made the variant.
        snapshots: the graphs before and after quantization.
        layers: SQNR of each layer, empty where nothing was quantized.
        frames: the first ones give the ranges of a tensor's parts.
    """
    lost = any(not reason.startswith(_OTHER_TERMS) for reason in verdict.reasons)
    if verdict.status != "rejected" or not lost or snapshots.exact is None or snapshots.rounded is None:
        return verdict
    try:
        joints = find_joints(snapshots, frames)
    except AdcpError:  # a graph that ONNX Runtime cannot run has no ranges
        joints = []
    passes = {step.name for step in recipe.passes}
    text = joint_text(joints, passes) if joints else layer_text(layers, passes)
    if any(getattr(step.options, "protect_heads", True) is False for step in recipe.passes):
        text += "; protect_heads: true keeps in float what the head finder names" if text else ""
    return verdict.model_copy(update={"reasons": [*verdict.reasons, text]}) if text else verdict


def joint_text(joints: Sequence[Joint], passes: set[str]) -> str:
    """Return the sentence about the joint that leaves its part the fewest steps."""
    worst = min(joints, key=lambda joint: joint.steps)
    more = f" (and {len(joints) - 1} more such tensors)" if len(joints) > 1 else ""
    remedies = ["weights_int8", "cast_bf16_openvino"]
    if worst.is_protected and "quantize_int8_mixed" not in passes:
        remedies.insert(0, "mixed_int8")
    kind = "values of different meaning" if worst.is_protected else "parts of very different ranges"
    return (
        f"tensor {worst.tensor!r} at {worst.operator} {worst.node!r}{more} has one scale for {kind}: its "
        f"step of {worst.step:.3g} leaves {worst.part!r} ({worst.low:.3g} to {worst.high:.3g}) "
        f"{worst.steps:.2g} of 255 steps; recipes that keep it in float: {', '.join(remedies)}"
    )


def layer_text(layers: Sequence[Layer], passes: set[str]) -> str:
    """Return the sentence about the layer where the noise arises; empty where no integer layer was measured.

    Layers behind a noisy one inherit its noise: the first of a low SQNR is named, not the lowest.
    """
    known = [layer for layer in layers if layer.sqnr_db is not None and layer.kind == QUANTIZED]
    values = [layer.sqnr_db for layer in known if layer.sqnr_db is not None]
    if not known:
        return ""
    floats = "weights_int8 and cast_bf16_openvino keep all activations in float"
    mixed = "mixed_int8 keeps the most sensitive tensors in float, "
    advice = floats if "quantize_int8_mixed" in passes else mixed + floats
    first = next((place for place, value in enumerate(values) if value < LOW_SQNR_DB), None)
    if first is None:
        place = int(np.argmin(values))
        where = f"{values[place]:.1f} dB at {known[place].operator} {known[place].name!r}"
        return f"no layer stands out, the lowest SQNR is {where}: {advice}"
    before = f", before it at least {min(values[:first]):.1f} dB" if first else ""
    where = f"{known[first].operator} {known[first].name!r} ({values[first]:.1f} dB{before})"
    return f"the SQNR falls below {LOW_SQNR_DB:g} dB first at {where}: {advice}"


def find_joints(snapshots: Snapshots, frames: FrameSample) -> list[Joint]:
    """Return the quantized tensors of too large a step for one of their parts.

    Raises:
        ModelFileError: ONNX Runtime cannot run the graph before quantization.
        AdcpError: a frame cannot be read.
    """
    exact, rounded = snapshots.exact, snapshots.rounded
    if exact is None or rounded is None:
        return []
    before = exact.model()
    name_nodes(before)  # as the quantizing pass names them
    steps = _steps(rounded.model())
    candidates = list(_candidates(before, steps))
    if not candidates:
        return []
    parts = sorted({part for _, _, _, names in candidates for part in names})
    session = open_session(with_outputs(before, parts))
    ranges: dict[str, tuple[float, float]] = {}
    chosen = FrameSample(frames.source, frames.indices[:_FRAMES])
    for feeds in prepared_feeds(exact.manifest, input_specs(before), chosen):
        values = session.run(parts, feeds)
        for name, value in zip(parts, values, strict=True):
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(value.min())), max(high, float(value.max())))
    heads = find_heads(before, ranges)
    protected = {*heads.float_nodes, *heads.shared}
    found = []
    for node, tensor, step, names in candidates:
        spans = {name: ranges[name][1] - ranges[name][0] for name in names}
        part = min((name for name in names if spans[name] > 0.0), key=lambda name: spans[name], default=None)
        if part is not None and spans[part] < LEAST_STEPS * step:
            kept = not protected.isdisjoint((node.name, tensor))
            found.append(Joint(tensor, node.name, node.op_type, part, *ranges[part], step, kept))
    return found


def _steps(rounded: ModelProto) -> dict[str, float]:
    """Return the scale of the 8-bit output of every Concat, and input of every Split, by node name."""
    from onnx import TensorProto, numpy_helper

    graph = Graph(rounded)
    eight = (TensorProto.INT8, TensorProto.UINT8)
    by_source: dict[str, float] = {}
    by_result: dict[str, float] = {}
    for node in graph.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        scale, zero = graph.weights.get(node.input[1]), graph.weights.get(node.input[2])
        if scale is None or zero is None or zero.data_type not in eight:
            continue
        values = numpy_helper.to_array(scale)
        if values.size != 1:
            continue
        if node.op_type == "QuantizeLinear":
            by_source[node.input[0]] = float(values.flat[0])
        else:
            by_result[node.output[0]] = float(values.flat[0])
    steps = {}
    for node in graph.nodes:
        if node.op_type in CONCATENATING and node.output[0] in by_source:
            steps[node.name] = by_source[node.output[0]]
        elif node.op_type in SPLITTING and node.input[0] in by_result:
            steps[node.name] = by_result[node.input[0]]
    return steps


def _candidates(
    exact: ModelProto, steps: dict[str, float]
) -> Iterator[tuple[NodeProto, str, float, list[str]]]:
    """Yield (node, quantized tensor, its step, its parts) of every quantized joint."""
    graph = Graph(exact)
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op_type in SPLITTING:
            readers.setdefault(node.input[0], []).extend(name for name in node.output if name)
    for node in graph.nodes:
        if node.name not in steps:
            continue
        if node.op_type in CONCATENATING:
            parts = [name for name in node.input if name in graph.producers]
            tensor = node.output[0]
        else:
            parts, tensor = readers[node.input[0]], node.input[0]
        if len(parts) > 1:
            yield node, tensor, steps[node.name], parts
