# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Old names of keys, passes and recipes: accepted for one version, each with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any


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
