# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lossless encodings of a tensor in a packed model file.

| kind       | stored                                                             | for                    |
|------------|--------------------------------------------------------------------|------------------------|
| `plain`    | the values' bytes, plane by plane                                  | anything               |
| `codebook` | the distinct values of each group of channels, indices of few bits | palettized, quantized  |
| `sparse`   | one bit per value: zero or not; the others by one of the above     | pruned                 |

The shortest is used. It depends on the tensor's distinct values alone and not on the passes that were
applied, so any repetition of values makes the file smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.packing.streams import (
    MAX_BITS,
    Stream,
    bits_for,
    encode,
    join_bytes,
    pack_bits,
    split_bytes,
    unpack_bits,
)

Words = NDArray[np.unsignedinteger]
"""Values as unsigned integers of the same width: all bit patterns, -0.0 and NaN included, are kept."""
Take = Callable[[Stream], bytes]
"""Reads and decodes the next stream of the file."""

_MAX_SYMBOLS = 1 << MAX_BITS
_MIN_ZERO_SHARE = 0.02
_GROUPS_TRIED = (1, 2, 4, 8, 16, 32, 64)


class PlainCode(StrictModel):
    """Values as byte planes."""

    kind: Literal["plain"] = "plain"
    count: Annotated[int, Field(ge=0)]
    planes: Annotated[list[Stream], Field(min_length=1, max_length=8)]


class CodebookCode(StrictModel):
    """Values as indices into a codebook.

    Attributes:
        group: number of consecutive values that share a codebook.
        sizes: entries of each group's codebook; a single number where all are equal.
        books: entries of all codebooks.
        half: the entries are float32 values stored as float16.
        bits: width of a bit-packed index; 8 where each has a byte.
    """

    kind: Literal["codebook"] = "codebook"
    count: Annotated[int, Field(ge=1)]
    group: Annotated[int, Field(ge=1)]
    sizes: list[Annotated[int, Field(ge=1, le=_MAX_SYMBOLS)]]
    half: bool = False
    books: PlainCode
    bits: Annotated[int, Field(ge=1, le=MAX_BITS)]
    indices: Stream


class SparseCode(StrictModel):
    """A bit mask of the nonzero values, and their encoding."""

    kind: Literal["sparse"] = "sparse"
    count: Annotated[int, Field(ge=1)]
    width: Literal[1, 2, 4, 8]
    mask: Stream
    values: Annotated[PlainCode | CodebookCode, Field(discriminator="kind")]


Code = PlainCode | CodebookCode | SparseCode
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
        books=entries_code,
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


def decode_values(code: Code, take: Take) -> Words:
    """Return the (n,) words of an encoding.

    Args:
        code: from the file's index.
        take: returns the next stream's bytes.

    Raises:
        ModelFileError: the streams do not match the encoding.
    """
    if isinstance(code, PlainCode):
        return join_bytes([take(plane) for plane in code.planes], code.count)
    if isinstance(code, CodebookCode):
        return _decode_codebook(code, take)
    mask = np.frombuffer(take(code.mask), np.uint8)
    if len(mask) != (code.count + 7) // 8:
        raise ModelFileError(f"a mask of {len(mask)} bytes does not cover {code.count} values")
    filled = np.unpackbits(mask, count=code.count).astype(bool)
    values = decode_values(code.values, take)
    if np.count_nonzero(filled) != values.size or values.dtype.itemsize != code.width:
        raise ModelFileError(f"{values.size} values for a mask of {np.count_nonzero(filled)}")
    words: Words = np.zeros(code.count, f"u{code.width}")
    words[filled] = values
    return words


def _decode_codebook(code: CodebookCode, take: Take) -> Words:
    entries = decode_values(code.books, take)
    if code.half:
        if entries.dtype.itemsize != 2:
            raise ModelFileError("a codebook of half precision does not hold two bytes a value")
        entries = entries.view(np.float16).astype(np.float32).view(np.uint32)
    data = take(code.indices)
    symbols = unpack_bits(data, code.bits, code.count)
    groups = -(-code.count // code.group)
    sizes = np.asarray(code.sizes * groups if len(code.sizes) == 1 else code.sizes, np.int64)
    if len(sizes) != groups or int(sizes.sum()) != entries.size:
        raise ModelFileError(f"codebooks of {int(sizes.sum())} entries, {entries.size} are stored")
    of_group = np.arange(code.count) // code.group
    if bool((symbols >= sizes[of_group]).any()):
        raise ModelFileError("an index points beyond its codebook")
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    words: Words = entries[firsts[of_group] + symbols]
    return words
