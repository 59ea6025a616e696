# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Closed-loop evaluation of planners: variants drive the same routes and are compared; independent of ROS."""
