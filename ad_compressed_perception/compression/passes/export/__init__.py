# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Passes that write another runtime's file: ExecuTorch, PyTorch, LiteRT."""
