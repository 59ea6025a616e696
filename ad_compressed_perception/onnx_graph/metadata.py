# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metadata that this package writes into ONNX files."""

from __future__ import annotations

METADATA_KEY = "adcp.float_layers"
"""Metadata entry of the file that names the compute ops which stay in float."""
