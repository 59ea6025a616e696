# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From an fp32 model to a smaller one, with a verdict."""
