# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which of a model's outputs a decoder reads: by name, else by shape where one alone fits."""

from __future__ import annotations

from collections.abc import Sequence

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.tensors import TensorSpec

Pattern = tuple[int | None, ...]
"""Sizes that the axes of an output must have; None for any size."""


def fits(shape: tuple[int | None, ...], pattern: Pattern) -> bool:
    """Return whether a shape, None where it is dynamic, can have the sizes of a pattern."""
    return len(shape) == len(pattern) and all(
        size is None or wanted is None or size == wanted for size, wanted in zip(shape, pattern, strict=True)
    )


def find_fitting(
    outputs: Sequence[TensorSpec],
    name: str | None,
    patterns: Sequence[Pattern],
    *,
    model: str,
    needs: str,
    option: str = "output",
) -> TensorSpec:
    """Return the output called ``name``, or the only one whose shape fits a pattern.

    Where several fit, those that fit by fixed sizes come before those that fit because an axis is dynamic.

    Args:
        outputs: of the file, in any order.
        name: as the manifest's options give it; None: by shape.
        patterns: the shapes that the decoder can read.
        model: its name, for messages.
        needs: decoder and what it reads, such as ``decoder yolo with 3 labels needs (1, 7, N)``.
        option: the option that names this output, for messages.

    Raises:
        ModelFileError: no output fits, several do, or it does not hold real numbers; the message names
            those that the file has.
    """
    has = ", ".join(f"{one.name!r} {_sizes(one)}" for one in outputs) or "no output"
    named = [one for one in outputs if one.name == name]
    if name is not None and not named:
        raise ModelFileError(f"model {model!r}: {option} {name!r} is not among the file's {has}")
    fitting = [one for one in (named or outputs) if any(fits(one.shape, each) for each in patterns)]
    certain = [one for one in fitting if any(_fits_surely(one.shape, each) for each in patterns)]
    chosen = certain or fitting
    if not chosen:
        raise ModelFileError(f"model {model!r}: {needs}; the file has {has}")
    real = [one for one in chosen if one.dtype.startswith("float")]
    if not real:
        kinds = ", ".join(f"{one.name!r} {one.dtype}" for one in chosen)
        raise ModelFileError(
            f"model {model!r}: {needs} as real numbers, not {kinds}: export it with dequantized outputs"
        )
    if len(real) > 1:
        raise ModelFileError(
            f"model {model!r}: {needs}, which {', '.join(repr(one.name) for one in real)} fit; name one with "
            f"the decoder option {option}"
        )
    return real[0]


def _fits_surely(shape: tuple[int | None, ...], pattern: Pattern) -> bool:
    # A dynamic batch says nothing about what an output holds.
    return fits(shape, pattern) and all(
        size is not None or wanted is None for size, wanted in zip(shape[1:], pattern[1:], strict=True)
    )


def _sizes(tensor: TensorSpec) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in tensor.shape) + "]"
