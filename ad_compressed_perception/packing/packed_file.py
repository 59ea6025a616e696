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

import contextlib
import hashlib
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import StrictModel, describe_validation_error
from ad_compressed_perception.packing.streams import MAX_BYTES, Stream, decode
from ad_compressed_perception.packing.tensors import (
    CodebookCode,
    PlainCode,
    SparseCode,
    Words,
    decode_values,
    encode_values,
)

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

SUFFIX = ".adcpz"
SCHEMA = "adcp-packed/1"
_GRAPH, _WEIGHTS, _INDEX = "graph.onnx", "weights.bin", "index.json"
# Smaller tensors are stored together: a separate entry would cost more than it saves.
_SMALL_BYTES = 1024
# Even smaller ones stay in the graph, where other tools read shapes and axes.
_TINY_BYTES = 64
# A constant date, so that archives of the same model are identical.
_EPOCH = (1980, 1, 1, 0, 0, 0)


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


def pack(model: ModelProto, path: Path) -> int:
    """Write a model as a packed file, atomically; return the file's size in bytes.

    The model is not changed. Equal models give equal files.

    Raises:
        ModelFileError: a weight lies in another file and was not loaded, or cannot be read.
        OSError: the file cannot be written.
    """
    content = pack_bytes(model)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".pack-", suffix=SUFFIX)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return len(content)


def pack_bytes(model: ModelProto) -> bytes:
    """Return a model as the bytes of a packed file; see pack."""
    import onnx

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    small: dict[np.dtype[Any], list[tuple[int, Words]]] = {}
    entries: list[PackedTensors] = []
    streams: list[bytes] = []
    for index, tensor in enumerate(graph.graph.initializer):
        words = _words(tensor)
        if words is None or words.nbytes < _TINY_BYTES:
            continue
        if words.nbytes < _SMALL_BYTES:
            small.setdefault(words.dtype, []).append((index, words))
        else:
            channels = tensor.dims[0] if len(tensor.dims) > 1 else 1
            is_float = tensor.data_type == onnx.TensorProto.FLOAT
            code, written = encode_values(words, channels, is_float)
            entries.append(PackedTensors(weights=[index], code=code))
            streams += written
        _empty(tensor)
    for tensors in small.values():
        code, written = encode_values(np.concatenate([words for _, words in tensors]))
        entries.append(PackedTensors(weights=[index for index, _ in tensors], code=code))
        streams += written
    weights = b"".join(streams)
    bare = graph.SerializeToString(deterministic=True)
    contents = PackedIndex(
        schema=SCHEMA,
        graph_sha256=hashlib.sha256(bare).hexdigest(),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        tensors=entries,
    )
    text = json.dumps(contents.model_dump(by_alias=True, exclude_defaults=False), separators=(",", ":"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for name, data in ((_INDEX, text.encode()), (_GRAPH, bare), (_WEIGHTS, weights)):
            member = zipfile.ZipInfo(name, _EPOCH)
            # The streams are compressed already.
            member.compress_type = zipfile.ZIP_STORED if name == _WEIGHTS else zipfile.ZIP_LZMA
            writer.writestr(member, data)
    return archive.getvalue()


def expand(path: Path) -> ModelProto:
    """Return the model of a packed file.

    Raises:
        ModelFileError: missing, no packed file, cut short, altered, or of another schema; one line.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        index, bare, weights = _read_members(path)
        contents = _parse(index)
        for name, data, expected in (
            (_GRAPH, bare, contents.graph_sha256),
            (_WEIGHTS, weights, contents.weights_sha256),
        ):
            if hashlib.sha256(data).hexdigest() != expected:
                raise ModelFileError(f"{name} does not match its sha256")
        model = onnx.ModelProto.FromString(bare)
        _fill(model, contents, weights)
    except ModelFileError as error:
        raise ModelFileError(f"packed model {path}: {error}") from error
    except (zipfile.BadZipFile, KeyError, EOFError, DecodeError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"not a packed model, or damaged or cut short: {path} ({' '.join(str(error).split())})"
        ) from error
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
    return model


def _read_members(path: Path) -> tuple[bytes, bytes, bytes]:
    import lzma
    import zlib

    with zipfile.ZipFile(path) as archive:
        for name in (_INDEX, _GRAPH, _WEIGHTS):
            if archive.getinfo(name).file_size > MAX_BYTES:
                raise ModelFileError(f"{name} is larger than an ONNX file can be")
        try:
            return archive.read(_INDEX), archive.read(_GRAPH), archive.read(_WEIGHTS)
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
        raise ModelFileError(f"{_INDEX}: {describe_validation_error(error)}") from error


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
        if any(words.dtype != _word_type(tensor.data_type) for tensor in targets):
            raise ModelFileError(f"weight {targets[0].name!r} has values of another type")
        start = 0
        for tensor, count in zip(targets, counts, strict=True):
            values = words[start : start + count]
            tensor.raw_data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
            start += count
    if position != len(weights):
        raise ModelFileError(f"{len(weights) - position} bytes of {_WEIGHTS} belong to no weight")


def _word_type(data_type: int) -> np.dtype[Any] | None:
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


def _words(tensor: TensorProto) -> Words | None:
    from onnx import TensorProto, numpy_helper

    width = _word_type(tensor.data_type)
    if width is None:
        return None
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ModelFileError(f"weight {tensor.name!r} lies in another file: load it before packing")
    try:
        values: NDArray[Any] = np.ascontiguousarray(numpy_helper.to_array(tensor)).reshape(-1)
    except Exception as error:  # sizes and bytes that do not fit raise several types
        raise ModelFileError(f"weight {tensor.name!r} cannot be read: {error}") from error
    return values.view(width)


def _empty(tensor: TensorProto) -> None:
    """Remove the values; name, type, shape and doc string stay."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
