# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which of a model's outputs a decoder reads: by name, else by shape where one alone fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.tensors import TensorSpec

Pattern = tuple[int | None, ...]
"""Sizes that the axes of an output must have; None for any size."""


def _as_names(value: Any) -> Any:
    """Return names as a list: one name stands for itself, and YAML reads the name 86 as a number."""
    listed = value if isinstance(value, list) or value is None else [value]
    return listed and [str(one) if type(one) is int else one for one in listed]


Names = Annotated[list[str] | None, BeforeValidator(_as_names)]
"""An option that names one output or several: a text or a list of texts."""


def fits(shape: tuple[int | None, ...], pattern: Pattern) -> bool:
    """Return whether a shape, None where it is dynamic, can have the sizes of a pattern."""
    return len(shape) == len(pattern) and all(
        size is None or expected is None or size == expected
        for size, expected in zip(shape, pattern, strict=True)
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


def find_all(
    outputs: Sequence[TensorSpec],
    names: Sequence[str] | None,
    patterns: Sequence[Pattern],
    *,
    model: str,
    needs: str,
    option: str = "output",
) -> tuple[TensorSpec, ...]:
    """Return the outputs called ``names``, or all of different shapes that fit a pattern: one a scale.

    Arguments and errors are those of ``find_fitting``; two outputs of one shape need their names.
    """
    if names is None:
        fitting = [one for one in outputs if any(_fits_surely(one.shape, each) for each in patterns)]
        shapes = {one.shape for one in fitting if None not in one.shape[1:]}
        if len(fitting) < 2 or len(shapes) < len(fitting):
            return (find_fitting(outputs, None, patterns, model=model, needs=needs, option=option),)
        names = [one.name for one in fitting]
    return tuple(
        find_fitting(outputs, name, patterns, model=model, needs=needs, option=option) for name in names
    )


def find_each(
    outputs: Sequence[TensorSpec],
    names: Sequence[str] | None,
    patterns: Sequence[Sequence[Pattern]],
    *,
    model: str,
    needs: str,
    option: str = "output",
) -> tuple[TensorSpec, ...]:
    """Return an output for each list of patterns, such as one a stride, in their order.

    Arguments and errors are those of ``find_fitting``; ``names`` are in the order of the lists.
    """
    if names is not None and len(names) != len(patterns):
        raise ModelFileError(
            f"model {model!r}: {needs}: {option} names {len(names)} outputs instead of {len(patterns)}"
        )
    chosen: list[str | None] = [None] * len(patterns) if names is None else list(names)
    return tuple(
        find_fitting(outputs, name, each, model=model, needs=needs, option=option)
        for name, each in zip(chosen, patterns, strict=True)
    )


def _fits_surely(shape: tuple[int | None, ...], pattern: Pattern) -> bool:
    # A dynamic batch says nothing about what an output holds.
    return fits(shape, pattern) and all(
        size is not None or expected is None for size, expected in zip(shape[1:], pattern[1:], strict=True)
    )


def _sizes(tensor: TensorSpec) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in tensor.shape) + "]"
