# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the files shipped with the package: in the checkout, or in the share folder of an installation."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = "ad_compressed_perception"


def config_folder(name: str) -> Path | None:
    """Return the shipped folder ``config/name``, or None where the package came without it."""
    return _shipped(f"config/{name}")


def models_folder() -> Path | None:
    """Return the folder of the default models, or None where the package came without them."""
    return _shipped("models")


def _shipped(relative: str) -> Path | None:
    """Return a shipped folder.

    Looks beside the package (a checkout), then into ``share/`` of every folder above it (a colcon
    workspace, a virtual environment, a system) and of the interpreter.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = [package.parent / relative]
    candidates += [prefix / "share" / _PACKAGE / relative for prefix in (*package.parents, Path(sys.prefix))]
    return next((folder for folder in candidates if folder.is_dir()), None)
