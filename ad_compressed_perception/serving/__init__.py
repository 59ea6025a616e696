# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which model answers a frame: loaded models, their exchange, and what takes their place; no ROS."""
