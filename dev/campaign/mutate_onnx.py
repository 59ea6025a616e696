# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Structural mutants of ONNX files: graphs, tensors, types, attributes, and the bytes of the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

_SIZES = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 2**16, 2**31 - 1, 2**40, 2**63 - 1)
_OPERATORS = (
    *(
        "Conv",
        "Relu",
        "MatMul",
        "Resize",
        "Loop",
        "If",
        "Scan",
        "NonMaxSuppression",
        "TopK",
        "Concat",
        "Slice",
    ),
    *(
        "NoSuchOperator",
        "",
        "ConvTranspose",
        "Gather",
        "Constant",
        "RNN",
        "Einsum",
        "StringSplit",
        "Cast",
        "Pad",
    ),
    *("QuantizeLinear", "DequantizeLinear", "Reshape", "Split", "Transpose", "Softmax", "BatchNormalization"),
)


def _node(pick: random.Random, model: Any) -> Any:
    return pick.choice(model.graph.node)


def _names(model: Any) -> list[str]:
    names = [value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)]
    return [
        *names,
        *(name for node in model.graph.node for name in (*node.input, *node.output)),
        "",
        "nowhere",
    ]


def remove_node(pick: random.Random, model: Any) -> None:
    """Remove a node; what it made is missing."""
    del model.graph.node[pick.randrange(len(model.graph.node))]


def repeat_node(pick: random.Random, model: Any) -> None:
    """Add a node once more: two of one name make the same tensors."""
    model.graph.node.insert(pick.randrange(len(model.graph.node) + 1), _node(pick, model))


def swap_nodes(pick: random.Random, model: Any) -> None:
    """Exchange two nodes: no topological order."""
    nodes = list(model.graph.node)
    first, second = pick.randrange(len(nodes)), pick.randrange(len(nodes))
    nodes[first], nodes[second] = nodes[second], nodes[first]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def swap_name(pick: random.Random, model: Any) -> None:
    """Give a node another input or output, of another place in the graph, or of none."""
    node = _node(pick, model)
    names = node.input if node.input and pick.random() < 0.6 else node.output
    if names:
        names[pick.randrange(len(names))] = pick.choice(_names(model))


def make_cycle(pick: random.Random, model: Any) -> None:
    """Feed a node with what a later one makes of it."""
    place = pick.randrange(len(model.graph.node))
    later = pick.choice(model.graph.node[place:])
    if model.graph.node[place].input and later.output:
        model.graph.node[place].input[0] = later.output[0]


def change_inputs(pick: random.Random, model: Any) -> None:
    """Remove an input of a node, or add some."""
    node = _node(pick, model)
    if node.input and pick.random() < 0.6:
        del node.input[pick.randrange(len(node.input))]
    else:
        node.input.extend([pick.choice(_names(model))] * pick.choice((1, 300)))


def change_outputs(pick: random.Random, model: Any) -> None:
    """Remove an output of a node, or add some."""
    node = _node(pick, model)
    if node.output and pick.random() < 0.6:
        del node.output[pick.randrange(len(node.output))]
    else:
        node.output.extend([f"more{number}" for number in range(pick.choice((1, 300)))])


def change_operator(pick: random.Random, model: Any) -> None:
    """Make another operator of a node, or one of another domain."""
    node = _node(pick, model)
    if pick.random() < 0.8:
        node.op_type = pick.choice(_OPERATORS)
    else:
        node.domain = pick.choice(("no.such", "com.microsoft", "ai.onnx.ml", "ai.onnx.training"))


def change_attribute(pick: random.Random, model: Any) -> None:
    """Change an attribute's value, type or name, or remove or repeat it."""
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    node = pick.choice(nodes)
    attribute = pick.choice(node.attribute)
    kind = pick.randrange(6)
    if kind == 0:
        node.attribute.remove(attribute)
    elif kind == 1:
        node.attribute.append(attribute)
    elif kind == 2:
        attribute.type = pick.choice(list(AttributeProto.AttributeType.values()))
    elif kind == 3:
        attribute.name = pick.choice(("pads", "axis", "mode", "group", "value", "", "x" * 5000))
    elif attribute.ints:
        if kind == 4:
            attribute.ints[pick.randrange(len(attribute.ints))] = pick.choice(_SIZES)
        else:
            attribute.ints.extend([1] * pick.choice((1, 1000)))
    else:
        attribute.i, attribute.f, attribute.s = pick.choice(_SIZES), float("nan"), b"\xff\x00no such"


def change_shape(pick: random.Random, model: Any) -> None:
    """Change a dimension of an input, an output or a stored shape."""
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    shape = pick.choice(values).type.tensor_type.shape
    kind = pick.randrange(4)
    if shape.dim and kind < 2:
        shape.dim[pick.randrange(len(shape.dim))].dim_value = pick.choice(_SIZES)
    elif shape.dim and kind == 2:
        pick.choice(shape.dim).dim_param = pick.choice(("N", "", "x" * 5000))
    else:
        shape.dim.add().dim_value = pick.choice(_SIZES)


def change_type(pick: random.Random, model: Any) -> None:
    """Change the element type of an input, an output or a weight."""
    kind = pick.choice((*range(27), 77, -1))
    values = [*model.graph.input, *model.graph.output]
    if pick.random() < 0.5 and model.graph.initializer:
        pick.choice(model.graph.initializer).data_type = kind
    else:
        pick.choice(values).type.tensor_type.elem_type = kind


def change_weight(pick: random.Random, model: Any) -> None:
    """Change a weight's sizes, bytes, name or values, or remove or repeat it."""
    weights = model.graph.initializer
    if not weights:
        return
    tensor = pick.choice(weights)
    kind = pick.randrange(9)
    if kind == 0:
        weights.remove(tensor)
    elif kind == 1:
        weights.append(tensor)
    elif kind == 2 and tensor.dims:
        tensor.dims[pick.randrange(len(tensor.dims))] = pick.choice(_SIZES)
    elif kind == 3:
        tensor.dims.extend([pick.choice(_SIZES)] * pick.choice((1, 2, 100)))
    elif kind == 4:
        tensor.raw_data = tensor.raw_data[: pick.randrange(len(tensor.raw_data) + 1)]
    elif kind == 5:
        tensor.name = pick.choice(_names(model))
    elif kind == 6:
        tensor.float_data.extend([1.0] * 3)
    else:
        spoil = pick.choice((np.nan, np.inf, -np.inf, 3e38, 0.0))
        shape = [size for size in tensor.dims if 0 <= size < 10**4]
        tensor.CopyFrom(numpy_helper.from_array(np.full(shape, spoil, np.float32), tensor.name))


def change_graph(pick: random.Random, model: Any) -> None:
    """Change the graph's inputs, outputs or names, or empty it."""
    kind = pick.randrange(8)
    graph = model.graph
    if kind == 0:
        del graph.input[:]
    elif kind == 1:
        del graph.output[:]
    elif kind == 2:
        graph.input.append(graph.input[0])
    elif kind == 3:
        graph.output.append(graph.output[0])
    elif kind == 4:
        graph.output[0].name = pick.choice(_names(model))
    elif kind == 5:
        graph.input[0].name = pick.choice(_names(model))
    elif kind == 6:
        del graph.node[:]
    else:
        graph.input.append(helper.make_tensor_value_info("more", TensorProto.STRING, [1]))


def change_versions(pick: random.Random, model: Any) -> None:
    """Change the version of the file, or of an operator set, or repeat or remove it."""
    kind = pick.randrange(5)
    if kind == 0:
        model.ir_version = pick.choice((0, 1, 3, 99, 2**40))
    elif kind == 1:
        del model.opset_import[:]
    elif kind == 2:
        model.opset_import.append(helper.make_opsetid("", pick.choice((1, 5, 99))))
    elif kind == 3:
        model.opset_import[0].version = pick.choice((-1, 0, 1, 6, 9, 12, 25, 99, 2**40))
    else:
        model.opset_import.append(helper.make_opsetid(pick.choice(("no.such", "com.microsoft")), 1))


def nest_deeply(pick: random.Random, model: Any) -> None:
    """Put an If in the branch of an If in the branch of an If ..."""
    inner = helper.make_node("Identity", [model.graph.input[0].name], ["deep"])
    for number in range(pick.choice((2, 20))):
        output = helper.make_tensor_value_info(inner.output[0], TensorProto.FLOAT, None)
        branch = helper.make_graph([inner], f"branch{number}", [], [output])
        yes = helper.make_node("If", ["yes"], [f"deep{number}"])
        yes.attribute.extend(
            [helper.make_attribute("then_branch", branch), helper.make_attribute("else_branch", branch)][
                : 1 if number > 8 else 2
            ]
        )
        inner = yes
        if model.ByteSize() > 1 << 22 or inner.ByteSize() > 1 << 22:
            break
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.insert(0, inner)


def add_function(pick: random.Random, model: Any) -> None:
    """Add a function that calls itself, and a call of it."""
    call = helper.make_node("Again", ["a"], ["b"], domain="own")
    function = helper.make_function("own", "Again", ["a"], ["b"], [call], [helper.make_opsetid("own", 1)])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.ir_version = max(model.ir_version, 8)
    call = helper.make_node("Again", [model.graph.input[0].name], ["again"], domain="own")
    model.graph.node.append(call)


def grow(pick: random.Random, model: Any) -> None:
    """Multiply a tensor's size by repeated concatenation or by Expand: gigabytes from a few bytes."""
    name = model.graph.input[0].name
    if pick.random() < 0.5:
        for number in range(pick.choice((8, 14))):
            node = helper.make_node("Concat", [name] * 8, [f"grown{number}"], axis=0)
            model.graph.node.append(node)
            name = node.output[0]
    else:
        shape = np.array([pick.choice((10**6, 10**9, 2**40))], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(shape, "wide"))
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
        model.graph.node.append(helper.make_node("Expand", ["one", "wide"], ["grown"]))
        name = "grown"
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


CHANGES: tuple[Callable[[random.Random, Any], None], ...] = (
    *(remove_node, repeat_node, swap_nodes, swap_name, swap_name, make_cycle, change_inputs, change_outputs),
    *(change_operator, change_attribute, change_attribute, change_shape, change_shape, change_type),
    *(change_weight, change_weight, change_graph, change_versions, nest_deeply, add_function, grow),
)


def write_mutant(pick: random.Random, source: Path, target: Path) -> str:
    """Write a mutant of an ONNX file; return what was changed."""
    kind = pick.random()
    if kind < 0.08:
        target.write_bytes(change_bytes(pick, source.read_bytes()))
        return "bytes"
    model = onnx.load(source)
    if kind < 0.16:
        return _write_outside(pick, model, target)
    done = []
    for _ in range(pick.choice((1, 1, 1, 1, 2, 3))):
        change = pick.choice(CHANGES)
        if model.graph.node and model.graph.input and model.graph.output:
            change(pick, model)
            done.append(change.__name__)
    target.write_bytes(model.SerializeToString())
    return " ".join(done)


def change_bytes(pick: random.Random, content: bytes) -> bytes:
    """Return the bytes of a file cut off, replaced, nested or changed in places."""
    kind = pick.randrange(5)
    if kind == 0:
        return content[: pick.randrange(len(content))]
    if kind == 1:
        return pick.choice(
            (b"", b"\x00", b"\x0a" * 100_000, b"\x3a\xff\xff\xff\xff\x0f", b"\x0b" * 50_000, b"<html>")
        )
    if kind == 2:  # a graph in a graph in a graph, of field 7 of ModelProto and field 5 of a node's attribute
        inner = b""
        for _ in range(3000):
            inner = b"\x32" + _length(len(inner)) + inner  # g of an attribute
            inner = b"\x2a" + _length(len(inner)) + inner  # attribute of a node
            inner = b"\x0a" + _length(len(inner)) + inner  # node of a graph
        return b"\x3a" + _length(len(inner)) + inner
    changed = bytearray(content)
    for _ in range(pick.choice((1, 4, 50))):
        changed[pick.randrange(len(changed))] = pick.randrange(256)
    return bytes(changed)


def _length(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _write_outside(pick: random.Random, model: Any, target: Path) -> str:
    """Write the weights to a file beside the model's, and damage it or the model's entries of it."""
    onnx.save(
        model, target, save_as_external_data=True, location="weights.bin", size_threshold=pick.choice((0, 64))
    )
    weights = target.parent / "weights.bin"
    content = weights.read_bytes()
    kind = pick.randrange(6)
    if kind == 0:
        weights.write_bytes(content[:-3])
    elif kind == 1:
        weights.unlink()
    elif kind == 2:
        weights.write_bytes(b"")
    else:
        model = onnx.load(target, load_external_data=False)
        stored = [tensor for tensor in model.graph.initializer if tensor.external_data]
        entry = pick.choice(pick.choice(stored).external_data) if stored else None
        if entry is not None:
            entry.value = pick.choice(
                ("-1", "0", "9" * 30, "x", "", "/etc/passwd", "../fp32.onnx", "weights.bin/", "a\0b", ".")
            )
        target.write_bytes(model.SerializeToString())
    return "external weights"
