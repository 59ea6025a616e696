# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hardware-aware search: recipes measured on this host, the best one within a budget."""
