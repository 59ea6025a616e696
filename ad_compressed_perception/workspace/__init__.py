# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of models and variants: storing, finding, replacing files atomically."""
