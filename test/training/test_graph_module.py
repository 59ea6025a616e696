# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""GraphModule computes ONNX Runtime's outputs and writes weights back; channel pruning of a module."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from support.graphs import make_graph, noise

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-train")

from ad_compressed_perception.training.graph_module.module import GraphModule  # noqa: E402
from ad_compressed_perception.training.graph_module.operators import OPERATORS  # noqa: E402

NODE = helper.make_node
X = [1, 4, 8, 6]


# Operators introduced after opset 14.
OPSETS = {"Gelu": 20, "GroupNormalization": 21, "LayerNormalization": 17, "Mish": 18}


def single(kind: str, inputs: dict[str, Any] | None = None, **attributes: Any) -> onnx.ModelProto:
    """Return a graph of one operator on x, (1, 4, 8, 6), with constants as its further inputs."""
    constants = inputs or {}
    outputs = ["y", "z"] if kind == "Split" else ["y"]
    names = ["x", *(name if not name.startswith("absent") else "" for name in constants)]
    weights = {name: np.asarray(value) for name, value in constants.items() if not name.startswith("absent")}
    node = NODE(kind, names, outputs, "node", **attributes)
    shapeless = dict.fromkeys(outputs)
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapeless.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    opset = helper.make_opsetid("", OPSETS.get(kind, 14))
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


F32 = np.float32
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("Abs", {}, {}),
    ("Add", {"c": noise((4, 1, 1))}, {}),
    ("Sub", {"c": noise((4, 1, 1))}, {}),
    ("Mul", {"c": noise((4, 1, 1))}, {}),
    ("Div", {"c": noise((4, 1, 1)) + 3}, {}),
    ("AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("AveragePool", {}, {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 1}),
    ("AveragePool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("BatchNormalization", {"s": noise((4,)), "b": noise((4,)), "m": noise((4,)),
                            "v": np.abs(noise((4,))) + 1}, {}),
    ("Clip", {"low": np.array(-0.1, F32), "high": np.array(0.2, F32)}, {}),
    ("Clip", {"absent": 0, "high": np.array(0.2, F32)}, {}),
    ("Cast", {}, {"to": TensorProto.FLOAT}),
    ("Concat", {"c": noise((1, 2, 8, 6))}, {"axis": 1}),
    ("Conv", {"w": noise((6, 4, 3, 3)), "b": noise((6,))}, {"pads": [1, 1, 1, 1]}),
    ("Conv", {"w": noise((4, 1, 3, 3))}, {"pads": [0, 0, 1, 1], "strides": [2, 2], "group": 4}),
    ("Conv", {"w": noise((6, 4, 3, 3))}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", {"w": noise((6, 4, 3, 3))}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", {"w": noise((6, 4, 3, 3))}, {"dilations": [2, 2], "auto_pad": "VALID"}),
    ("ConvTranspose", {"w": noise((4, 3, 2, 2)), "b": noise((3,))}, {"strides": [2, 2]}),
    ("ConvTranspose", {"w": noise((4, 3, 4, 4))}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("DepthToSpace", {}, {"blocksize": 2}),
    ("DepthToSpace", {}, {"blocksize": 2, "mode": "CRD"}),
    ("Elu", {}, {"alpha": 0.7}),
    ("Erf", {}, {}),
    ("Exp", {}, {}),
    ("Expand", {"s": ints(1, 1, 8, 1)}, {}),
    ("Expand", {"s": ints(3, 1, 1, 1, 6)}, {}),
    ("Flatten", {}, {"axis": 1}),
    ("Flatten", {}, {"axis": 3}),
    ("Gather", {"i": np.array(2, np.int64)}, {"axis": 1}),
    ("Gather", {"i": ints(3, 0)}, {"axis": 1}),
    ("Gelu", {}, {}),
    ("Gelu", {}, {"approximate": "tanh"}),
    ("GlobalAveragePool", {}, {}),
    ("GlobalMaxPool", {}, {}),
    ("GroupNormalization", {"s": noise((4,)), "b": noise((4,), 1)}, {"num_groups": 2}),
    ("HardSigmoid", {}, {"alpha": 0.3}),
    ("HardSwish", {}, {}),
    ("Identity", {}, {}),
    ("InstanceNormalization", {"s": noise((4,)), "b": noise((4,), 1)}, {}),
    ("LayerNormalization", {"s": noise((6,)), "b": noise((6,), 1)}, {}),
    ("LeakyRelu", {}, {"alpha": 0.1}),
    ("Log", {}, {}),
    ("LogSoftmax", {}, {"axis": 1}),
    ("MatMul", {"w": noise((6, 5))}, {}),
    ("Max", {"c": noise((4, 1, 1)), "d": noise((1,), 1)}, {}),
    ("MaxPool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "strides": [2, 2]}),
    ("Min", {"c": noise((4, 1, 1))}, {}),
    ("Mish", {}, {}),
    ("Neg", {}, {}),
    ("PRelu", {"s": np.abs(noise((4, 1, 1)))}, {}),
    ("Pad", {"p": ints(0, 0, 1, 2, 0, 0, 0, 1), "v": np.array(0.5, F32)}, {}),
    ("Pad", {"p": ints(0, 0, 1, 2, 0, 0, 3, 1)}, {"mode": "reflect"}),
    ("Pad", {"p": ints(0, 0, 1, 2, 0, 0, 3, 1)}, {"mode": "edge"}),
    ("Pow", {"p": np.array(2.0, F32)}, {}),
    ("Reciprocal", {}, {}),
    ("ReduceMax", {}, {"axes": [2, 3]}),
    ("ReduceMean", {}, {"axes": [2, 3], "keepdims": 0}),
    ("ReduceSum", {"a": ints(1)}, {}),
    ("Relu", {}, {}),
    ("Reshape", {"s": ints(0, -1, 6)}, {}),
    ("Resize", {"absent1": 0, "s": np.array([1, 1, 2, 2], F32)}, {"mode": "nearest",
     "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Resize", {"absent1": 0, "absent2": 0, "s": ints(1, 4, 12, 9)}, {"mode": "linear"}),
    ("Resize", {"absent1": 0, "absent2": 0, "s": ints(1, 4, 15, 11)},
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    *(("Resize", {"absent1": 0, "s": np.array([1, 1, scale, 1.5], F32)},
       {"mode": mode, "coordinate_transformation_mode": where, "nearest_mode": nearest})
      for scale in (2.3, 0.6) for mode in ("linear", "nearest")
      for where in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
      for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
      if mode == "nearest" or nearest == "floor"),
    ("Sigmoid", {}, {}),
    ("Slice", {"a": ints(1, 0), "b": ints(100, -2), "c": ints(2, 3), "d": ints(2, 1)}, {}),
    ("Softmax", {}, {"axis": 1}),
    ("Softplus", {}, {}),
    ("SpaceToDepth", {}, {"blocksize": 2}),
    ("Split", {"s": ints(3, 1)}, {"axis": 1}),
    ("Split", {}, {"axis": 2}),
    ("Sqrt", {}, {}),
    ("Squeeze", {"a": ints(0)}, {}),
    ("Tanh", {}, {}),
    ("Transpose", {}, {"perm": [0, 2, 3, 1]}),
    ("Unsqueeze", {"a": ints(0, 5)}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "constants", "attributes"), CASES)
def test_an_operator_matches_onnxruntime(
    kind: str, constants: dict[str, Any], attributes: dict[str, Any]
) -> None:
    model = single(kind, constants, **attributes)
    x = np.random.default_rng(3).normal(0, 1, X).astype(np.float32)
    x = np.abs(x) + 0.1 if kind in ("Log", "Reciprocal", "Sqrt") else x

    module = GraphModule(model).eval()
    with torch.no_grad():
        ours = module(torch.from_numpy(x))

    for value, expected in zip(ours, run_model(model, {"x": x}).values(), strict=True):
        assert tuple(value.shape) == expected.shape
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_every_operator_has_a_case() -> None:
    """Gemm takes a matrix and is tested below."""
    assert OPERATORS.keys() - {kind for kind, _, _ in CASES} == {"Gemm"}


@settings(max_examples=25, deadline=None)
@given(
    trans=st.booleans(), bias=st.booleans(), alpha=st.sampled_from([1.0, 0.5]),
    rows=st.integers(1, 4), inner=st.integers(1, 6), columns=st.integers(1, 6),
)  # fmt: skip
def test_gemm_matches_onnxruntime(
    trans: bool, bias: bool, alpha: float, rows: int, inner: int, columns: int
) -> None:
    weights = {"w": noise((columns, inner) if trans else (inner, columns))}
    if bias:
        weights["b"] = noise((columns,), 1)
    node = NODE("Gemm", ["x", *weights], ["y"], "dense", transB=int(trans), alpha=alpha)
    model = make_graph([node], weights, {"x": [rows, inner]}, {"y": [rows, columns]})
    x = noise((rows, inner), 2)

    with torch.no_grad():
        (ours,) = GraphModule(model)(torch.from_numpy(x))

    np.testing.assert_allclose(ours.numpy(), run_model(model, {"x": x})["y"], rtol=1e-5, atol=1e-5)


def sharing_graph() -> onnx.ModelProto:
    """Return two convolutions that share weight and bias, then a MatMul with a matrix in a Constant node."""
    constant = NODE("Constant", [], ["m"], value=numpy_helper.from_array(noise((4, 5), 4), "m"))
    nodes = [
        NODE("Conv", ["x", "w", "b"], ["a"], "first"),
        NODE("Conv", ["a", "w", "b"], ["c"], "second"),
        NODE("GlobalAveragePool", ["c"], ["g"], "pool"),
        NODE("Flatten", ["g"], ["f"], "flat"),
        constant,
        NODE("MatMul", ["f", "m"], ["y"], "dense"),
    ]
    weights = {"w": noise((4, 4, 1, 1)), "b": noise((4,), 1)}
    return make_graph(nodes, weights, {"x": X}, {"y": [1, 5]})


def test_write_back_without_training_keeps_the_outputs() -> None:
    model = sharing_graph()
    x = noise(tuple(X), 5, 1.0)

    back = GraphModule(model).write_back()

    onnx.checker.check_model(back)
    np.testing.assert_array_equal(run_model(back, {"x": x})["y"], run_model(model, {"x": x})["y"])


def test_shared_weights_are_trained_separately_and_written_back() -> None:
    """Both shared tensors and the Constant node change; a tensor not written would change the output."""
    module = GraphModule(sharing_graph())
    x = noise(tuple(X), 5, 1.0)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter += 0.01 * (index + 1)

    written = run_model(module.write_back(), {"x": x})["y"]

    assert len(list(module.parameters())) == 5
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(x))[0].numpy(), written, rtol=1e-5, atol=1e-5)


def test_a_graph_with_a_constant_batch_size_runs_images_one_by_one() -> None:
    """Split of a [2] vector along its only axis: with two images it would be [4]."""
    nodes = [
        NODE("Conv", ["x", "w"], ["c"], "conv"),
        NODE("Reshape", ["c", "s"], ["r"]),
        NODE("Split", ["r", "n"], ["y", "z"], axis=0),
    ]
    weights = {"w": noise((2, 4, 8, 6)), "s": ints(2), "n": ints(1, 1)}
    module = GraphModule(make_graph(nodes, weights, {"x": X}, {"y": [1], "z": [1]}))
    images = torch.from_numpy(noise((3, *X[1:]), 7, 1.0))

    module.allow_batches(images[:1])

    assert module.one_by_one
    together = module(images)
    alone = [module(images[i : i + 1]) for i in range(3)]
    assert torch.equal(together[1], torch.cat([outputs[1] for outputs in alone]))


def test_an_unknown_operator_is_named() -> None:
    model = make_graph([NODE("Sin", ["x"], ["y"], "wave")], {}, {"x": X}, {"y": X})
    with pytest.raises(
        ModelFileError, match=r"cannot run operator Sin of node 'wave': leave .* known are Abs"
    ):
        GraphModule(model)


def test_a_graph_that_gathers_from_the_flattened_batch_runs_images_one_by_one() -> None:
    """Global pooling as some exporters write it: a Gather takes the first image's channels for all."""
    nodes = [
        NODE("ReduceMean", ["x"], ["m"], "mean", axes=[2, 3]),
        NODE("Reshape", ["m", "flat"], ["f"], "flatten"),
        NODE("Gather", ["f", "all"], ["g"], "channels"),
        NODE("Mul", ["x", "g"], ["y"], "gate"),
    ]
    weights = {"flat": ints(-1), "all": np.arange(4).reshape(1, 4, 1, 1)}
    module = GraphModule(make_graph(nodes, weights, {"x": X}, {"y": X}))
    images = torch.from_numpy(noise((2, *X[1:]), 7, 1.0))

    module.allow_batches(images[:1])

    assert module.one_by_one
    torch.testing.assert_close(module(images)[0][1:], module(images[1:])[0])


def test_a_token_axis_is_not_taken_for_the_batch_axis() -> None:
    """A transformer's Reshape of (tokens, channels) to (1, ...): the first axis is not the batch."""
    nodes = [
        NODE("Reshape", ["x", "rows"], ["r"], "to_tokens"),
        NODE("MatMul", ["r", "w"], ["t"], "mix"),
        NODE("Reshape", ["t", "heads"], ["y"], "to_heads"),
    ]
    weights = {"rows": ints(48, 4), "w": noise((4, 4)), "heads": ints(1, 48, 2, 2)}
    model = make_graph(nodes, weights, {"x": X}, {"y": [1, 48, 2, 2]})
    module = GraphModule(model)
    x = noise(tuple(X), 5, 1.0)
    with torch.no_grad():
        found = module(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(found, run_model(model, {"x": x})["y"], rtol=1e-5, atol=1e-6)
    module.allow_batches(torch.from_numpy(x))
    assert module.one_by_one


def test_a_one_dimensional_convolution_is_named() -> None:
    model = make_graph(
        [NODE("Conv", ["x", "w"], ["y"], "along", pads=[1, 1])],
        {"w": noise((4, 4, 3))}, {"x": [1, 4, 8]}, {"y": [1, 4, 8]},
    )  # fmt: skip
    with pytest.raises(ModelFileError, match=r"two-dimensional convolutions; Conv 'along' .* \[4, 4, 3\]"):
        GraphModule(model)


def test_channels_fixed_by_a_constant_are_refused_with_a_remedy() -> None:
    """A Reshape with a constant channel count: channels before it cannot be removed."""
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed: make setup-train")
    from ad_compressed_perception.training.pruning.channel_pruning import prune_channels

    nodes = [
        NODE("Conv", ["x", "w"], ["a"], "one"),
        NODE("Reshape", ["a", "s"], ["r"], "view"),
        NODE("Conv", ["r", "v"], ["y"], "two"),
    ]
    weights = {"w": noise((16, 4, 1, 1)), "s": ints(1, 16, 6, 8), "v": noise((2, 16, 1, 1))}
    module = GraphModule(make_graph(nodes, weights, {"x": X}, {"y": [1, 2, 6, 8]}))
    with pytest.raises(ModelFileError, match="channels cannot be removed .* use prune_unstructured"):
        prune_channels(module, torch.zeros(X), 0.5)


def test_computed_weights_are_named() -> None:
    nodes = [NODE("Relu", ["w"], ["v"], "rectify"), NODE("Conv", ["x", "v"], ["y"], "conv")]
    model = make_graph(nodes, {"w": noise((4, 4, 1, 1))}, {"x": X}, {"y": X})
    with pytest.raises(ModelFileError, match="'v' is computed in the graph"):
        GraphModule(model)


def residual_graph() -> onnx.ModelProto:
    """Return a residual block, a depthwise convolution and a Gemm, all with dependent channels."""
    nodes = [
        NODE("Conv", ["x", "w0", "b0"], ["a"], "stem", pads=[1, 1, 1, 1]),
        NODE("Relu", ["a"], ["r"], "relu"),
        NODE("Conv", ["r", "w1", "b1"], ["c"], "branch", pads=[1, 1, 1, 1]),
        NODE("Add", ["r", "c"], ["s"], "add"),
        NODE("Conv", ["s", "w2"], ["d"], "depthwise", group=16, pads=[1, 1, 1, 1]),
        NODE("Flatten", ["d"], ["f"], "flat"),
        NODE("Gemm", ["f", "w3", "b3"], ["y"], "dense", transB=1),
    ]
    weights = {
        "w0": noise((16, 4, 3, 3)), "b0": noise((16,)), "w1": noise((16, 16, 3, 3)), "b1": noise((16,)),
        "w2": noise((16, 1, 3, 3)), "w3": noise((2, 16 * 48)), "b3": noise((2,)),
    }  # fmt: skip
    return make_graph(nodes, weights, {"x": X}, {"y": [1, 2]})


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_a_pruned_graph_runs_and_equals_its_module(importance: str) -> None:
    """Half of 16 channels are removed from all dependent tensors; the two outputs stay."""
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed: make setup-train")
    from ad_compressed_perception.training.pruning.channel_pruning import prune_channels

    module = GraphModule(residual_graph())
    x = torch.from_numpy(noise(tuple(X), 5, 1.0))
    losses = (module(x * k)[0].square().sum() for k in (0.5, 1.0)) if importance == "taylor" else None

    pruned = prune_channels(module, x, 0.5, round_to=4, losses=losses)

    sizes = {tensor.name: list(tensor.dims) for tensor in pruned.graph.initializer}
    assert sizes["w0"] == [8, 4, 3, 3]
    assert sizes["w2"] == [8, 1, 3, 3]
    assert sizes["w3"] == [2, 8 * 48]
    with torch.no_grad():
        expected = module(x)[0].numpy()
    np.testing.assert_allclose(run_model(pruned, {"x": x.numpy()})["y"], expected, rtol=1e-5, atol=1e-5)


def test_the_taylor_importance_keeps_the_channels_that_affect_the_output() -> None:
    """Channels 0..7 have zero outgoing weights: they are removed first, however large their own weights."""
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed: make setup-train")
    from ad_compressed_perception.training.pruning.channel_pruning import prune_channels

    first, second = noise((16, 4, 1, 1)), noise((2, 16, 1, 1))
    first[:8] *= 100.0
    second[:, :8] = 0.0
    nodes = [NODE("Conv", ["x", "w"], ["a"], "one"), NODE("Conv", ["a", "v"], ["y"], "two")]
    module = GraphModule(make_graph(nodes, {"w": first, "v": second}, {"x": X}, {"y": [1, 2, 8, 6]}))
    x = torch.from_numpy(noise(tuple(X), 5, 1.0))

    pruned = prune_channels(
        module, x, 0.5, round_to=1, losses=(module(x)[0].square().sum() for _ in range(2))
    )

    kept = numpy_helper.to_array(next(t for t in pruned.graph.initializer if t.name == "w"))
    np.testing.assert_array_equal(kept, first[8:])


def test_pruning_needs_folded_normalizations() -> None:
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed: make setup-train")
    from ad_compressed_perception.training.pruning.channel_pruning import prune_channels

    constants = {"s": noise((4,)), "b": noise((4,)), "m": noise((4,)), "v": np.abs(noise((4,))) + 1}
    module = GraphModule(single("BatchNormalization", constants))
    with pytest.raises(RecipeError, match="BatchNormalization 'node': put simplify before it"):
        prune_channels(module, torch.zeros(X), 0.5)
