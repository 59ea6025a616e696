# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Renders reports again: plots, Markdown and HTML from the document alone."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from ad_compressed_perception.analysis.plots.compression_plots import write_compression_plots
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.core.registry import REPORTS, find, names
from ad_compressed_perception.report.compression_markdown import (
    compression_body,
    compression_findings,
    render_compression,
)
from ad_compressed_perception.report.compression_schema import SCHEMA, CompressionReport
from ad_compressed_perception.report.html_page import HTML_NAME, write_page
from ad_compressed_perception.report.rendered import Rendered, RenderReport

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"
SEARCH_JSON = "search.json"


def render_into(report: CompressionReport, folder: Path) -> CompressionReport:
    """Write report.json, report.md, report.html and the plots; return the report with its files named.

    Raises:
        OSError: the folder cannot be written to.
    """
    plots = write_compression_plots(report, folder)
    images = [one.file for one in report.worst_frames]
    whole = report.model_copy(update={"files": [MARKDOWN_NAME, HTML_NAME, *plots, *images]})
    (folder / MARKDOWN_NAME).write_text(render_compression(whole), encoding="utf-8")
    write_page(folder / HTML_NAME, compression_body(whole), compression_findings(whole))
    (folder / JSON_NAME).write_text(whole.to_json() + "\n", encoding="utf-8")
    return whole


def parse_compression_report(text: str | bytes, where: str = "report") -> CompressionReport:
    """Read a compression's report from JSON text; raise DataError in one line that names the wrong key."""
    try:
        return CompressionReport.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{where} is no {SCHEMA}: {describe_validation_error(error)}") from error


def render_document(text: bytes, where: str, folder: Path) -> Rendered:
    """Render a compression's report.json; its plots are drawn into ``folder``."""
    report = parse_compression_report(text, where)
    plots = tuple(write_compression_plots(report, folder))
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
        OSError: the folder cannot be written to.
    """
    file = _document_in(path) if path.is_dir() else path
    try:
        text = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read report {file}: {error.strerror or error}") from error
    if file.suffix in (".html", ".md"):
        raise DataError(f"{file} would be replaced by its own page: call the document .json")
    render: RenderReport = find(REPORTS, _kind_of(text, file), DataError)
    if html is not None:
        with tempfile.TemporaryDirectory(prefix="adcp-report-") as scratch:
            rendered = render(text, str(file), Path(scratch))
            return [_write_html(html, rendered, Path(scratch), file.parent)]
    folder = file.parent
    made = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
    try:
        rendered = render(text, str(file), made)
        names = [*rendered.plots, f"{file.stem}.md", f"{file.stem}.html"]
        (made / names[-2]).write_text(rendered.markdown, encoding="utf-8")
        _write_html(made / names[-1], rendered, made, folder)
        for name in names:
            os.replace(made / name, folder / name)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return [folder / name for name in names]


def _write_html(path: Path, rendered: Rendered, *folders: Path) -> Path:
    return write_page(path, rendered.body or rendered.markdown, rendered.findings, folders)


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
