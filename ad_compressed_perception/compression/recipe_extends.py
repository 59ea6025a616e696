# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes that extend another one: ``extends: BASE``, and what is different.

* ``with`` sets options of the base's passes, by pass: ``with: {quantize_int8: {calibration: mse}}``; null
  takes an option out, so that it has its default; of a pass that occurs several times one is named by its
  number, ``palettize#2``;
* ``append`` adds passes after the base's, ``passes`` replaces them all;
* mappings (``calibration``, ``verify``, ``options``, ``accept``, ...) are merged key by key, and null takes a
  key out; any other value replaces the base's, and null the base's with the default.

Schema, name and description are never taken from the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ad_compressed_perception.compression.passes import RENAMED
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.one_line import shorten

EXTENDING = ("extends", "with", "append")
"""Keys of a recipe file that the complete recipe no longer has."""
_MOST_FILES = 20
_OWN = ("schema", "name", "description")

Document = dict[str, Any]


def require_no_circle(path: Path, chain: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files from the first recipe down to ``path``.

    Raises:
        RecipeError: it is among them already, or there are too many.
    """
    files = (*chain, path.resolve())
    if len(files) > _MOST_FILES:
        raise RecipeError(f"recipe {files[0]}: extends goes over more than {_MOST_FILES} files")
    if files[-1] in files[:-1]:
        circle = " -> ".join(file.name for file in files[files.index(files[-1]) :])
        raise RecipeError(f"recipe {files[-2]}: extends runs in a circle: {circle}; one must stand alone")
    return files


def extended(own: Mapping[str, Any], base: Mapping[str, Any]) -> Document:
    """Return the complete recipe of a file that extends a base.

    Args:
        own: the file's content.
        base: the complete recipe of the base; each of its passes is a mapping of one name to its options.

    Raises:
        ValueError: ``with`` names a pass that the base does not have, both ``passes`` and a change of the
            base's are given, or one of them has the wrong form; one line.
    """
    complete = {key: value for key, value in base.items() if key not in _OWN}
    for key, value in own.items():
        if key in EXTENDING:
            continue
        present = complete.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            complete[key] = _merged(present, value)
        else:
            complete[key] = value
    complete["passes"] = _passes(own, base["passes"])
    document = {key: value for key, value in complete.items() if value is not None}
    return {key: document[key] for key in sorted(document, key=lambda key: key not in _OWN)}


def differences(own: Mapping[str, Any]) -> str:
    """Return what a file says itself, as text: ``with quantize_int8, append distill, accept.max_drop``."""
    found = []
    for key, value in own.items():
        if key in (*_OWN, "extends"):
            continue
        names = [str(one) if isinstance(one, str) else str(next(iter(one))) for one in value] if value else []
        if key in ("with", "append"):
            found.append(f"{key} {' and '.join(names)}")
        else:
            found += [f"{key}.{name}" for name in names] if isinstance(value, Mapping) else [key]
    return ", ".join(found) or "its name"


def _passes(own: Mapping[str, Any], base: Sequence[Mapping[str, Any]]) -> Any:
    changes = {} if own.get("with") is None else own["with"]
    appended = [] if own.get("append") is None else own["append"]
    if "passes" in own:
        if changes or appended:
            raise ValueError("give either passes, which replaces the base's, or with and append")
        return own["passes"]
    if not isinstance(appended, list):
        raise ValueError(f"append: must be a list of passes, not {shorten(repr(appended))}")
    if not isinstance(changes, Mapping) or not all(isinstance(one, Mapping) for one in changes.values()):
        raise ValueError(f"with: must give options by pass, not {shorten(repr(changes))}")
    # Base and changes may name a pass differently, one of them by its old name.
    present = {_present(name): options for name, options in changes.items()}
    if len(present) < len(changes):
        raise ValueError("with: a pass is given under its present and its old name: keep the present one")
    steps = [pair for step in base for pair in step.items()]
    names = [_present(name) for name, _ in steps]
    keys = [
        name if names.count(name) == 1 else f"{name}#{names[: index + 1].count(name)}"
        for index, name in enumerate(names)
    ]
    for name in changes:
        if _present(name) in names and _present(name) not in keys:
            times = names.count(_present(name))
            raise ValueError(f"with: the base has {name} {times} times: name one of them as {name}#1, ...")
        if _present(name) not in keys:
            shown = ", ".join(keys)
            raise ValueError(f"with: the base has no pass {shorten(repr(name))}; it has {shown}")
    kept = [
        {name: _merged(options, present.get(key, {}))}
        for (name, options), key in zip(steps, keys, strict=True)
    ]
    return [*kept, *appended]


def _present(name: Any) -> str:
    """Return the present name of a pass, which may have the number of an occurrence behind it."""
    plain, mark, number = str(name).partition("#")
    return RENAMED.get(plain, plain) + mark + number


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> Document:
    return {key: value for key, value in {**base, **own}.items() if value is not None}
