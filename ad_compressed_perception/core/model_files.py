# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which files a model consists of besides the one that its manifest names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line


def further_files(path: Path) -> set[str]:
    """Return existing files that a model's file reads, relative to its folder: ONNX weights, an .xml's .bin.

    Raises:
        ModelFileError: the file names external weights but cannot be parsed.
    """
    names = {path.with_suffix(".bin").name} if path.suffix == ".xml" else set()
    if path.suffix == ".onnx" and b"\x08location" in path.read_bytes():  # the key of external data
        import onnx

        try:
            names |= set(external_data(onnx.load(str(path), load_external_data=False)))
        except Exception as error:  # protobuf's own errors share no public base
            raise ModelFileError(f"not an ONNX file, or damaged: {path} ({one_line(error)})") from error
    return {name for name in names if (path.parent / name).is_file()}


def external_data(message: Any) -> Iterator[str]:
    """Yield the file name of every tensor stored outside, anywhere in an ONNX model or a part of it."""
    for field, value in message.ListFields():
        if field.name == "external_data" and message.data_location:
            yield from (entry.value for entry in value if entry.key == "location")
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from external_data(part)
