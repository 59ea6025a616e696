# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shortest lossless encoding of a tensor."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ad_compressed_perception.packing.stream_writer import bits_for, encode, pack_bits, split_bytes
from ad_compressed_perception.packing.streams import MAX_BITS
from ad_compressed_perception.packing.tensors import (
    _MAX_SYMBOLS,
    Code,
    CodebookCode,
    PlainCode,
    SparseCode,
    Words,
)

_MIN_ZERO_SHARE = 0.02


_GROUPS_TRIED = (1, 2, 4, 8, 16, 32, 64)


Coded = tuple[Code, list[bytes]]


def encode_values(words: Words, channels: int = 1, is_float32: bool = False) -> Coded:
    """Return the shortest encoding of the values, and the bytes of its streams in order.

    Args:
        words: (n,) uint8, uint16, uint32 or uint64.
        channels: length of the tensor's first axis, along which codebooks may differ.
        is_float32: the words are float32, whose codebooks may fit float16.
    """
    candidates: list[Coded] = [_plain(words)]
    if words.size:
        candidates += _codebooks(words, channels, is_float32)
        zeros = 1.0 - np.count_nonzero(words) / words.size
        if zeros >= _MIN_ZERO_SHARE:
            candidates.append(_sparse(words, is_float32))
    return min(candidates, key=_bytes_of)


def _bytes_of(coded: Coded) -> int:
    code, streams = coded
    # The entry in the file's index counts too, roughly this after compression.
    return sum(map(len, streams)) + 12 * len(streams) + (len(code.sizes) if code.kind == "codebook" else 0)


def _plain(words: Words) -> tuple[PlainCode, list[bytes]]:
    coded = [encode(plane) for plane in split_bytes(words)]
    return PlainCode(count=words.size, planes=[stream for stream, _ in coded]), [data for _, data in coded]


def _codebooks(words: Words, channels: int, is_float32: bool) -> list[tuple[CodebookCode, list[bytes]]]:
    """Encode with the group size of the smallest estimate: all values, or fewer and fewer channels."""
    row = words.size // channels if channels > 1 and words.size % channels == 0 else words.size
    smaller = (count * row for count in sorted(_GROUPS_TRIED, reverse=True) if count * row < words.size)
    best, best_bytes = 0, float("inf")
    for group in (words.size, *smaller):
        estimated = _estimated_bytes(words, group)
        if estimated < best_bytes:
            best, best_bytes = group, estimated
        elif best:
            # From here on codebooks grow and indices hardly shrink.
            break
    return [_codebook(words, best, is_float32)] if best else []


def _estimated_bytes(words: Words, group: int) -> float:
    """Return the bytes of codebooks and indices before coding; infinite where a group has too many values."""
    estimated = 0.0
    for start in range(0, words.size, group):
        run = words[start : start + group]
        # Checking the first values avoids sorting groups with too many distinct values.
        if len(np.unique(run[: 4 * _MAX_SYMBOLS])) > _MAX_SYMBOLS:
            return float("inf")
        distinct = len(np.unique(run))
        if distinct > _MAX_SYMBOLS:
            return float("inf")
        estimated += distinct * words.dtype.itemsize + run.size * np.log2(max(distinct, 2)) / 8
    return estimated


def _codebook(words: Words, group: int, is_float32: bool) -> tuple[CodebookCode, list[bytes]]:
    codebooks, indices = [], []
    for start in range(0, words.size, group):
        codebook, inverse = np.unique(words[start : start + group], return_inverse=True)
        codebooks.append(codebook)
        indices.append(inverse.reshape(-1).astype(np.uint8))
    sizes = [len(codebook) for codebook in codebooks]
    entries, symbols = np.concatenate(codebooks), np.concatenate(indices)
    half = is_float32 and _fits_half(entries)
    if half:
        entries = entries.view(np.float32).astype(np.float16).view(np.uint16)
    entries_code, streams = _plain(entries)
    narrow = bits_for(max(sizes))
    # One byte per index suits repetitions and large alphabets, packed bits suit flat distributions.
    wide = (MAX_BITS, *encode(symbols.tobytes()))
    tight = (narrow, *encode(pack_bits(symbols, narrow)))
    bits, stream, data = min(wide, tight, key=lambda option: len(option[2]))
    code = CodebookCode(
        count=words.size,
        group=group,
        sizes=sizes[:1] if len(set(sizes)) == 1 else sizes,
        half=half,
        entries=entries_code,
        bits=bits,
        indices=stream,
    )
    return code, [*streams, data]


def _fits_half(entries: Words) -> bool:
    values = entries.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        back = values.astype(np.float16).astype(np.float32)
    return bool(np.array_equal(back.view(np.uint32), entries))


def _sparse(words: Words, is_float32: bool) -> tuple[SparseCode, list[bytes]]:
    filled = words != 0
    mask, data = encode(np.packbits(filled).tobytes())
    values, streams = encode_values(words[filled], 1, is_float32)
    assert not isinstance(values, SparseCode)  # no zeros are left
    width: Literal[1, 2, 4, 8] = words.dtype.itemsize  # type: ignore[assignment]
    return SparseCode(count=words.size, width=width, mask=mask, values=values), [data, *streams]
