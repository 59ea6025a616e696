# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training passes: an ONNX graph as a torch module, distilled from the fp32 graph."""
