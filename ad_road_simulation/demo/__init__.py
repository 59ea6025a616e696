# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""make demo: the complete demo, with the built-in road camera or with a recorded drive."""
