# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writing packed model files."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.packing.tensor_writer import encode_values
from ad_compressed_perception.packing.tensors import Words
from ad_compressed_perception.workspace.atomic_file import write_file

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto
from ad_compressed_perception.packing.packed_file import (
    GRAPH_NAME,
    INDEX_NAME,
    SCHEMA,
    WEIGHTS_NAME,
    PackedIndex,
    PackedTensors,
    word_type,
)

# Smaller tensors are stored together: a separate entry would cost more than it saves.
_SMALL_BYTES = 1024


# Even smaller ones stay in the graph, where other tools read shapes and axes.
_TINY_BYTES = 64


# A constant date, so that archives of the same model are identical.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(model: ModelProto, path: Path) -> int:
    """Write a model as a packed file, atomically; return the file's size in bytes.

    The model is not changed. Equal models give equal files.

    Raises:
        ModelFileError: a weight lies in another file and was not loaded, or cannot be read.
        OSError: the file cannot be written.
    """
    content = pack_bytes(model)
    write_file(path, content)
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
        for name, data in ((INDEX_NAME, text.encode()), (GRAPH_NAME, bare), (WEIGHTS_NAME, weights)):
            member = zipfile.ZipInfo(name, _EPOCH)
            # The streams are compressed already.
            member.compress_type = zipfile.ZIP_STORED if name == WEIGHTS_NAME else zipfile.ZIP_LZMA
            writer.writestr(member, data)
    return archive.getvalue()


def _words(tensor: TensorProto) -> Words | None:
    from onnx import TensorProto, numpy_helper

    width = word_type(tensor.data_type)
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
