# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A road world, a car in it and its camera, with the ground truth of every image. No ROS in here."""
