# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shows a report of adcp-report/1, of a replay or of a live comparison."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.report.findings import report_findings
from ad_compressed_perception.report.kit.rendered import Rendered
from ad_compressed_perception.report.markdown import render_markdown
from ad_compressed_perception.report.schemas.comparison import Report


def render_comparison(text: bytes, where: str, folder: Path) -> Rendered:
    """Render a replay's or a live comparison's report; it holds no single frames, so no plot is drawn."""
    return rendered_comparison(Report.parse(text, where))


def rendered_comparison(report: Report) -> Rendered:
    """Return what is shown of a replay or a live comparison."""
    return Rendered(render_markdown(report), report_findings(report))
