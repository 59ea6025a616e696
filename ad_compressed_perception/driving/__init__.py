# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a planned trajectory to steering and acceleration, by classical rules. No ROS in here."""
