# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Injects faults into a real node frame by frame and accounts for every frame's result."""
