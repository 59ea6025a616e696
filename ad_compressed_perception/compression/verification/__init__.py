# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Comparison of a variant with its baseline, the verdict and the report."""
