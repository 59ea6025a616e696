# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What each kind of report gives to be shown: its Markdown, its findings and the plots drawn for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.report.kit.document import write_text
from ad_compressed_perception.report.kit.findings import Finding
from ad_compressed_perception.report.kit.page import write_page


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

    def write_markdown(self, path: Path) -> Path:
        """Write the Markdown; raise DataError in one line."""
        return write_text(path, self.markdown)

    def write_page(self, path: Path, folders: Sequence[Path] = ()) -> Path:
        """Write the page with its images, by default those beside it; raise DataError in one line."""
        return write_page(path, self.body or self.markdown, self.findings, folders or (path.parent,))


RenderReport = Callable[[bytes, str, Path], Rendered]
"""Renders a document: its text, where it is from (for errors), a folder to draw plots into.

Raises DataError in one line where the document is not of its kind.
"""
