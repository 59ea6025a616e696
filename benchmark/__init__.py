# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements; a package, so that no installed module of this name is taken instead."""
