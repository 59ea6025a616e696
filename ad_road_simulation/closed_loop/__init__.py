# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planners at the wheel: routes driven in closed loop, compared pair by pair. No ROS in here."""
