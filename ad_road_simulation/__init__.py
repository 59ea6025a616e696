# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated road, its camera and its ground truth; closed-loop driving of planners on it."""
