# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a file of torch.export before torch reads it: it may hold tensors and operators, and no code.

``torch.export.load`` unpickles weights, constants and example inputs without restriction, resolves the names
of operators anywhere below the module torch, evaluates expressions of sizes, and loads libraries that a
compiler wrote. Each of these runs what a stranger's file says. A file that passes here has none of them.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line, shorten

_OPERATOR = re.compile(
    r"torch\.ops\.(?:aten|prims|quantized_decomposed|higher_order)\._?[A-Za-z]\w*(?:\.[A-Za-z]\w*)?"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|mod|neg|eq|ne|lt|le|gt|ge)"
    r"|torch\.sym_[a-z]+"
)
_SIZE = re.compile(r"(?!.*__)[\w ()+*/,-]*")
_OLD_FORMATS = ("serialized_exported_program.json", "data/weights/model.pt", "data/constants/model.pt")
_CODE = ("data/aotinductor/", "data/constants/custom_obj", "data/constants/opaque_obj")


def refuse_code(torch: Any, content: bytes, source: Any) -> None:
    """Raise ModelFileError where a .pt2 file holds more than tensors and operators.

    Args:
        torch: the imported module.
        content: the file's bytes.
        source: its path, for the error.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = _members(archive, source)
            if not any(name.startswith("models/") for name in names) or any(n in names for n in _OLD_FORMATS):
                raise ModelFileError(
                    f"{source} is not a program of torch.export, or one of a torch before 2.8: export it anew"
                )
            for short, name in names.items():
                _check_member(torch, archive, short, name, source)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(f"{source} is not a .pt2 file, or damaged: {one_line(error)}") from error


def _members(archive: zipfile.ZipFile, source: Any) -> dict[str, str]:
    """Return the members by their names below the archive's folder.

    torch finds members regardless of case, and the first of two, which may be another than is checked.
    """
    listed = archive.namelist()
    names = {name.partition("/")[2]: name for name in listed}
    roots = {name.partition("/")[0] for name in listed}
    if len({name.lower() for name in names}) != len(listed) or len(roots) > 1:
        raise ModelFileError(f"{source} holds several members of one name: it is not loaded")
    return names


def _check_member(torch: Any, archive: zipfile.ZipFile, short: str, name: str, source: Any) -> None:
    if short.startswith(_CODE):
        raise ModelFileError(f"{source} holds code or objects besides tensors ({short}): it is not loaded")
    if short.startswith("data/sample_inputs/"):
        _check_pickle(torch, archive.read(name), source, "example inputs")
    elif short.startswith(("data/weights/", "data/constants/")) and short.endswith(".json"):
        config = json.loads(archive.read(name)).get("config", {})
        pickled = [key for key, entry in config.items() if entry.get("use_pickle")]
        if pickled:
            raise ModelFileError(
                f"{source} holds a pickled weight, {shorten(pickled[0])!r}: it is not loaded"
            )
    elif short.startswith("models/"):
        for key, value in _texts(json.loads(archive.read(name))):
            allowed = _OPERATOR if key == "target" else _SIZE
            if not allowed.fullmatch(value):
                what = "operator" if key == "target" else "size"
                raise ModelFileError(f"{source} names an unknown {what} {shorten(value)!r}: it is not loaded")


def _check_pickle(torch: Any, content: bytes, source: Any, what: str) -> None:
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        raise ModelFileError(
            f"{source} holds {what} that are more than tensors: export it with a tuple of tensors as its "
            "example"
        ) from error


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Yield what a program names as operator (``target``) or as expression of sizes (``expr_str``)."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("target", "expr_str") and isinstance(part, str):
                yield key, part
            else:
                yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
