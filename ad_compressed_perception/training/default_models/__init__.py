# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the default models: tasks, losses, augmentation, teachers and the training loop."""
