# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Old names of keys, passes and recipes: accepted for one version, each with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

ClassT = TypeVar("ClassT")


class RenamedWarning(FutureWarning):
    """An old name that the next version will refuse; the text gives the new one."""


def warn_renamed(kind: str, old: str, new: str) -> None:
    """Warn that ``old`` is now called ``new``.

    Args:
        kind: what has the name, such as "key" or "pass".
        old: the name that was given.
        new: its present name.
    """
    warnings.warn(
        f"{kind} {old!r} is now called {new!r}; the old name is accepted in this version only",
        RenamedWarning,
        stacklevel=3,
    )


def replace_old_keys(data: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return ``data`` with old keys replaced by their present names.

    Args:
        data: a document's mapping.
        renamed: old key to present key.

    Raises:
        ValueError: a key is given under both names; the line names them.
    """
    present = dict(data)
    for old, new in renamed.items():
        if old not in present:
            continue
        if new in present:
            raise ValueError(f"both {new!r} and its old name {old!r} are given: keep {new!r}")
        warn_renamed("key", old, new)
        present = {new if key == old else key: value for key, value in present.items()}
    return present


def accept_old_attributes(**renamed: str) -> Callable[[type[ClassT]], type[ClassT]]:
    """Return a class decorator: old names of attributes are read, and taken as keyword arguments.

    Args:
        renamed: old name = present name.
    """

    def decorate(cls: type[ClassT]) -> type[ClassT]:
        present_init = cls.__init__

        @wraps(present_init)
        def init(self: ClassT, *args: Any, **kwargs: Any) -> None:
            present_init(self, *args, **replace_old_keys(kwargs, renamed))

        cls.__init__ = init  # type: ignore[method-assign, assignment]
        for old, new in renamed.items():
            setattr(cls, old, _old_attribute(cls, old, new))
        return cls

    return decorate


def _old_attribute(cls: type, old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warn_renamed(f"attribute of {cls.__name__}", old, new)
        return getattr(self, new)

    return property(read, doc=f"Old name of ``{new}``.")
