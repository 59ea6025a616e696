# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Streams of a packed model file: bit-packed indices, and bytes in the shortest of several encodings.

All codecs are from the standard library. The shortest of three is used for every stream:

* ``raw``: as it is;
* ``deflate`` (RFC 1951), once with its Huffman code alone and once with repetitions too. On indices of
  k-means codebooks the Huffman code stays within 1-3 % of the entropy of the symbols;
* ``lzma`` (LZMA2 without a header), which finds repetitions inside a tensor: equal filters,
  channels of zeros.

An arithmetic coder would reach the entropy; it would save about 1 % over the best of these.
"""

from __future__ import annotations

import lzma
import zlib
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import StrictModel

Codec = Literal["raw", "deflate", "lzma"]
MAX_BITS = 8
MAX_BYTES = 2**31 - 1
"""Maximum size of an ONNX file, and so of a stream."""
_MIN_WINDOW = 4096
_MAX_WINDOW = 1 << 24


class Stream(StrictModel):
    """One stream of the file's data; streams are stored in the order of the index."""

    codec: Codec
    stored: Annotated[int, Field(ge=0, le=MAX_BYTES)]
    """Bytes in the file."""
    length: Annotated[int, Field(ge=0, le=MAX_BYTES)]
    """Bytes after decoding."""


def decode(stream: Stream, stored: bytes) -> bytes:
    """Return the bytes of a stream; raise ModelFileError where they do not match its description.

    Never decodes to more bytes than the stream's length, whatever the data.
    """
    try:
        if stream.codec == "raw":
            data = stored
        elif stream.codec == "deflate":
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, stream.length + 1)
        else:
            coder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_lzma_filters(stream.length))
            data = coder.decompress(stored, stream.length + 1)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise ModelFileError(f"a stream cannot be decoded: {error}") from error
    if len(data) != stream.length or len(stored) != stream.stored:
        raise ModelFileError(f"a stream decodes to {len(data)} bytes instead of {stream.length}")
    return data


def _lzma_filters(length: int) -> list[dict[str, int]]:
    # A window larger than the data costs time to clear, for thousands of streams. Symbols are neither text
    # nor aligned words: no literal context, no position bits.
    window = min(max(length, _MIN_WINDOW), _MAX_WINDOW)
    return [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": window, "lc": 0, "lp": 0, "pb": 0}]


def unpack_bits(data: bytes, bits: int, count: int) -> NDArray[np.uint8]:
    """Return the (count,) uint8 indices that pack_bits wrote; raise ModelFileError if there are fewer."""
    if len(data) != (count * bits + 7) // 8:
        raise ModelFileError(f"{len(data)} bytes do not hold {count} indices of {bits} bits")
    spread = np.zeros((count, MAX_BITS), np.uint8)
    taken = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits)
    spread[:, MAX_BITS - bits :] = taken.reshape(count, bits)
    return np.packbits(spread, axis=1).reshape(-1)


def join_bytes(planes: list[bytes], count: int) -> NDArray[np.unsignedinteger]:
    """Return the (count,) words whose byte planes these are; raise ModelFileError where they do not fit."""
    if len(planes) not in (1, 2, 4, 8) or any(len(plane) != count for plane in planes):
        raise ModelFileError(f"{len(planes)} planes of bytes do not make {count} values")
    columns = np.stack([np.frombuffer(plane, np.uint8) for plane in planes], axis=1)
    words: NDArray[np.unsignedinteger] = (
        np.ascontiguousarray(columns)
        .view(f"<u{len(planes)}")
        .reshape(-1)
        .astype(f"u{len(planes)}", copy=False)
    )
    return words
