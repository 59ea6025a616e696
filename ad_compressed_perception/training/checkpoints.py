# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs that a pass in steps has finished, kept so that an interrupted run goes on after the last one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto


def store_step(path: Path, model: ModelProto, facts: dict[str, Any]) -> None:
    """Write a finished step: its graph, then what is to be told of it, which vouches for the graph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    write_json(path.with_suffix(".json"), facts)


def stored_step(path: Path) -> tuple[ModelProto, dict[str, Any]] | None:
    """Return a finished step's graph and facts; None where there is no such step."""
    facts = path.with_suffix(".json")
    if not facts.is_file():
        return None
    return onnx.load(str(path)), dict(json.loads(facts.read_text(encoding="utf-8")))


def write_json(path: Path, values: Any) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(values), encoding="utf-8")
    part.replace(path)
