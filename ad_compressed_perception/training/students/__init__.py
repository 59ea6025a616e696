# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks that run fast in int8 and bfloat16, built as ONNX graphs with fresh weights."""
