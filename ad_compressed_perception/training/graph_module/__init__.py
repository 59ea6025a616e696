# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of an ONNX graph to a torch module and back."""
