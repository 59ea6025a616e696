# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the guard costs, how often it is wrong on normal drives, and which wrong results it finds."""
