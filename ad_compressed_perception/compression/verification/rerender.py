# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Renders reports again: plots, Markdown and HTML from the document alone."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from ad_compressed_perception.analysis.plots.compression_plots import write_compression_plots
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.core.registry import REPORTS, find, names
from ad_compressed_perception.report.compression_markdown import (
    compression_body,
    compression_findings,
    render_compression,
)
from ad_compressed_perception.report.kit.document import read_bytes
from ad_compressed_perception.report.kit.page import HTML_NAME
from ad_compressed_perception.report.kit.rendered import Rendered, RenderReport
from ad_compressed_perception.report.schemas.compression import CompressionReport
from ad_compressed_perception.workspace.temporary import scratch_folder

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"
SEARCH_JSON = "search.json"


def render_into(report: CompressionReport, folder: Path) -> CompressionReport:
    """Write report.json, report.md, report.html and the plots; return the report with its files named.

    Raises:
        DataError: a file cannot be written; one line.
        OSError: a plot cannot be written.
    """
    plots = write_compression_plots(report, folder)
    images = [one.file for one in report.worst_frames]
    whole = report.model_copy(update={"files": [MARKDOWN_NAME, HTML_NAME, *plots, *images]})
    rendered = _rendered(whole)
    rendered.write_markdown(folder / MARKDOWN_NAME)
    rendered.write_page(folder / HTML_NAME)
    whole.write(folder / JSON_NAME)
    return whole


def render_document(text: bytes, where: str, folder: Path) -> Rendered:
    """Render a compression's report.json; its plots are drawn into ``folder``."""
    report = CompressionReport.parse(text, where)
    return _rendered(report, tuple(write_compression_plots(report, folder)))


def _rendered(report: CompressionReport, plots: tuple[str, ...] = ()) -> Rendered:
    return Rendered(render_compression(report), compression_findings(report), plots, compression_body(report))


def render_again(path: Path, html: Path | None = None) -> list[Path]:
    """Write a report's Markdown and HTML, and a compression's plots, anew from its document.

    They are written beside the document and named like it: live.json gives live.md and live.html. Each file
    is replaced whole. Images of frames are embedded where they still lie beside it; the others are named.

    Args:
        path: report.json of any kind, search.json, or the folder that holds it.
        html: write this HTML file and nothing else.

    Returns:
        The files written.

    Raises:
        DataError: no report there, or one of an unknown format; one line.
        OSError: a plot cannot be written.
    """
    file = _document_in(path) if path.is_dir() else path
    text = read_bytes(file)
    if file.suffix in (".html", ".md"):
        raise DataError(f"{file} would be replaced by its own page: call the document .json")
    render: RenderReport = find(REPORTS, _kind_of(text, file), DataError)
    if html is not None:
        with tempfile.TemporaryDirectory(prefix="adcp-report-") as scratch:
            rendered = render(text, str(file), Path(scratch))
            return [rendered.write_page(html, (Path(scratch), file.parent))]
    folder = file.parent
    with scratch_folder(folder, ".report-") as made:
        rendered = render(text, str(file), made)
        names = [*rendered.plots, f"{file.stem}.md", f"{file.stem}.html"]
        rendered.write_markdown(made / names[-2])
        rendered.write_page(made / names[-1], (made, folder))
        for name in names:
            os.replace(made / name, folder / name)
    return [folder / name for name in names]


def _document_in(folder: Path) -> Path:
    found = [folder / name for name in (JSON_NAME, SEARCH_JSON) if (folder / name).is_file()]
    return found[0] if found else folder / JSON_NAME


def _kind_of(text: bytes, file: Path) -> str:
    """Return the document's schema."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {' '.join(str(error).split())}") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(found, str):
        known = ", ".join(names(REPORTS))
        raise DataError(f"{file} is no report: it names no schema; known: {known}")
    if found not in names(REPORTS):
        raise DataError(f"{file} has schema {shorten(repr(found))}; known: {', '.join(names(REPORTS))}")
    return found
