# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training the default models: the road camera's ground truth, real frames, teachers, losses, one loop."""
