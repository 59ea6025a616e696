# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Knowledge distillation: training against the outputs of a teacher."""
