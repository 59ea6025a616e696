# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering and acceleration computed from a planned trajectory by classical control; independent of ROS."""
