# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Road world with traffic, ego vehicle and camera, and the ground truth of every image. No ROS dependency."""
