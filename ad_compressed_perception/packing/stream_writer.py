# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy coding of byte streams."""

from __future__ import annotations

import lzma
import zlib

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.packing.streams import MAX_BITS, Codec, Stream, _lzma_filters


def encode(data: bytes) -> tuple[Stream, bytes]:
    """Return the shortest encoding of ``data`` and its description."""
    candidates: list[tuple[Codec, bytes]] = [("raw", data)]
    if data:
        for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY):
            coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
            candidates.append(("deflate", coder.compress(data) + coder.flush()))
        candidates.append(
            ("lzma", lzma.compress(data, format=lzma.FORMAT_RAW, filters=_lzma_filters(len(data))))
        )
    codec, stored = min(candidates, key=lambda candidate: len(candidate[1]))
    return Stream(codec=codec, stored=len(stored), length=len(data)), stored


def bits_for(symbols: int) -> int:
    """Return the index width in bits of ``symbols`` different symbols: 1 for up to 2, 8 for up to 256."""
    return max(1, (symbols - 1).bit_length())


def pack_bits(indices: NDArray[np.uint8], bits: int) -> bytes:
    """Write each index in ``bits`` bits (1..8), most significant bit first, padded to a whole byte.

    Args:
        indices: (n,) uint8, each below 2**bits.
        bits: width of an index.
    """
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be 1..{MAX_BITS}, not {bits}")
    if indices.size and int(indices.max()) >> bits:
        raise ValueError(f"index {int(indices.max())} does not fit {bits} bits")
    spread = np.unpackbits(indices.reshape(-1, 1), axis=1)
    return np.packbits(spread[:, MAX_BITS - bits :]).tobytes()


def split_bytes(words: NDArray[np.unsignedinteger]) -> list[bytes]:
    """Return the byte planes of the words, lowest byte first: exponents compress, mantissas do not."""
    raw = np.ascontiguousarray(words).astype(words.dtype.newbyteorder("<"), copy=False)
    planes = raw.view(np.uint8).reshape(-1, words.dtype.itemsize)
    return [planes[:, column].tobytes() for column in range(words.dtype.itemsize)]
