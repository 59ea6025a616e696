# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a device's tool accepts, as data; a model checked against it, handed over, and its outputs judged."""
