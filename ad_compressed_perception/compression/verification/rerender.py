# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Renders report.json of a compression again: plots and Markdown from the document alone."""

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
from ad_compressed_perception.report.compression_markdown import render_compression
from ad_compressed_perception.report.compression_schema import SCHEMA, CompressionReport
from ad_compressed_perception.report.markdown import render_markdown
from ad_compressed_perception.report.read import parse_report
from ad_compressed_perception.report.schema import SCHEMA as REPLAY_SCHEMA

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"


def render_into(report: CompressionReport, folder: Path) -> CompressionReport:
    """Write report.json, report.md and the plots into a folder; return the report with its files named.

    Raises:
        OSError: the folder cannot be written to.
    """
    plots = write_compression_plots(report, folder)
    images = [one.file for one in report.worst_frames]
    whole = report.model_copy(update={"files": [MARKDOWN_NAME, *plots, *images]})
    (folder / MARKDOWN_NAME).write_text(render_compression(whole), encoding="utf-8")
    (folder / JSON_NAME).write_text(whole.to_json() + "\n", encoding="utf-8")
    return whole


def parse_compression_report(text: str | bytes, where: str = "report") -> CompressionReport:
    """Read a compression's report from JSON text; raise DataError in one line that names the wrong key."""
    try:
        return CompressionReport.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{where} is no {SCHEMA}: {describe_validation_error(error)}") from error


def render_again(path: Path) -> list[Path]:
    """Write a report's Markdown, and a compression's plots, anew from its report.json.

    A replay's report holds no single frames, so its plots stay as they are. Each file is replaced whole.

    Args:
        path: report.json, or the folder that holds it.

    Returns:
        The files written.

    Raises:
        DataError: no report there, or one of an unknown format; one line.
        OSError: the folder cannot be written to.
    """
    file = path / JSON_NAME if path.is_dir() else path
    try:
        text = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read report {file}: {error.strerror or error}") from error
    kind = _schema_of(text, file)
    folder = file.parent
    if kind == REPLAY_SCHEMA:
        return [_replace(folder / MARKDOWN_NAME, render_markdown(parse_report(text, str(file))))]
    if kind != SCHEMA:
        raise DataError(f"{file} has schema {kind!r}; known: {SCHEMA}, {REPLAY_SCHEMA}")
    report = parse_compression_report(text, str(file))
    made = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
    try:
        names = [*write_compression_plots(report, made), MARKDOWN_NAME]
        (made / MARKDOWN_NAME).write_text(render_compression(report), encoding="utf-8")
        for name in names:
            os.replace(made / name, folder / name)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return [folder / name for name in names]


def _schema_of(text: bytes, file: Path) -> str:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {' '.join(str(error).split())}") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(found, str):
        raise DataError(f"{file} is no report: it names no schema; known: {SCHEMA}, {REPLAY_SCHEMA}")
    return found


def _replace(path: Path, text: str) -> Path:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".report-", suffix=path.suffix)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide the report from other users
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
