# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compress camera perception models and compare them, live, with their baselines."""

from ad_compressed_perception.core import old_paths

__version__ = "0.1.0"

old_paths.install()
