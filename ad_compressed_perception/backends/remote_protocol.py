# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors in the messages of the Open Inference Protocol (KServe v2): written, read and checked.

Whatever a server says is checked here before it becomes an array: names, types, shapes, number of bytes and
finite values. Source of the messages: ``grpc_predict_v2.proto`` of the protocol, as tritonclient ships it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.backends.base import Tensors
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.one_line import shorten, shorten_list
from ad_compressed_perception.core.tensors import TensorSpec

DATATYPES: Final = {
    "bool": "BOOL",
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}
"""numpy's names of types, and the protocol's."""


def agreed_tensors(
    kind: str, ours: Sequence[TensorSpec], theirs: Iterable[Any], server: str
) -> tuple[TensorSpec, ...]:
    """Return the tensors of the local file as the server has them: a size is dynamic where it is for both.

    Args:
        kind: input or output, for messages.
        ours: those of the local file.
        theirs: ``TensorMetadata`` messages: name, datatype, shape with -1 where dynamic.
        server: how it is named in messages.

    Raises:
        BackendError: other names, types, ranks or sizes.
    """
    described = {str(one.name): one for one in theirs}
    names = [spec.name for spec in ours]
    if described.keys() != set(names):
        found = shorten_list(sorted(map(repr, described))) or "none (it does not describe them)"
        raise BackendError(f"{server} has the {kind}s {found}; the local file has {', '.join(names)}")
    return tuple(_agreed(kind, spec, described[spec.name], server) for spec in ours)


def _agreed(kind: str, spec: TensorSpec, other: Any, server: str) -> TensorSpec:
    sizes = [None if size < 0 else int(size) for size in other.shape]
    fits = len(sizes) == len(spec.shape) and all(
        None in (own, its) or own == its for own, its in zip(spec.shape, sizes, strict=True)
    )
    if not fits or other.datatype != DATATYPES.get(spec.dtype):
        raise BackendError(
            f"{server} has {kind} {spec.name!r} as {shorten(repr(other.datatype))}{_text(sizes)}, "
            f"the local file as {DATATYPES.get(spec.dtype, spec.dtype)}{_text(spec.shape)}"
        )
    return TensorSpec(
        spec.name,
        tuple(its if own is None else own for own, its in zip(spec.shape, sizes, strict=True)),
        spec.dtype,
    )


def fill_request(request: Any, inputs: Sequence[TensorSpec], feeds: Tensors) -> None:
    """Append checked input tensors to a ``ModelInferRequest``, little-endian and in C order."""
    for spec in inputs:
        array = feeds[spec.name]
        request.inputs.add(name=spec.name, datatype=DATATYPES[spec.dtype], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())


def read_answer(response: Any, outputs: Sequence[TensorSpec], server: str) -> dict[str, NDArray[Any]]:
    """Return the outputs in a ``ModelInferResponse``, in the order of ``outputs``.

    Raises:
        BackendError: not exactly these outputs, another type or shape, another number of bytes than the shape
            says, contents that are not raw, or values that are not finite.
    """
    names = [str(one.name) for one in response.outputs]
    if sorted(names) != sorted(spec.name for spec in outputs):
        found = shorten_list(map(repr, names)) or "none"
        raise BackendError(
            f"{server} answered with the outputs {found}, not {', '.join(spec.name for spec in outputs)}"
        )
    if len(response.raw_output_contents) != len(names):
        raise BackendError(
            f"{server} answered {len(names)} outputs with {len(response.raw_output_contents)} raw contents"
        )
    indices = {name: index for index, name in enumerate(names)}
    return {
        spec.name: _array(
            response.outputs[indices[spec.name]],
            response.raw_output_contents[indices[spec.name]],
            spec,
            server,
        )
        for spec in outputs
    }


def _array(described: Any, content: bytes, spec: TensorSpec, server: str) -> NDArray[Any]:
    shape = tuple(int(size) for size in described.shape)
    fits = len(shape) == len(spec.shape) and all(
        size >= 0 and expected in (None, size) for expected, size in zip(spec.shape, shape, strict=True)
    )
    if not fits or described.datatype != DATATYPES[spec.dtype]:
        raise BackendError(
            f"{server} answered {spec.name!r} as {shorten(repr(described.datatype))}{_text(shape)}, "
            f"not {DATATYPES[spec.dtype]}{_text(spec.shape)}"
        )
    dtype = np.dtype(spec.dtype)
    if prod(shape) * dtype.itemsize != len(content):
        raise BackendError(
            f"{server} answered {spec.name!r} of shape {_text(shape)} with {len(content)} bytes, "
            f"not {prod(shape) * dtype.itemsize}"
        )
    # A copy: decoders may write into what a session returns, and the message's bytes cannot be written.
    array = np.ndarray(shape, dtype, buffer=content).copy()
    # NaN is the largest and the smallest value of whatever holds one; isfinite of all takes far longer.
    if dtype.kind == "f" and array.size and not (np.isfinite(array.max()) and np.isfinite(array.min())):
        raise BackendError(
            f"{server} answered {spec.name!r} with values that are not finite (NaN or infinite)"
        )
    return array


def message_bytes(specs: Sequence[TensorSpec]) -> int:
    """Return the least number of bytes of these tensors (a dynamic size counts as 1)."""
    return sum(prod(size or 1 for size in spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs)


def refuse_unknown_types(specs: Sequence[TensorSpec], model: str) -> None:
    """Raise BackendError where a tensor has a type that the protocol does not know."""
    for spec in specs:
        if spec.dtype not in DATATYPES:
            raise BackendError(
                f"{model}: tensor {spec.name!r} is {spec.dtype}, which cannot be sent to a server"
            )


def _text(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
