# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which operators a torch program runs and in which precision, from its graph.

Autocast (torch.amp, "Automatic Mixed Precision package", list of operators) computes convolutions and matrix
products in its lower precision, whatever the weights are stored in; other operators keep the type of their
inputs or return to float32. Q/DQ pairs of a quantized program are separate operators in torch: the products
between them run in float.
"""

from __future__ import annotations

from typing import Any

from ad_compressed_perception.core.tensors import LayerRecord

COMPUTE = frozenset(
    {
        *(
            "conv1d",
            "conv2d",
            "conv3d",
            "convolution",
            "_convolution",
            "conv_transpose1d",
            "conv_transpose2d",
        ),
        *("conv_transpose3d", "linear", "addmm", "mm", "bmm", "matmul", "baddbmm"),
        "scaled_dot_product_attention",
    }
)
"""Operators that multiply by weights or matrices."""
_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "uint8": "int8"}


def program_layers(torch: Any, program: Any, precision: str) -> list[LayerRecord]:
    """List the operators of a program of torch.export; ``precision`` is the option of the backend."""
    records = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, torch.Tensor):
            records.append(_record(node.name, operator_name(node), str(value.dtype), precision))
    return records


def operator_name(node: Any) -> str:
    """Return the name of the operator that a node of a torch graph calls, without namespace."""
    schema = getattr(node.target, "_schema", None)
    return str(schema.name).rpartition("::")[2] if schema is not None else str(node.target)


def script_layers(torch: Any, module: Any, precision: str) -> list[LayerRecord]:
    """List the operators of a TorchScript module; those without a type in the file are called unknown."""
    records = []
    for node in module.inlined_graph.nodes():
        namespace, _, operator = node.kind().partition("::")
        outputs = [value for value in node.outputs() if value.type().isSubtypeOf(torch._C.TensorType.get())]
        if namespace == "aten" and outputs:
            kind = getattr(outputs[0].type(), "dtype", lambda: None)()
            stored = str(kind) if kind is not None else ""
            if not stored and operator in COMPUTE:
                stored = _weight_type(module)
            records.append(_record(outputs[0].debugName(), operator, stored, precision))
    return records


def _weight_type(module: Any) -> str:
    """Return the one type of a module's float weights, which its products have too; "" for several."""
    kinds = {str(tensor.dtype) for tensor in module.parameters() if tensor.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 else ""


def _record(name: str, operator: str, dtype: str, precision: str) -> LayerRecord:
    compute = operator in COMPUTE
    stored = dtype.removeprefix("torch.")
    kind = _NAMES.get(stored, stored or "unknown")
    if compute and precision != "fp32":
        kind = precision
    return LayerRecord(name=name, operator=operator, precision=kind, kernel="torch", is_compute=compute)
