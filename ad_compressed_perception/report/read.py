# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading report.json."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.report.schema import SCHEMA, Report


def parse_report(text: str | bytes, where: str = "report") -> Report:
    """Read a report from JSON text; raise DataError in one line that names the wrong key."""
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{where} is no {SCHEMA}: {describe_validation_error(error)}") from error


def read_report(path: Path) -> Report:
    """Read report.json; raise DataError in one line."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read report {path}: {error.strerror or error}") from error
    return parse_report(text, str(path))
