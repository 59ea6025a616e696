# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every report is made of: tables, texts of figures, findings, pages, and how documents are written."""
