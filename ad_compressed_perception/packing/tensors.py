# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a tensor is written into a packed model file, always so that every bit comes back.

| kind       | written                                                            | for                    |
|------------|--------------------------------------------------------------------|------------------------|
| `plain`    | the values' bytes, plane by plane                                  | anything               |
| `codebook` | the distinct values of each group of channels, indices of few bits | palettized, quantized  |
| `sparse`   | one bit a value: zero or not; the others by one of the above       | pruned                 |

The shortest is taken. Nothing is told by the passes: how many values are distinct is seen from the
tensor, so whatever makes weights alike makes the file small.
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
"""Values as unsigned integers of the same width: -0.0, NaN and all else keep their bits."""
Take = Callable[[Stream], bytes]
"""Reads and decodes the next stream of the file."""

_MOST_SYMBOLS = 1 << MAX_BITS
_WORTH_A_MASK = 0.02
_GROUPS_TRIED = (1, 2, 4, 8, 16, 32, 64)


class PlainCode(StrictModel):
    """Values by their bytes."""

    kind: Literal["plain"] = "plain"
    count: Annotated[int, Field(ge=0)]
    planes: Annotated[list[Stream], Field(min_length=1, max_length=8)]


class CodebookCode(StrictModel):
    """Values by their place in a codebook.

    Attributes:
        group: values that share a codebook, one such run after the other.
        sizes: entries of each group's codebook; a single number where all have as many.
        half: the entries are kept as float16 and are float32 values.
        bits: width of an index where they are packed into bits; 8 where each has a byte.
    """

    kind: Literal["codebook"] = "codebook"
    count: Annotated[int, Field(ge=1)]
    group: Annotated[int, Field(ge=1)]
    sizes: list[Annotated[int, Field(ge=1, le=_MOST_SYMBOLS)]]
    half: bool = False
    books: PlainCode
    bits: Annotated[int, Field(ge=1, le=MAX_BITS)]
    indices: Stream


class SparseCode(StrictModel):
    """Zeros by a bit each."""

    kind: Literal["sparse"] = "sparse"
    count: Annotated[int, Field(ge=1)]
    width: Literal[1, 2, 4, 8]
    mask: Stream
    values: Annotated[PlainCode | CodebookCode, Field(discriminator="kind")]


Code = PlainCode | CodebookCode | SparseCode
Coded = tuple[Code, list[bytes]]


def encode_values(words: Words, channels: int = 1, is_float32: bool = False) -> Coded:
    """Return the shortest way to write values, and the bytes of its streams in their order.

    Args:
        words: (n,) uint8, uint16, uint32 or uint64.
        channels: length of the tensor's first axis, along which codebooks may differ.
        is_float32: the words are float32, whose codebooks may do with half the bits.
    """
    candidates: list[Coded] = [_plain(words)]
    if words.size:
        candidates += _codebooks(words, channels, is_float32)
        zeros = 1.0 - np.count_nonzero(words) / words.size
        if zeros >= _WORTH_A_MASK:
            candidates.append(_sparse(words, is_float32))
    return min(candidates, key=_bytes_of)


def _bytes_of(coded: Coded) -> int:
    code, streams = coded
    # The entry in the file's index costs too, roughly this after compression.
    return sum(map(len, streams)) + 12 * len(streams) + (len(code.sizes) if code.kind == "codebook" else 0)


def _plain(words: Words) -> tuple[PlainCode, list[bytes]]:
    coded = [encode(plane) for plane in split_bytes(words)]
    return PlainCode(count=words.size, planes=[stream for stream, _ in coded]), [data for _, data in coded]


def _codebooks(words: Words, channels: int, is_float32: bool) -> list[tuple[CodebookCode, list[bytes]]]:
    """Code with the codebooks that promise most, of all values or of ever fewer channels each."""
    row = words.size // channels if channels > 1 and words.size % channels == 0 else words.size
    smaller = (count * row for count in sorted(_GROUPS_TRIED, reverse=True) if count * row < words.size)
    best, best_bytes = 0, float("inf")
    for group in (words.size, *smaller):
        promised = _promised_bytes(words, group)
        if promised < best_bytes:
            best, best_bytes = group, promised
        elif best:
            # Codebooks multiply from here on, their indices hardly shrink.
            break
    return [_codebook(words, best, is_float32)] if best else []


def _promised_bytes(words: Words, group: int) -> float:
    """Return the bytes of codebooks and indices before coding; infinite where a group is too diverse."""
    promised = 0.0
    for start in range(0, words.size, group):
        run = words[start : start + group]
        # A glance at the first values spares the sort of what is plainly diverse.
        if len(np.unique(run[: 4 * _MOST_SYMBOLS])) > _MOST_SYMBOLS:
            return float("inf")
        distinct = len(np.unique(run))
        if distinct > _MOST_SYMBOLS:
            return float("inf")
        promised += distinct * words.dtype.itemsize + run.size * np.log2(max(distinct, 2)) / 8
    return promised


def _codebook(words: Words, group: int, is_float32: bool) -> tuple[CodebookCode, list[bytes]]:
    books, indices = [], []
    for start in range(0, words.size, group):
        book, inverse = np.unique(words[start : start + group], return_inverse=True)
        books.append(book)
        indices.append(inverse.reshape(-1).astype(np.uint8))
    sizes = [len(book) for book in books]
    entries, symbols = np.concatenate(books), np.concatenate(indices)
    half = is_float32 and _fits_half(entries)
    if half:
        entries = entries.view(np.float32).astype(np.float16).view(np.uint16)
    books_code, streams = _plain(entries)
    narrow = bits_for(max(sizes))
    # A byte an index suits repetitions and large alphabets, packed bits suit flat distributions.
    wide = (MAX_BITS, *encode(symbols.tobytes()))
    tight = (narrow, *encode(pack_bits(symbols, narrow)))
    bits, stream, data = min(wide, tight, key=lambda option: len(option[2]))
    code = CodebookCode(
        count=words.size,
        group=group,
        sizes=sizes[:1] if len(set(sizes)) == 1 else sizes,
        half=half,
        books=books_code,
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
    """Return the (n,) words a code stands for.

    Args:
        code: from the file's index.
        take: gives the next stream's bytes.

    Raises:
        ModelFileError: the streams do not hold what the code says.
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
