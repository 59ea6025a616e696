# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Packed model files (``.adcpz``): losslessly compressed models, decompressed to the same ONNX at load.

A ZIP archive of three members: ``graph.onnx``, the model without the values of its weights;
``weights.bin``, the streams of those values (see tensors.py); ``index.json``, which describes
each stream, with a schema and sha256 sums. Nothing in it is executed or unpickled. Packing is lossless:
every weight is restored bit for bit, so a packed file has the same outputs as the ONNX file. It is small
where earlier passes have palettized or pruned the weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import StrictModel, describe_validation_error
from ad_compressed_perception.core.model_files import external_data, read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.packing.streams import MAX_BYTES, Stream, decode
from ad_compressed_perception.packing.tensors import CodebookCode, PlainCode, SparseCode, decode_values

if TYPE_CHECKING:
    from onnx import ModelProto

SUFFIX = ".adcpz"
SCHEMA = "adcp-packed/1"
GRAPH_NAME, WEIGHTS_NAME, INDEX_NAME = "graph.onnx", "weights.bin", "index.json"


class PackedTensors(StrictModel):
    """One or several tensors whose values are stored together.

    Attributes:
        weights: their indices in the graph's list of initializers, in the order of their values.
        code: encoding of the values.
    """

    weights: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    code: Annotated[PlainCode | CodebookCode | SparseCode, Field(discriminator="kind")]


class PackedIndex(StrictModel):
    """The content of ``index.json``."""

    schema_: Literal["adcp-packed/1"] = Field("adcp-packed/1", alias="schema")
    graph_sha256: str
    weights_sha256: str
    tensors: list[PackedTensors]


def is_packed(path: Path) -> bool:
    """Whether a file has the suffix of packed model files."""
    return path.suffix == SUFFIX


def expand(path: Path, content: bytes | None = None) -> ModelProto:
    """Return the model of a packed file, or of its content where it was read already.

    Raises:
        ModelFileError: missing, no packed file, cut short, altered, of another schema, or naming files
            besides itself; one line.
    """
    import onnx
    from google.protobuf.message import DecodeError

    content = read_checked(path, None) if content is None else content
    try:
        index, bare, weights = _read_members(content)
        contents = _parse(index)
        for name, data, expected in (
            (GRAPH_NAME, bare, contents.graph_sha256),
            (WEIGHTS_NAME, weights, contents.weights_sha256),
        ):
            if hashlib.sha256(data).hexdigest() != expected:
                raise ModelFileError(f"{name} does not match its sha256")
        model = onnx.ModelProto.FromString(bare)
        if any(external_data(model)):
            raise ModelFileError("its graph names weights in another file")
        _fill(model, contents, weights)
    except ModelFileError as error:
        raise ModelFileError(f"packed model {path}: {error}") from error
    except (zipfile.BadZipFile, KeyError, EOFError, DecodeError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"not a packed model, or damaged or cut short: {path} ({one_line(error)})"
        ) from error
    return model


def _read_members(content: bytes) -> tuple[bytes, bytes, bytes]:
    import lzma
    import zlib

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in (INDEX_NAME, GRAPH_NAME, WEIGHTS_NAME):
            if archive.getinfo(name).file_size > MAX_BYTES:
                raise ModelFileError(f"{name} is larger than an ONNX file can be")
        try:
            return archive.read(INDEX_NAME), archive.read(GRAPH_NAME), archive.read(WEIGHTS_NAME)
        except (lzma.LZMAError, zlib.error) as error:
            raise ModelFileError(f"damaged: {error}") from error


def _parse(index: bytes) -> PackedIndex:
    document = json.loads(index)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ModelFileError(f"its schema is {schema!r}, this version reads {SCHEMA!r}")
    try:
        return PackedIndex.model_validate(document)
    except ValidationError as error:
        raise ModelFileError(f"{INDEX_NAME}: {describe_validation_error(error)}") from error


def _fill(model: ModelProto, contents: PackedIndex, weights: bytes) -> None:
    tensors = model.graph.initializer
    position = 0

    def take(stream: Stream) -> bytes:
        nonlocal position
        data = weights[position : position + stream.stored]
        position += stream.stored
        return decode(stream, data)

    for entry in contents.tensors:
        if max(entry.weights) >= len(tensors):
            raise ModelFileError(f"there is no weight {max(entry.weights)} in its graph")
        targets = [tensors[index] for index in entry.weights]
        counts = [int(np.prod(list(tensor.dims), dtype=np.int64)) for tensor in targets]
        if sum(counts) != entry.code.count:
            raise ModelFileError(f"{entry.code.count} values for weight {targets[0].name!r} of {sum(counts)}")
        words = decode_values(entry.code, take)
        if any(words.dtype != word_type(tensor.data_type) for tensor in targets):
            raise ModelFileError(f"weight {targets[0].name!r} has values of another type")
        start = 0
        for tensor, count in zip(targets, counts, strict=True):
            values = words[start : start + count]
            tensor.raw_data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
            start += count
    if position != len(weights):
        raise ModelFileError(f"{len(weights) - position} bytes of {WEIGHTS_NAME} belong to no weight")


def word_type(data_type: int) -> np.dtype[Any] | None:
    """Return the unsigned type as wide as an ONNX type; None for strings and types below a byte."""
    from onnx import TensorProto

    widths = {
        1: (TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL),
        2: (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT16, TensorProto.UINT16),
        4: (TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32),
        8: (TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64),
    }
    for width, types in widths.items():
        if data_type in types:
            return np.dtype(f"u{width}")
    return None
