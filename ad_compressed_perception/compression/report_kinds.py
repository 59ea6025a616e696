# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of report.json that ``adcp report`` shows; other packages register theirs as entry points."""

from __future__ import annotations

PLUGINS = {
    "adcp-compression/1": "ad_compressed_perception.compression.verification.rerender:render_document",
    "adcp-parity/1": "ad_compressed_perception.report.parity_markdown:render_document",
    "adcp-report/1": "ad_compressed_perception.report.comparison:render_comparison",
    "adcp-search/1": "ad_compressed_perception.compression.search.search_markdown:render_document",
}
"""Schema to the function that renders such a document (report.kit.rendered.RenderReport)."""
