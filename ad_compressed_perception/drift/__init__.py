# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drift without labels: whether frames and results still are what a model was accepted on; knows no ROS."""
