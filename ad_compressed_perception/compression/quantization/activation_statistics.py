# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of the activations that weights multiply: mean and mean square of each input channel.

A changed weight ``w + e`` changes the output by ``e * x``. Over the calibration frames, and with
uncorrelated inputs, the mean square of that is ``e^2 E[x^2]``: a weight's importance is the mean square of
its input. The mean, ``e E[x]``, is a constant that the bias can compensate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError, ModelFileError
from ad_compressed_perception.onnx_graph.graph import Graph, attribute
from ad_compressed_perception.onnx_graph.io import opset_of
from ad_compressed_perception.onnx_graph.session import cannot_run, open_session
from ad_compressed_perception.onnx_graph.subgraphs import all_names, copied
from ad_compressed_perception.onnx_graph.weights import WeightTensor, spread_over_weights
from ad_compressed_perception.pass_api.passes import PassContext

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_AXES_ARE_INPUTS = 18
_ADDED = "adcp"


@dataclass(frozen=True)
class Moments:
    """Statistics of one compute op's input, by channel.

    Attributes:
        mean: (in,) E[x] over frames and positions.
        mean_square: (in,) E[x^2].
    """

    mean: NDArray[np.float64]
    mean_square: NDArray[np.float64]


def measure_moments(
    model: ModelProto, weights: list[WeightTensor], context: PassContext
) -> dict[str, Moments]:
    """Run the calibration frames and return the moments of each compute op's input, by its output's name.

    The sums are computed inside the graph, so no activation stays in memory longer than its operator.

    Raises:
        DataError: no calibration frames.
        ModelFileError: the model cannot run, or an activation is not finite.
    """
    augmented = copied(model)
    # Own tensors are called so, and no other tensor's name begins like that.
    mark = _ADDED
    while any(name.startswith(mark) for name in all_names(model)):
        mark += "_"
    mean, square = f"{mark}_mean:", f"{mark}_square:"
    nodes = {
        node.output[0]: (node, weight) for weight in weights for node in weight.nodes if _measurable(node)
    }
    for node, weight in nodes.values():
        _add_means(augmented, node, weight, (mark, mean, square), opset_of(model))
    names = [prefix + output for output in nodes for prefix in (mean, square)]
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    done = 0
    try:
        session = open_session(augmented)
        for feeds in context.feeds():
            for name, value in zip(names, session.run(names, feeds), strict=True):
                sums[name] = sums[name] + value.astype(np.float64)
            done += 1
            context.advance(done, context.frames)
    except (DataError, ModelFileError):
        raise
    except Exception as error:  # ONNX Runtime's errors share no public base
        raise cannot_run(error) from error
    if done == 0:
        raise DataError("no calibration frames: the source is empty")
    found = {}
    for output in nodes:
        first, second = sums[mean + output] / done, sums[square + output] / done
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            raise ModelFileError(f"the input of operator {output!r} is not finite on the calibration frames")
        found[output] = Moments(first, second)
    return found


def _measurable(node: NodeProto) -> bool:
    return not (node.op_type == "Gemm" and attribute(node, "transA", 0))


def _add_means(
    model: ModelProto, node: NodeProto, weight: WeightTensor, prefixes: tuple[str, str, str], opset: int
) -> None:
    """Append outputs with the mean and the mean square of the compute op's input, by channel.

    ``prefixes`` are those of the names of what is added: inner tensors, means and mean squares.
    """
    from onnx import TensorProto, helper, numpy_helper

    source, rank, output = node.input[0], weight.values.ndim, node.output[0]
    mark, mean, square = prefixes
    stem = f"{mark}:{output}"
    new: list[NodeProto] = [helper.make_node("Cast", [source], [f"{stem}:float"], to=TensorProto.FLOAT)]
    values = f"{stem}:float"
    axes = [0, *range(2, rank)]
    if node.op_type == "MatMul":
        # Inputs of any rank have their channels last.
        shape = np.array([-1, weight.values.shape[0]], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(shape, f"{stem}:shape"))
        new.append(helper.make_node("Reshape", [values, f"{stem}:shape"], [f"{stem}:flat"]))
        values = f"{stem}:flat"
    new.append(helper.make_node("Mul", [values, values], [f"{stem}:squared"]))
    for given, prefix in ((values, mean), (f"{stem}:squared", square)):
        inputs = [given]
        if opset >= _AXES_ARE_INPUTS:
            name = f"{stem}:{prefix}axes"
            model.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), name))
            inputs.append(name)
            new.append(helper.make_node("ReduceMean", inputs, [prefix + output], keepdims=0))
        else:
            new.append(helper.make_node("ReduceMean", inputs, [prefix + output], axes=axes, keepdims=0))
        model.graph.output.append(helper.make_tensor_value_info(prefix + output, TensorProto.FLOAT, None))
    model.graph.node.extend(new)


def importance(weight: WeightTensor, moments: dict[str, Moments], *, centered: bool) -> NDArray[np.float64]:
    """Return the importance of an error of each weight, in the weights' shape; ones where it is unknown.

    Args:
        weight: the tensor.
        moments: from measure_moments.
        centered: the bias compensates the mean afterwards: E[x^2] - E[x]^2 instead of E[x^2].
    """
    total = np.zeros(weight.values.shape)
    for node in weight.nodes:
        if node.output[0] not in moments:
            return np.ones(weight.values.shape)
        known = moments[node.output[0]]
        value = known.mean_square - known.mean**2 if centered else known.mean_square
        total += spread_over_weights(node, weight.values.shape, np.maximum(value, 0.0))
    # A channel without activations has no importance, but its weights still need a positive one.
    floor = max(float(total.max()) * 1e-6, np.finfo(np.float64).tiny)
    return np.maximum(total, floor)


def correct_bias(
    model: ModelProto,
    weight: WeightTensor,
    before: NDArray[np.float32],
    moments: dict[str, Moments],
) -> bool:
    """Compensate the mean output shift of new weights in the bias: ``b_o += sum_i (w - w')_oi E[x_i]``.

    Bias correction of Nagel et al., "Data-free quantization through weight equalization and bias
    correction", 2019, with measured means. Zero padding is not accounted for.

    Args:
        model: holds the biases.
        weight: the tensor, with its new values.
        before: its old values.
        moments: from measure_moments.

    Returns:
        Whether a bias was changed; an operator without a bias or with a shared one is skipped.
    """
    from onnx import numpy_helper

    graph = Graph(model)
    changed = False
    for node in weight.nodes:
        known = moments.get(node.output[0])
        name = node.input[2] if len(node.input) > 2 else ""
        if known is None or name not in graph.weights or graph.uses(name) != 1:
            continue
        lost = (before.astype(np.float64) - weight.values) * spread_over_weights(
            node, before.shape, known.mean
        )
        shift = _sum_by_output(node, lost)
        bias = numpy_helper.to_array(graph.weights[name])
        if bias.size != shift.size:
            continue
        graph.weights[name].CopyFrom(
            numpy_helper.from_array((bias + shift.reshape(bias.shape)).astype(bias.dtype), name)
        )
        changed = True
    return changed


def _sum_by_output(node: NodeProto, lost: NDArray[np.float64]) -> NDArray[np.float64]:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return lost.reshape(lost.shape[0], -1).sum(axis=1)
    if node.op_type == "ConvTranspose":
        groups = attribute(node, "group", 1)
        by_group = lost.reshape(groups, lost.shape[0] // groups, lost.shape[1], -1)
        # An output pixel uses 1 / (stride x stride) of the kernel's positions.
        return by_group.sum(axis=(1, 3)).reshape(-1) / max(1, int(np.prod(attribute(node, "strides", [1]))))
    return lost.sum(axis=0)
