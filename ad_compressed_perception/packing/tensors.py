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
from pydantic import ConfigDict, Field

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.packing.streams import MAX_BITS, Stream, join_bytes, unpack_bits

Words = NDArray[np.unsignedinteger]
"""Values as unsigned integers of the same width: all bit patterns, -0.0 and NaN included, are kept."""
Take = Callable[[Stream], bytes]
"""Reads and decodes the next stream of the file."""

_MAX_SYMBOLS = 1 << MAX_BITS


# The key in the file's index.
_RENAMED_ENTRIES = "books"


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
        entries: of all codebooks.
        half: the entries are float32 values stored as float16.
        bits: width of a bit-packed index; 8 where each has a byte.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, populate_by_name=True)

    kind: Literal["codebook"] = "codebook"
    count: Annotated[int, Field(ge=1)]
    group: Annotated[int, Field(ge=1)]
    sizes: list[Annotated[int, Field(ge=1, le=_MAX_SYMBOLS)]]
    half: bool = False
    entries: Annotated[PlainCode, Field(alias=_RENAMED_ENTRIES)]
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
    entries = decode_values(code.entries, take)
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
