# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the arguments of setup.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def read_setup_arguments() -> dict[str, Any]:
    """Return the arguments that setup.py passes to setuptools, without running a command."""
    import setuptools

    captured: dict[str, Any] = {}
    original = setuptools.setup
    path = list(sys.path)
    setuptools.setup = captured.update
    try:
        spec = importlib.util.spec_from_file_location("_setup", REPOSITORY / "setup.py")
        assert spec is not None
        assert spec.loader is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(REPOSITORY)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
    finally:
        setuptools.setup = original
        sys.path[:] = path
    return captured
