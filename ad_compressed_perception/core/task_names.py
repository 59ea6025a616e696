# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The names of the tasks, for what must not import the tasks themselves."""

MULTI_TASK = "multi_task"
"""The task of a model with several heads: one inference a frame, and a result of each head."""

TASK_NAMES = ("detection", "segmentation", "planning", "classification", MULTI_TASK)
"""Tasks that have a node."""

DEFAULT_TASKS = ("detection", "segmentation", "planning")
"""What a launch starts where nothing is named: the tasks that a model of the package is for."""

RAW = "raw"
"""The task of a model whose outputs nothing decodes: compressed and compared, but no node publishes them."""

NO_NODE = "no node runs task raw, which has no result to publish: import it with a task and a decoder"
"""The message where a node is asked for."""
