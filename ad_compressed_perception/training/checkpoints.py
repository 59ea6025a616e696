# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs of the finished steps of a multi-step pass, stored so that an interrupted run can resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from ad_compressed_perception.workspace.atomic_file import write_file


def store_step(path: Path, model: ModelProto, facts: dict[str, Any]) -> None:
    """Write a finished step: its graph, then its facts; the facts file marks the step as complete."""
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
    """Write a JSON file atomically."""
    write_file(path, json.dumps(values))
