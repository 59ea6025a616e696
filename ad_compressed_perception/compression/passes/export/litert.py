# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a graph as a LiteRT model (.tflite), in float, with weights in half precision, or in int8.

int8 is symmetric per channel for weights and affine per tensor for activations (Jacob et al., CVPR 2018,
section 2): ``scale = (max - min) / 255``, with the range of all calibration frames. Every product has a scale
of its own, so each head has one. What joins the heads behind the last products stays in float where boxes and
scores meet, since one scale for both leaves the scores two values (onnx_graph/heads.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.backends.litert_backend import COMPUTE_OPERATORS, SUFFIX, open_interpreter
from ad_compressed_perception.backends.program_names import ProgramNames
from ad_compressed_perception.compression.passes.export.base import (
    ExportPass,
    Precision,
    converting,
    needed_frames,
)
from ad_compressed_perception.core.tensors import Feeds

_TRACE = b"torch.export."

if TYPE_CHECKING:
    from onnx import ModelProto

    from ad_compressed_perception.compression.passes.export.torch_graph import TorchGraph


class ExportLiteRt(ExportPass):
    """Writes the graph for the backend ``litert``."""

    name = "export_litert"
    writes = "litert"
    suffix = SUFFIX
    packages = {
        "torch": "torch",
        "ai_edge_litert": "ai-edge-litert",
        "litert_torch": "litert-torch",
        "ai_edge_quantizer": "ai-edge-quantizer",
    }

    def write(
        self, model: ModelProto, out: Path, precision: Precision, frames: Iterable[Feeds]
    ) -> dict[str, Any]:
        """Write the file; see write_litert."""
        return write_litert(model, out, precision, frames)


def write_litert(
    model: ModelProto | Path,
    out: Path,
    precision: Precision = "fp32",
    frames: Iterable[Feeds] = (),
) -> dict[str, Any]:
    """Write a float ONNX graph as a .tflite file; return notes.

    Args:
        model: the graph or its file.
        out: the file to write.
        precision: fp16 stores weights in half precision and computes in float.
        frames: inputs by name to calibrate int8 on.

    Raises:
        RecipeError: int8 without frames.
        ModelFileError: the graph has no equivalent, or LiteRT refuses it; the line names the operator.
    """
    from ad_compressed_perception.compression.passes.export.torch_graph import torch_graph

    given = needed_frames(precision, frames)
    made = torch_graph(model)
    notes: dict[str, Any] = {"precision": precision}
    if precision == "int8":
        made = _with_kept_biases(made, given)
    with converting("LiteRT"):
        import litert_torch

        litert_torch.convert(made.program, made.example).export(str(out))
        out.write_bytes(_renamed(out.read_bytes(), made.names, is_numbered=True))
        if precision == "fp16":
            out.write_bytes(_half_weights(out))
        elif precision == "int8":
            content, notes["float_operators"] = _quantized(out, made, given)
            out.write_bytes(content)
        if precision != "fp32":
            out.write_bytes(_renamed(out.read_bytes(), made.names))
    return notes


def _with_kept_biases(made: TorchGraph, frames: list[Feeds]) -> TorchGraph:
    """Return the graph with biases that fit into 32 bits: LiteRT's quantizer clips others without a word."""
    from ad_compressed_perception.compression.passes.export.torch_graph import torch_graph
    from ad_compressed_perception.onnx_graph.int32_biases import keep_biases
    from ad_compressed_perception.onnx_graph.subgraphs import copied

    model = copied(made.model)
    return torch_graph(model) if keep_biases(model, made.ranges(frames)) else made


def _renamed(content: bytes, names: ProgramNames, *, is_numbered: bool = False) -> bytes:
    """Return a model whose inputs and outputs have the names and the order of the graph's.

    Args:
        content: the file.
        names: of the graph.
        is_numbered: the converter named them, args_0 and so on, which are no names of the graph, even where
            the graph has the same ones in another order.
    """
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # behind the table, where the quantizer puts weights; 1 is its mark of none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for place, tensor in enumerate(graph.tensors):
        if _TRACE in tensor.name:  # the converter's own functions, the same for all tensors
            tensor.name = f"tensor_{place}".encode()
    for ports, expected, field in (
        (signature.inputs, names.inputs, "inputs"),
        (signature.outputs, names.outputs, "outputs"),
    ):
        by_name = {_text(port.name): port for port in ports}
        order = sorted(ports, key=_number) if is_numbered else [by_name[name] for name in expected]
        for port, name in zip(order, expected, strict=True):
            port.name = name.encode()
            graph.tensors[port.tensorIndex].name = name.encode()
        setattr(graph, field, [port.tensorIndex for port in order])
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _number(port: Any) -> int:
    """Return the number at the end of a name such as args_10."""
    found = re.search(r"(\d+)$", _text(port.name))
    return int(found[1]) if found else 0


def _half_weights(path: Path) -> bytes:
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

    made = quantizer.Quantizer(str(path))
    made.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    return bytes(made.quantize().quantized_model)


def _quantized(path: Path, made: TorchGraph, frames: list[Feeds]) -> tuple[bytes, list[str]]:
    """Return the model in int8, and the outputs of the operators that stay in float."""
    import numpy as np
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

    interpreter = open_interpreter(path, threads=1, xnnpack=False)
    ((key, _),) = interpreter.get_signature_list().items()
    kept = _float_operators(interpreter, made, frames)
    chosen = quantizer.Quantizer(str(path))
    chosen.load_quantization_recipe(recipe.static_wi8_ai8())
    for name in kept:
        chosen.update_quantization_recipe(
            regex=f"^{re.escape(name)};?$",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
    for port in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        chosen.update_quantization_recipe(
            regex=".*",
            operation_name=port,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
    ranges: dict[str, Any] = {}
    for feeds in frames:  # one by one: calibrated together, ranges are moving averages that clip
        given = {name: feeds[name] for name in made.names.inputs}
        for name, found in chosen.calibrate({key: [given]}, num_threads=1).items():
            known = ranges.setdefault(name, found)
            if "min" in found:
                known["min"] = np.minimum(known["min"], found["min"])
                known["max"] = np.maximum(known["max"], found["max"])
    return bytes(chosen.quantize(ranges, enable_progress_report=False).quantized_model), kept


def _float_operators(interpreter: Any, made: TorchGraph, frames: list[Feeds]) -> list[str]:
    """Return the outputs of the operators that stay in float: behind the last products, and some of these.

    Nothing stays in float where no values of different meaning meet there. Products whose own output holds
    such values cannot be identified by name in the converted graph: then all of the last ones stay in float.
    """
    from ad_compressed_perception.onnx_graph.heads import find_heads

    heads = find_heads(made.model, made.ranges(frames))
    if not heads.concat_points and not heads.shared:
        return []
    names = {int(t["index"]): str(t["name"]) for t in interpreter.get_tensor_details()}
    feeding: set[int] = set()
    tail = []
    for operator in reversed(interpreter._get_ops_details()):
        outputs = [int(index) for index in operator["outputs"]]
        is_product = operator["op_name"] in COMPUTE_OPERATORS
        is_last = is_product and not feeding.intersection(outputs)
        if feeding.intersection(outputs) or (is_product and not heads.shared):
            feeding.update(int(index) for index in operator["inputs"])
            continue
        tail += [names[index] for index in outputs if index in names]
        if is_last:
            feeding.update(int(index) for index in operator["inputs"])
    return tail
