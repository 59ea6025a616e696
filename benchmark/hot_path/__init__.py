# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Times a camera frame through the nodes and without them: ``python -m benchmark.hot_path``."""
