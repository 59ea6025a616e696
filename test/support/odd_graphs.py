# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny segmenters as odd as strangers' files: each valid ONNX, each with one habit of some exporter.

All read ``image`` (1, 3, 32, 48) and write ``scores`` (1, 3, 32, 48) by a few convolutions; some write more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 32, 48
SHAPE = [1, 3, HEIGHT, WIDTH]
F = TensorProto.FLOAT
node = helper.make_node
value = helper.make_tensor_value_info


class Builder:
    """Collects the parts of one graph."""

    def __init__(self, opset: int = 17) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.outputs = [value("scores", F, SHAPE)]
        self.inputs = [value("image", F, SHAPE)]
        self.opsets = {"": opset}
        self.functions: list[onnx.FunctionProto] = []
        self.sparse: list[onnx.SparseTensorProto] = []
        self._rng = np.random.default_rng(5)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node named after its output; return the output."""
        self.nodes.append(
            node(operator, inputs, [output], attributes.pop("name", f"n_{output}"), **attributes)
        )
        return output

    def weight(self, name: str, shape: tuple[int, ...], scale: float = 0.25) -> str:
        """Add a random weight."""
        return self.constant(name, self._rng.normal(0.0, scale, shape).astype(np.float32))

    def constant(self, name: str, values: Any) -> str:
        """Add a weight of these values."""
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def conv(self, source: str, output: str, channels: tuple[int, int], **attributes: Any) -> str:
        """Append a 3 x 3 convolution with a bias; ``group`` may divide it."""
        inside = channels[0] // attributes.get("group", 1)
        inputs = [source, self.weight(f"{output}_w", (channels[1], inside, 3, 3))]
        inputs.append(self.weight(f"{output}_b", (channels[1],)))
        return self.add("Conv", inputs, output, pads=[1, 1, 1, 1], **attributes)

    def stem(self, output: str = "stem", channels: int = 16) -> str:
        """Append a convolution of the image and its ReLU."""
        return self.add("Relu", [self.conv("image", f"{output}_c", (3, channels))], output)

    def head(self, source: str, channels: int = 16) -> None:
        """Append two convolutions up to the scores."""
        self.add("Relu", [self.conv(source, "last_c", (channels, 16))], "last")
        self.conv("last", "scores", (16, 3))

    def build(self, ir_version: int = 9) -> onnx.ModelProto:
        """Return the model."""
        graph = helper.make_graph(
            self.nodes, "odd", self.inputs, self.outputs, self.weights, sparse_initializer=self.sparse
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, functions=self.functions)


def plain() -> onnx.ModelProto:
    """Return the segmenter without any oddity."""
    b = Builder()
    b.head(b.stem())
    return b.build()


def constant_output(*, as_node: bool) -> onnx.ModelProto:
    b = Builder()
    b.head(b.stem())
    anchors = np.arange(8, dtype=np.float32).reshape(4, 2)
    if as_node:
        b.nodes.append(node("Constant", [], ["anchors"], "n", value=numpy_helper.from_array(anchors)))
    else:
        b.constant("anchors", anchors)
    b.outputs.append(value("anchors", F, [4, 2]))
    return b.build()


def used_constant_output() -> onnx.ModelProto:
    """Return a graph whose weight is an output too."""
    b = Builder()
    b.head(b.add("Mul", [b.stem(), b.constant("gain", np.full((1, 16, 1, 1), 1.5, np.float32))], "gained"))
    b.outputs.append(value("gain", F, [1, 16, 1, 1]))
    return b.build()


def image_as_output() -> onnx.ModelProto:
    b = Builder()
    b.head(b.stem())
    b.outputs.append(value("image", F, SHAPE))
    return b.build()


def copied_image_as_output() -> onnx.ModelProto:
    b = Builder()
    b.head(b.stem())
    b.add("Identity", ["image"], "same")
    b.outputs.append(value("same", F, SHAPE))
    return b.build()


def inner_output() -> onnx.ModelProto:
    """Return a graph with an output that other nodes read too, and a copy of it."""
    b = Builder()
    b.head(b.stem())
    b.add("Identity", ["last"], "last_copy")
    b.outputs += [value("last", F, [1, 16, HEIGHT, WIDTH]), value("last_copy", F, [1, 16, HEIGHT, WIDTH])]
    return b.build()


def weights_as_inputs() -> onnx.ModelProto:
    """Return a file of IR version 3, which lists weights as inputs."""
    b = Builder(opset=9)
    b.head(b.stem())
    b.inputs += [value(w.name, w.data_type, list(w.dims)) for w in b.weights]
    return b.build(ir_version=3)


def weights_as_constants() -> onnx.ModelProto:
    b = Builder()
    b.head(b.stem())
    b.nodes[:0] = [node("Constant", [], [w.name], f"k_{w.name}", value=w) for w in b.weights]
    b.weights.clear()
    return b.build()


def sparse_weight() -> onnx.ModelProto:
    b = Builder()
    b.head(b.stem())
    kept = next(w for w in b.weights if w.name == "last_c_w")
    b.weights.remove(kept)
    full = numpy_helper.to_array(kept)
    flat = np.flatnonzero(np.abs(full) > 0.2)
    b.sparse.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(full.reshape(-1)[flat], "last_c_w"),
            numpy_helper.from_array(flat.astype(np.int64), "last_c_w_at"),
            list(full.shape),
        )
    )
    return b.build(ir_version=10)


def local_function() -> onnx.ModelProto:
    b = Builder()
    b.head(b.add("Swish", [b.stem()], "swished", domain="maker"))
    b.functions.append(
        helper.make_function(
            "maker", "Swish", ["x"], ["y"],
            [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])],
            [helper.make_opsetid("", 17)],
        )
    )  # fmt: skip
    b.opsets["maker"] = 1
    return b.build()


def clash(inner: str, *, shared_bias: bool = True) -> onnx.ModelProto:
    """Return a graph whose first activation has a name that the quantizer might choose."""
    b = Builder()
    b.conv("image", "c1", (3, 16))
    b.add("Relu", ["c1"], inner, name="r1")
    b.conv(inner, "c2", (16, 16))
    b.add("Relu", ["c2"], "r2")
    b.conv("r2", "scores", (16, 3))
    if shared_bias:
        b.nodes[0].input[2] = b.nodes[2].input[2]
    return b.build()


def node_names(*names: str) -> onnx.ModelProto:
    """Return a graph whose nodes have these names, in turn."""
    b = Builder()
    b.head(b.stem())
    for index, one in enumerate(b.nodes):
        one.name = names[index % len(names)]
    return b.build()


def strange_names() -> onnx.ModelProto:
    """Return a graph with slashes, colons, spaces and other alphabets in its names."""
    model = plain()
    table = {
        "stem_c": "/model.0/conv/Conv_output_0", "stem": "map:0", "last_c": "größe 1 km", "last": "画像/特徴",
        "stem_c_w": "onnx::Conv_12", "stem_c_b": "^control", "last_c_w": "w,1", "scores_w": "%s",
    }  # fmt: skip
    for one in model.graph.node:
        one.name = f"{one.name}: 'x' / 50 %"
        for names in (one.input, one.output):
            for index, name in enumerate(names):
                names[index] = table.get(name, name)
    for tensor in model.graph.initializer:
        tensor.name = table.get(tensor.name, tensor.name)
    return model


def unsorted() -> onnx.ModelProto:
    model = plain()
    reversed_nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(reversed_nodes)
    return model


def branch(*, nested: bool = False) -> onnx.ModelProto:
    """Return an If whose branches read tensors and weights of the graph around it."""
    b = Builder()
    stem = b.stem()
    b.weight("outer_w", (16, 16, 3, 3))
    b.weight("outer_b", (16,))
    b.add("ReduceMax", [stem], "peak", keepdims=0)
    b.add("Greater", ["peak", b.constant("limit", np.float32(1e4))], "condition")

    def body(name: str, nodes: list[onnx.NodeProto], result: str) -> onnx.GraphProto:
        return helper.make_graph(nodes, name, [], [value(result, F, [1, 16, HEIGHT, WIDTH])])

    then = body("then", [node("Mul", [stem, stem], ["t"], "square")], "t")
    other = [
        node("Conv", [stem, "outer_w", "outer_b"], ["e_c"], "inner_conv", pads=[1, 1, 1, 1]),
        node("Relu", ["e_c"], ["e"], "inner_relu"),
    ]
    if nested:
        deep = [
            body(f"deep_{k}", [node(op, [stem, "outer_b2"], [k], f"deep_{k}")], k)
            for op, k in (("Add", "p"), ("Sub", "q"))
        ]
        b.weight("outer_b2", (1, 16, 1, 1))
        other = [
            node("Not", ["condition"], ["inverse"], "not"),
            node("If", ["inverse"], ["e"], "deep", then_branch=deep[0], else_branch=deep[1]),
        ]
    b.nodes.append(
        node(
            "If", ["condition"], ["chosen"], "choose", then_branch=then, else_branch=body("else", other, "e")
        )
    )
    b.head("chosen")
    return b.build()


def loop() -> onnx.ModelProto:
    """Return a Loop of two rounds whose body reads a weight and an activation from around it."""
    b = Builder()
    stem = b.stem()
    b.weight("gain", (1, 16, 1, 1))
    b.constant("rounds", np.array(2, np.int64))
    b.constant("go", np.array(True))
    shape = [1, 16, HEIGHT, WIDTH]
    body = helper.make_graph(
        [
            node("Mul", [stem, "gain"], ["scaled"], "scale"),
            node("Add", ["state", "scaled"], ["next"], "sum"),
            node("Identity", ["on"], ["still"], "keep"),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("state", F, shape)],
        [value("still", TensorProto.BOOL, []), value("next", F, shape)],
    )
    b.nodes.append(node("Loop", ["rounds", "go", stem], ["summed"], "loop", body=body))
    b.head("summed")
    return b.build()


def scan() -> onnx.ModelProto:
    """Return a Scan over rows whose body reads a weight from around it."""
    b = Builder()
    stem = b.stem()
    b.weight("gain", (1, 16, 1), 1.0)
    row = [1, 16, WIDTH]
    b.constant("zero", np.zeros(row, np.float32))
    body = helper.make_graph(
        [
            node("Mul", ["line", "gain"], ["lit"], "light"),
            node("Add", ["state", "lit"], ["next"], "sum"),
            node("Identity", ["next"], ["out"], "copy"),
        ],
        "body",
        [value("state", F, row), value("line", F, row)],
        [value("next", F, row), value("out", F, row)],
    )
    b.nodes.append(
        node(
            "Scan", ["zero", stem], ["end", "scanned"], "scan", body=body, num_scan_inputs=1,
            scan_input_axes=[2], scan_output_axes=[2],
        )
    )  # fmt: skip
    b.head(b.add("Mul", ["scanned", b.constant("small", np.float32(0.05))], "smaller"))
    return b.build()


def norm(operator: str, opset: int = 21) -> onnx.ModelProto:
    b = Builder(opset)
    stem = b.conv("image", "stem", (3, 16))
    shape = (16, HEIGHT, WIDTH) if operator == "LayerNormalization" else (16,)
    inputs = [stem, b.constant("s", np.full(shape, 1.2, np.float32)), b.weight("o", shape)]
    attributes: dict[str, Any] = {
        "GroupNormalization": {"num_groups": 4},
        "LayerNormalization": {"axis": 1},
    }.get(operator, {})
    b.head(b.add(operator, inputs, "normed", **attributes))
    return b.build(ir_version=10)


def contrib(operator: str) -> onnx.ModelProto:
    """Return a graph with an operator of ONNX Runtime's own domain."""
    b = Builder()
    b.opsets["com.microsoft"] = 1
    if operator == "FusedConv":
        inputs = ["image", b.weight("f_w", (16, 3, 3, 3)), b.weight("f_b", (16,))]
        done = b.add(
            operator, inputs, "fused", domain="com.microsoft", pads=[1, 1, 1, 1], kernel_shape=[3, 3],
            activation="Relu",
        )  # fmt: skip
    elif operator == "BiasGelu":
        b.add("Transpose", [b.stem()], "last_axis", perm=[0, 2, 3, 1])
        b.add(operator, ["last_axis", b.weight("g_b", (16,))], "gelued", domain="com.microsoft")
        done = b.add("Transpose", ["gelued"], "back", perm=[0, 3, 1, 2])
    else:
        done = b.add(operator, [b.stem()], "activated", domain="com.microsoft")
    b.head(done)
    return b.build()


def unknown_operator() -> onnx.ModelProto:
    """Return a graph with an operator that no runtime knows."""
    b = Builder()
    b.opsets["acme"] = 1
    b.head(b.add("Sparkle", [b.stem()], "sparkled", domain="acme", name="shine"))
    return b.build()


def deconvolution(group: int) -> onnx.ModelProto:
    """Return an up- and downsampling segmenter with a ConvTranspose of so many groups."""
    b = Builder()
    b.add("Relu", [b.conv("image", "down_c", (3, 32), strides=[2, 2])], "down")
    b.add("Relu", [b.conv("down", "mid_c", (32, 32))], "mid")
    inputs = ["mid", b.weight("up_w", (32, 32 // group, 4, 4)), b.weight("up_b", (32,))]
    b.add("ConvTranspose", inputs, "up", strides=[2, 2], pads=[1, 1, 1, 1], group=group)
    b.add("Relu", [b.conv("up", "after_c", (32, 32))], "after")
    b.head("after", 32)
    return b.build()


def grouped_convolution(group: int) -> onnx.ModelProto:
    b = Builder()
    b.add("Relu", [b.conv(b.stem(channels=32), "g_c", (32, 32), group=group)], "grouped")
    b.head("grouped", 32)
    return b.build()


def half(
    *, weights_only: bool = False, out_of_order: bool = False, float_input: bool = False
) -> onnx.ModelProto:
    """Return the plain segmenter in half precision, as the common converters write it."""
    model = plain()
    del model.graph.value_info[:]
    halves = [
        numpy_helper.from_array(numpy_helper.to_array(w).astype(np.float16), w.name)
        for w in model.graph.initializer
    ]
    del model.graph.initializer[:]
    casts = []
    if weights_only:
        for tensor in halves:
            casts.append(node("Cast", [f"{tensor.name}_half"], [tensor.name], f"c_{tensor.name}", to=F))
            tensor.name += "_half"
    elif float_input:
        for one in model.graph.node:
            for names, old, new in (
                (one.input, "image", "image_half"),
                (one.output, "scores", "scores_half"),
            ):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        casts = [
            node("Cast", ["image"], ["image_half"], "to_half", to=TensorProto.FLOAT16),
            node("Cast", ["scores_half"], ["scores"], "to_float", to=F),
        ]
    else:
        for tensor_value in (*model.graph.input, *model.graph.output):
            tensor_value.type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.initializer.extend(halves)
    nodes = (
        [*model.graph.node, *casts]
        if out_of_order
        else [
            *casts[: 1 if float_input else None],
            *model.graph.node,
            *casts[1 if float_input else len(casts) :],
        ]
    )
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model


def nothing_found() -> onnx.ModelProto:
    """Return a graph with an output of as many values as exceed a limit that none does."""
    b = Builder()
    stem = b.stem()
    b.add("Greater", [stem, b.constant("limit", np.float32(1e4))], "is_large")
    b.add("Transpose", [b.add("NonZero", ["is_large"], "axes_first")], "places")
    b.add("Mul", [b.add("GatherND", [stem, "places"], "gathered"), "limit"], "found")
    b.head(stem)
    b.outputs.append(value("found", F, ["n"]))
    return b.build()


def masked() -> onnx.ModelProto:
    """Return a graph with attention over its columns, of which an infinite constant masks some."""
    b = Builder()
    stem = b.stem()
    mask = np.zeros((1, 1, 1, WIDTH), np.float32)
    mask[..., ::7] = -np.inf
    b.add("Softmax", [b.add("Add", [stem, b.constant("mask", mask)], "masked")], "shares", axis=3)
    b.head(
        b.add(
            "Mul",
            [b.add("Mul", ["shares", b.constant("size", np.float32(WIDTH))], "grown"), stem],
            "attended",
        )
    )
    return b.build()


def upgraded(opset: int) -> onnx.ModelProto:
    b = Builder(opset)
    b.head(b.stem())
    return b.build(ir_version=4 if opset < 10 else 8 if opset < 19 else 10)


_NAMES_OF_THE_TOOLS = (
    *("c2_b0", "image_scale", "c1_QuantizeLinear_Output", "scores_QuantizeLinear_Input", "c1_ReduceMin"),
    *("adcp_mean:c2", "c2_w_int8", "c1/before", "c2_b/float", "_t1."),
)

KINDS: dict[str, Callable[[], onnx.ModelProto]] = {
    "plain": plain,
    "constant as output": lambda: constant_output(as_node=True),
    "weight as output": lambda: constant_output(as_node=False),
    "weight in use as output": used_constant_output,
    "image as output": image_as_output,
    "copied image as output": copied_image_as_output,
    "inner tensor and its copy as outputs": inner_output,
    "weights as inputs": weights_as_inputs,
    "weights as Constant nodes": weights_as_constants,
    "sparse weight": sparse_weight,
    "local function": local_function,
    **{f"tensor named {name}": lambda name=name: clash(name) for name in _NAMES_OF_THE_TOOLS},  # type: ignore[misc]
    "all nodes named the same": lambda: node_names("conv"),
    "nodes without names": lambda: node_names(""),
    "strange names": strange_names,
    "unsorted": unsorted,
    "If": branch,
    "If in If": lambda: branch(nested=True),
    "Loop": loop,
    "Scan": scan,
    "GroupNormalization": lambda: norm("GroupNormalization"),
    "InstanceNormalization": lambda: norm("InstanceNormalization"),
    "LayerNormalization": lambda: norm("LayerNormalization"),
    "nothing found": nothing_found,
    "infinite mask": masked,
    "FusedConv": lambda: contrib("FusedConv"),
    "BiasGelu": lambda: contrib("BiasGelu"),
    "QuickGelu": lambda: contrib("QuickGelu"),
    "depthwise ConvTranspose": lambda: deconvolution(32),
    "grouped ConvTranspose": lambda: deconvolution(4),
    "ConvTranspose": lambda: deconvolution(1),
    "grouped Conv": lambda: grouped_convolution(4),
    "half": half,
    "half, unsorted": lambda: half(float_input=True, out_of_order=True),
    "half inside": lambda: half(float_input=True),
    "half weights": lambda: half(weights_only=True),
    "half weights, unsorted": lambda: half(weights_only=True, out_of_order=True),
    **{f"opset {opset}": lambda opset=opset: upgraded(opset) for opset in (7, 11, 18, 24)},  # type: ignore[misc]
}
"""Each kind runs in ONNX Runtime."""


def write(model: onnx.ModelProto, path: Path, *, external: bool = False) -> Path:
    """Write a model, as it is; with ``external`` its weights into a file of their own."""
    if external:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    else:
        onnx.save(model, path)
    return path
