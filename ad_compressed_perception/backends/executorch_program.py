# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads what an ExecuTorch program (.pte) holds, without its runtime: inputs, outputs and operators.

The format is FlatBuffers; field numbers are those of ExecuTorch's ``program.fbs`` (identifier ET12) and, for
what XNNPACK runs, of ``runtime_schema.fbs`` behind XNNPACK's header (XH00). Precision and integer coverage
follow from the types of the tensors that each operator reads and writes; a delegate whose format is not
public is one layer of unknown precision.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ad_compressed_perception.backends.flat_table import FlatTable
from ad_compressed_perception.backends.program_names import METHOD, ProgramNames, read_names
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec

XNNPACK = "XnnpackBackend"
_IDENTIFIER, _HEADER = b"ET12", b"eh00"
# ScalarType of torch: its number, numpy's name.
_DTYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
    15: "bfloat16",
}
_REAL = frozenset({0, 1, 5, 6, 7, 15})
"""Those that may hold real numbers, quantized ones too."""
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
_KERNEL_COMPUTE = frozenset(
    {
        *("aten::convolution", "aten::_convolution", "aten::linear", "aten::addmm", "aten::mm", "aten::bmm"),
        *("quantized_decomposed::mixed_linear", "quantized_decomposed::mixed_mm"),
    }
)
# XNNDatatype: number, precision.
_XNN_PRECISIONS = {
    1: "fp32",
    2: "fp16",
    3: "int8",
    4: "int8",
    5: "int32",
    6: "int8",
    7: "int32",
    8: "int4",
    9: "int8",
    10: "int4",
    11: "int8",
    12: "int32",
    13: "fp32",
    14: "bf16",
}
_XNN_INTEGER_INPUTS, _XNN_INTEGER_WEIGHTS = frozenset({3, 4, 9, 11}), frozenset({3, 4, 6, 8, 10})
# XNodeUnion in order, from 1: name, and the fields of the first input, the second or the weight, the output.
_ONE, _TWO, _CONV, _POOL, _CAT = (0, None, 1), (0, 1, 2), (15, 16, 18), (8, None, 9), (1, None, 5)
_XNODES = (
    *(("add", _TWO), ("fully_connected", (0, 1, 3)), ("softmax", _ONE), ("sigmoid", _ONE)),
    *(("transpose", (2, None, 3)), ("clamp", _ONE), ("conv2d", _CONV), ("div", _TWO)),
    *(("resize_bilinear_2d", (2, None, 3)), ("pad", (3, None, 4)), ("avg_pool2d", _POOL), ("minimum", _TWO)),
    *(("depthwise_conv2d", _CONV), ("max_pool2d", _POOL), ("multiply", _TWO), ("subtract", _TWO)),
    *(("floor", _ONE), ("convert", _ONE), ("global_avg_pool2d", _ONE), ("reshape", (2, None, 3))),
    *(("argmax_pool2d", (6, None, 7)), ("square_root", _ONE), ("ceiling", _ONE), ("hardswish", _ONE)),
    *(("leaky_relu", (1, None, 2)), ("maximum", _TWO), ("negate", _ONE), ("square", _ONE)),
    *(("elu", (1, None, 2)), ("abs", _ONE), ("prelu", _TWO), ("concatenate2", _CAT), ("concatenate3", _CAT)),
    *(("concatenate4", _CAT), ("slice", (3, None, 4)), ("scaled_dot_product_attention", (0, 1, 5))),
    *(("batch_matrix_multiply", _TWO), ("concatenate5", _CAT), ("conv_transpose2d", _CONV)),
    *(("reciprocal_square_root", _ONE), ("log", _ONE), ("gelu", _ONE), ("tanh", _ONE), ("exp", _ONE)),
    *(("sin", _ONE), ("copy", _ONE), ("cos", _ONE)),
)
_XNN_COMPUTE = frozenset(
    {
        *("fully_connected", "conv2d", "depthwise_conv2d", "conv_transpose2d", "batch_matrix_multiply"),
        "scaled_dot_product_attention",
    }
)
_WITH_BIAS = ("fully_connected", "conv2d", "depthwise_conv2d", "conv_transpose2d")
"""Their bias is the field behind that of the weight."""
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_TENSOR, _STRING = 5, 6
_QUANTIZED_VALUE = 2


@dataclass(frozen=True)
class Value:
    """A tensor inside a program: the number of its type in the format, its shape, whether it is stored."""

    kind: int
    shape: tuple[int, ...]
    is_constant: bool


@dataclass(frozen=True)
class ProgramNode:
    """An operator with what it reads and writes; a value is None where the format does not say it.

    ``parameters`` counts the elements of its stored weight and bias.
    """

    record: LayerRecord
    parameters: int = 0
    input: Value | None = None
    weight: Value | None = None
    output: Value | None = None


@dataclass(frozen=True)
class ProgramFacts:
    """What a program holds.

    Attributes:
        method: the one that computes, ``forward``.
        inputs, outputs: its tensors, by the names the file gives them or by number.
        nodes: its operators, those inside XNNPACK's part one by one.
        parameters: elements of all stored tensors of real numbers.
        delegates: names of the runtimes inside ExecuTorch that it needs.
    """

    method: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: tuple[ProgramNode, ...]
    parameters: int
    delegates: tuple[str, ...]

    @property
    def layers(self) -> list[LayerRecord]:
        """The operators as layers of the executed graph."""
        return [node.record for node in self.nodes]


def read_program(content: bytes, source: Path) -> ProgramFacts:
    """Return what a .pte file holds.

    Raises:
        BackendError: it is no .pte file, cut short or damaged, or its inputs are not tensors.
    """
    if content[4:8] != _IDENTIFIER:
        raise BackendError(f"{source} is not a .pte file: backend 'executorch' runs no other")
    base = _check_length(content, source)
    try:
        program = FlatTable.root(content)
        plans = {plan.text(0): plan for plan in program.tables(1)}
        if "forward" not in plans:
            raise BackendError(f"{source} has no method forward; it has {', '.join(plans) or 'none'}")
        plan = plans["forward"]
        names = _stored_names(plans.get(METHOD))
        inputs = _ports(plan, 3, "input", names.inputs if names else None)
        outputs = _ports(plan, 4, "output", names.outputs if names else None)
        found = _Nodes(program, plan, content, base)
        delegates = tuple(dict.fromkeys(one.text(0) for one in plan.tables(7)))
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise BackendError(f"{source} is damaged: its program cannot be read ({error})") from error
    return ProgramFacts("forward", inputs, outputs, tuple(found.nodes), found.parameters, delegates)


def _check_length(content: bytes, source: Path) -> int:
    """Return where the segments begin; raise BackendError where the file is shorter than its header says."""
    base, end = len(content), 0
    if content[8:12] == _HEADER and len(content) >= 40:
        length, program, base, segments = struct.unpack_from("<IQQQ", content, 12)
        end = max(program, base + (segments if length >= 32 else 0))
    if end > len(content):
        raise BackendError(f"{source} is cut short: {len(content)} of {end} bytes")
    return base


def _stored_names(plan: FlatTable | None) -> ProgramNames | None:
    if plan is None:
        return None
    for value in plan.tables(2):
        if value.number(0, "B") == _STRING and (held := value.table(1)) is not None:
            return read_names(held.text(0))
    return None


def _ports(plan: FlatTable, field: int, kind: str, known: tuple[str, ...] | None) -> tuple[TensorSpec, ...]:
    values, places = plan.tables(2), plan.numbers(field, "i")
    if known is not None and len(known) != len(places):
        raise ValueError(f"{len(places)} {kind}s, and names of {len(known)}")
    specs = []
    for index, place in enumerate(places):
        tensor = values[place].table(1) if values[place].number(0, "B") == _TENSOR else None
        if tensor is None:
            raise BackendError(f"{kind} {index} of the program is not a tensor")
        is_dynamic = tensor.number(8, "b") != 0
        shape = tuple(None if is_dynamic else size for size in tensor.numbers(2, "i"))
        name = known[index] if known is not None else f"{kind}_{index}"
        specs.append(TensorSpec(name, shape, _DTYPES.get(tensor.number(0, "b"), "unknown")))
    return tuple(specs)


class _Nodes:
    """Lists the operators of a plan and counts what it stores."""

    def __init__(self, program: FlatTable, plan: FlatTable, content: bytes, base: int) -> None:
        self._program, self._content, self._base = program, content, base
        self.nodes: list[ProgramNode] = []
        self.parameters = 0
        values = [_plan_value(value) for value in plan.tables(2)]
        self._count(value for value in values if value is not None and value.kind in _REAL)
        operators, delegates = [one.text(0) for one in plan.tables(6)], plan.tables(7)
        for chain in plan.tables(5):
            for place, instruction in enumerate(chain.tables(2)):
                kind, call = instruction.number(0, "B"), instruction.table(1)
                if call is None:
                    continue
                if kind == _DELEGATE_CALL:
                    self._add_delegate(delegates[call.number(0, "i")], place)
                elif kind == _KERNEL_CALL:
                    arguments = [values[index] for index in call.numbers(1, "i")]
                    self._add_kernel(operators[call.number(0, "i")], arguments, place)

    def _count(self, values: Iterable[Value]) -> None:
        self.parameters += sum(prod(value.shape) for value in values if value.is_constant)

    def _add_kernel(self, operator: str, arguments: list[Value | None], place: int) -> None:
        """Add a kernel call; what a kernel writes is the last tensor among its arguments."""
        tensors = [value for value in arguments if value is not None]
        dtype = _DTYPES.get(tensors[-1].kind, "unknown") if tensors else "unknown"
        record = LayerRecord(
            name=f"{place}_{operator.rpartition('::')[2]}",
            operator=operator,
            precision=_PRECISIONS.get(dtype, dtype),
            kernel="ExecuTorch",
            is_compute=operator in _KERNEL_COMPUTE,
        )
        self.nodes.append(
            ProgramNode(record, 0, tensors[0], tensors[1], tensors[-1])
            if len(tensors) > 2
            else ProgramNode(record)
        )

    def _add_delegate(self, delegate: FlatTable, place: int) -> None:
        identifier = delegate.text(0)
        if identifier != XNNPACK:
            record = LayerRecord(f"{place}_{identifier}", identifier, "unknown", identifier)
            self.nodes.append(ProgramNode(record))
            return
        graph = FlatTable.root(_payload(self._program, delegate, self._content, self._base))
        values = dict(_graph_values(graph))
        self._count(values.values())
        for index, node in enumerate(graph.tables(1)):
            kind, held = node.number(0, "B"), node.table(1)
            if not 1 <= kind <= len(_XNODES) or held is None:
                record = LayerRecord(f"{place}_{index}", f"xnnpack_{kind}", "unknown", "XNNPACK")
                self.nodes.append(ProgramNode(record))
                continue
            operator, fields = _XNODES[kind - 1]
            read, weight, made = (
                None if field is None else values.get(held.number(field, "I")) for field in fields
            )
            compute = operator in _XNN_COMPUTE
            integer = (
                compute
                and read is not None
                and weight is not None
                and read.kind in _XNN_INTEGER_INPUTS
                and weight.kind in _XNN_INTEGER_WEIGHTS
            )
            written = "unknown" if made is None else _XNN_PRECISIONS.get(made.kind, "unknown")
            record = LayerRecord(
                f"{place}_{index}_{operator}",
                operator,
                "int8" if integer else written,
                "XNNPACK",
                compute,
                integer,
            )
            bias = (
                values.get(held.number(fields[1] + 1, "I")) if operator in _WITH_BIAS and fields[1] else None
            )
            stored = sum(prod(one.shape) for one in (weight, bias) if compute and one and one.is_constant)
            self.nodes.append(ProgramNode(record, stored, read, weight, made))


def _plan_value(value: FlatTable) -> Value | None:
    tensor = value.table(1) if value.number(0, "B") == _TENSOR else None
    if tensor is None:
        return None
    return Value(tensor.number(0, "b"), tuple(tensor.numbers(2, "i")), tensor.number(5, "I") > 0)


def _payload(program: FlatTable, delegate: FlatTable, content: bytes, base: int) -> bytes:
    """Return the serialized graph of a delegate, behind XNNPACK's header."""
    reference = delegate.table(1)
    if reference is None:
        raise ValueError("a delegate without content")
    location, index = reference.number(0, "b"), reference.number(1, "I")
    if location == 0:
        blob = program.tables(3)[index].bytes(0)
    else:
        segment = program.tables(4)[index]
        start = base + segment.number(0, "Q")
        blob = content[start : start + segment.number(1, "Q")]
    if blob[4:8] != b"XH00":
        return blob
    offset, size = struct.unpack_from("<II", blob, 10)
    return blob[offset : offset + size]


def _graph_values(graph: FlatTable) -> list[tuple[int, Value]]:
    """Return the values of XNNPACK's graph by number."""
    found = []
    for value in graph.tables(2):
        held = value.table(1)
        if held is not None and value.number(0, "B") == _QUANTIZED_VALUE:
            held = held.table(0)
        if held is not None:
            shape = tuple(held.numbers(2, "I"))
            found.append((held.number(6, "I"), Value(held.number(0, "h"), shape, held.number(3, "I") > 0)))
    return found
