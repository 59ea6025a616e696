# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Perception and planning tasks: preparing a model's input and decoding its output."""

from __future__ import annotations

from typing import Any

from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.tasks.base import Task, TaskSettings
from ad_compressed_perception.tasks.multi_task import HEAD_TASKS, MultiTask

__all__ = ["TASKS", "Task", "TaskSettings", "create_task"]

TASKS: dict[str, type[Task[Any]]] = {**HEAD_TASKS, MultiTask.name: MultiTask}


def create_task(manifest: Manifest) -> Task[Any]:
    """Return the task a manifest names, built for its model; raise ManifestError on a contradiction."""
    return TASKS[manifest.task](manifest)
