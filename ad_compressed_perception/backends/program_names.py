# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names of the inputs and outputs of a program whose format does not keep them, written beside it as JSON.

ExecuTorch and TorchScript number inputs and outputs; decoders and feeds go by name. The exports of this
package store the names inside the file: ``{"inputs": [NAME], "outputs": [NAME], "shapes": [[1, 3, ...]]}``.
A file of another origin has none, and its tensors are called ``input_0`` and ``output_0``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

MEMBER = "adcp.json"
"""Extra file of a torch program that holds the names."""
METHOD = "adcp_names"
"""Method of an ExecuTorch program that returns them."""


@dataclass(frozen=True)
class ProgramNames:
    """Names in order.

    Attributes:
        inputs, outputs: their names.
        shapes: of the inputs; empty where unknown.
        dtypes: numpy names of the inputs' types; empty where unknown.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return them as JSON."""
        return json.dumps(asdict(self))


def read_names(text: str | bytes | None) -> ProgramNames | None:
    """Return the names that a file holds, or None where it has none or others.

    Raises:
        ValueError: they are damaged.
    """
    if not text:
        return None
    found = json.loads(text)
    try:
        names = ProgramNames(
            tuple(map(str, found["inputs"])),
            tuple(map(str, found["outputs"])),
            tuple(tuple(map(int, shape)) for shape in found["shapes"]),
            tuple(map(str, found["dtypes"])),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the names of inputs and outputs are damaged ({error})") from error
    for listed in (names.inputs, names.outputs):
        if len(set(listed)) != len(listed):
            raise ValueError("two inputs or two outputs have one name")
    return names


def numbered(kind: str, count: int, known: Sequence[str] | None) -> tuple[str, ...]:
    """Return the known names, or ``kind_0`` and so on; raise ValueError where the known ones are too few."""
    if known is None:
        return tuple(f"{kind}_{place}" for place in range(count))
    if len(known) != count:
        raise ValueError(f"the program has {count} {kind}s, and names of {len(known)}")
    return tuple(known)
