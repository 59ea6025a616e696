# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Injects faults of a model on request: a backend around a real runtime; independent of ROS."""
