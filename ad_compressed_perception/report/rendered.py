# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What each kind of report gives to be shown: its Markdown, its findings and the plots drawn for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.report.findings import Finding


@dataclass(frozen=True)
class Rendered:
    """A report as it is shown.

    Attributes:
        markdown: GitHub-flavored, its title first.
        findings: verdicts and alarms, the worst first.
        plots: names of the images that were drawn from the document.
        body: Markdown without what the findings say already; None where that is the same.
    """

    markdown: str
    findings: list[Finding]
    plots: tuple[str, ...] = ()
    body: str | None = None


RenderReport = Callable[[bytes, str, Path], Rendered]
"""Renders a document: its text, where it is from (for errors), a folder to draw plots into.

Raises DataError in one line where the document is not of its kind.
"""
