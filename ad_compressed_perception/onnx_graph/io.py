# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading, checking and writing ONNX files, with one-line error messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.core.model_files import external_data, is_inside
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.normal_form import normalize, sort_nodes
from ad_compressed_perception.onnx_graph.walk import all_graphs, graph_nodes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

DEFAULT_DOMAINS = ("", "ai.onnx")
HARD_SWISH_OPSET = 14
"""The first one that has HardSwish."""
# Protobuf cannot hold more in one file.
_MAX_BYTES = 2**31 - 1
_OUT_OF_ORDER = "topologically sorted"
_QUANTIZED_PREFIXES = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize")
_QUANTIZED_OPERATORS = frozenset(("ConvInteger", "MatMulInteger", "QGemm", "QAttention"))


def read_model(path: Path) -> ModelProto:
    """Read an ONNX file with its external data and check that passes can work on it.

    Raises:
        ModelFileError: no ONNX file, damaged, external data missing, not a valid graph, or a weight
            that is NaN. The message names the file and the tensor.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own errors share no public base
        raise ModelFileError(f"not an ONNX file, or damaged: {path} ({one_line(error)})") from error
    if not model.graph.node:
        raise ModelFileError(f"not an ONNX file, or empty: {path} has no operators")
    for name in sorted(set(external_data(model))):  # older versions of onnx follow a link to anywhere
        if not is_inside(path.parent / name, [path.parent]):
            raise ModelFileError(f"external data of {path} lies outside of its folder: {name}")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # onnx raises its checker's error, OSError or ValueError
        missing = ", ".join(sorted(set(external_data(model)))) or "a file"
        raise ModelFileError(
            f"external data of {path} cannot be read ({missing}): {one_line(error)}"
        ) from error
    drop_initializer_inputs(model)
    model = _normalized(model, path)
    for name, values in float_constants(model):
        if np.isnan(values).any():
            raise ModelFileError(f"model {path} has NaN in weight {name!r}: it was damaged or badly trained")
    return model


def _normalized(model: ModelProto, path: Path) -> ModelProto:
    """Return the checked model in normal form; its nodes may be out of order at first."""
    import onnx

    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's own, and protobuf's above 2 GiB
        if _OUT_OF_ORDER in str(error):
            sort_nodes(model)
    check_model(model, f"model {path}")
    try:
        return normalize(model)
    except ModelFileError as error:
        raise ModelFileError(f"model {path}: {error}") from error
    except Exception as error:  # what the checker lets pass raises several types
        raise ModelFileError(f"model {path} cannot be read: {one_line(error)}") from error


def refuse_suppression(model: ModelProto, path: Path) -> None:
    """Raise ModelFileError where boxes are suppressed (NMS) inside the graph; the line names the node.

    The length of such outputs varies with the image, which decoders of raw boxes do not support.
    """
    for node in model.graph.node:
        if "NMS" in node.op_type or node.op_type == "NonMaxSuppression":
            raise ModelFileError(
                f"model {path} suppresses boxes itself: {node.op_type} {node.name or node.output[0]!r}; "
                "its outputs are for decoder end_to_end, or export it up to the raw boxes and scores, which "
                "the other decoders suppress"
            )


def stored_bytes(path: Path) -> int:
    """Return the size of an ONNX file including its external data files."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    files = {path.parent / name for name in external_data(model)}
    return path.stat().st_size + sum(file.stat().st_size for file in files)


def check_model(model: ModelProto, what: str) -> None:
    """Raise ModelFileError where the graph is not valid ONNX; ``what`` names it."""
    import onnx

    if model.ByteSize() > _MAX_BYTES:
        raise ModelFileError(f"{what} is larger than 2 GiB: one ONNX file cannot hold it")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelFileError(f"{what} is not valid ONNX: {one_line(error)}") from error


def drop_initializer_inputs(model: ModelProto) -> None:
    """Remove weights from the list of inputs, where old files repeat them; the others are the real inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    if len(kept) != len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(kept)
    if (
        weights
    ):  # weights that are not inputs, as some old files have too, are allowed from this IR version on
        model.ir_version = max(model.ir_version, 4)


def all_tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield the name and value of every weight and constant, in subgraphs too."""
    for one in all_graphs(graph):
        for tensor in one.initializer:
            yield tensor.name, tensor
        for node in one.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield node.output[0] if node.output else node.name, attribute.t


def float_constants(model: ModelProto) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and values of every weight and constant of a float type."""
    from onnx import TensorProto, numpy_helper

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    for name, tensor in all_tensors(model.graph):
        if tensor.data_type in floats:
            try:
                yield name, numpy_helper.to_array(tensor)
            except Exception as error:  # sizes and bytes that do not fit raise several types
                raise ModelFileError(f"weight {name!r} cannot be read: {one_line(error)}") from error


def is_quantized(model: ModelProto) -> bool:
    """Whether the graph has quantized operators already."""
    return any(
        node.op_type.startswith(_QUANTIZED_PREFIXES) or node.op_type in _QUANTIZED_OPERATORS
        for node in model.graph.node
    )


def opset_of(model: ModelProto) -> int:
    """Return the model's version of the default operator set."""
    versions = [entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS]
    return max(versions, default=1)


def input_name(model: ModelProto, named: str | None = None) -> str:
    """Return the name of the graph's input that takes the image: ``named``, else the first."""
    names = [spec.name for spec in input_specs(model)]
    return named if named in names else names[0]


def input_specs(model: ModelProto) -> tuple[TensorSpec, ...]:
    """Return the graph's inputs that are no weights."""
    from onnx import helper

    weights = {tensor.name for tensor in model.graph.initializer}
    found = []
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if value.name not in weights:
            sizes = (size.dim_value if size.dim_value > 0 else None for size in tensor.shape.dim)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
            found.append(TensorSpec(value.name, tuple(sizes), dtype))
    return tuple(found)


def pin_input_shape(model: ModelProto, spec: InputSpec, further: Collection[str] = ()) -> list[str]:
    """Give dynamic dimensions of the input the manifest's sizes; return a description of each.

    Args:
        model: changed in place.
        spec: of the image.
        further: inputs besides it, whose batch becomes 1.

    Raises:
        ModelFileError: other inputs, an input of unknown or other rank, or a fixed size that is not
            the manifest's.
    """
    pinned = []
    for value in model.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name in further and len(sizes) and not sizes[0].dim_value > 0:
            pinned.append(f"{sizes[0].dim_param or 'dimension 0'} of {value.name}=1")
            sizes[0].dim_value = 1
    inputs = [value for value in model.graph.input if value.name not in further]
    if further and not inputs and spec.name is None:  # the image is part of a stack
        return pinned
    chosen = [value for value in inputs if value.name == spec.name] if spec.name else inputs
    if len(inputs) != 1 or len(chosen) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        expected = f"input {spec.name!r}" if spec.name else "one input"
        raise ModelFileError(f"the manifest expects {expected}, the model has: {names}")
    tensor = chosen[0].type.tensor_type
    dimensions = list(tensor.shape.dim) if tensor.HasField("shape") else []
    if len(dimensions) != len(spec.shape):
        raise ModelFileError(
            f"input {chosen[0].name!r} has {len(dimensions) or 'an unknown number of'} dimensions, "
            f"the manifest's {list(spec.shape)} has {len(spec.shape)}: export the model with a fixed shape"
        )
    for axis, (dimension, size) in enumerate(zip(dimensions, spec.shape, strict=True)):
        if dimension.HasField("dim_value") and dimension.dim_value > 0:
            if dimension.dim_value != size:
                shape = [d.dim_value or d.dim_param or "?" for d in dimensions]
                raise ModelFileError(
                    f"input {chosen[0].name!r} is {shape}, the manifest says {list(spec.shape)}"
                )
        else:
            pinned.append(f"{dimension.dim_param or f'dimension {axis}'}={size}")
            dimension.dim_value = size
    if pinned:
        # Shapes inferred for a dynamic input are now incomplete or wrong.
        del model.graph.value_info[:]
    return pinned


def finish_model(model: ModelProto, metadata: Mapping[str, str]) -> None:
    """Drop unused operator domains and shapes between operators, and write metadata, in place.

    Runtimes infer the shapes themselves; stored, they take a fifth of a small network's file.
    """
    del model.graph.value_info[:]
    used = {node.domain for node in graph_nodes(model.graph)} | set(DEFAULT_DOMAINS)
    used |= {function.domain for function in model.functions}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    merged = {entry.key: entry.value for entry in model.metadata_props} | dict(metadata)
    del model.metadata_props[:]
    for key in sorted(merged):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, merged[key]
