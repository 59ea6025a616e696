# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A line of JSON for each injected fault, read by campaigns in other processes, too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time_ns
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError


@dataclass(frozen=True)
class Injection:
    """A fault that was injected.

    Attributes:
        number: of the inference.
        kind: of the fault.
        time_ns: wall time before the fault's effect.
        digest: of the model's input, by which the frame is found; see digest_of.
        process: its id.
    """

    number: int
    kind: str
    time_ns: int
    digest: int
    process: int


def digest_of(feeds: Mapping[str, NDArray[Any]]) -> int:
    """Return the CRC-32 of a model's inputs, in the order of their names."""
    digest = 0
    for name in sorted(feeds):
        digest = crc32(np.ascontiguousarray(feeds[name]).data, digest)
    return digest


def record(path: Path | None, number: int, kind: str, feeds: Mapping[str, NDArray[Any]]) -> Injection:
    """Return an injection of this moment and append it to the file, before its effect stops the process."""
    injection = Injection(number, kind, time_ns(), digest_of(feeds), os.getpid())
    if path is not None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(injection)) + "\n")
    return injection


def read_log(path: Path, offset: int = 0) -> Iterator[Injection]:
    """Yield the injections of a file from a byte offset on; none where there is no file.

    Raises:
        DataError: a line is no injection.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as stream:
        stream.seek(offset)
        for line in stream:
            try:
                yield Injection(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}: {line[:80]!r} is no injected fault") from error
