# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How soon drift is alarmed, as what, and how often without a change: ``python -m benchmark.drift``."""
