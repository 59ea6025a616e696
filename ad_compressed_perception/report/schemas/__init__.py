# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models of the documents with results, one file a kind; their pages are made by report/schema_docs.py."""
