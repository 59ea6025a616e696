# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The names of the tasks, for what must not import the tasks themselves."""

TASK_NAMES = ("detection", "segmentation", "planning", "classification")

DEFAULT_TASKS = ("detection", "segmentation", "planning")
"""What a launch starts where nothing is named: the tasks that a model of the package is for."""
