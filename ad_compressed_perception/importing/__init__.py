# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Imports models of other frameworks into a model folder: one file and its manifest."""
