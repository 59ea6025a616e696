# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pairing and statistics of baseline and compressed results; no ROS."""
