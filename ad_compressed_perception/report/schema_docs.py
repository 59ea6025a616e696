# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Generates the pages that document the two kinds of report.json from their models.

``python -m ad_compressed_perception.report.schema_docs docs`` writes them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ad_compressed_perception.report.compression_schema import CompressionReport
from ad_compressed_perception.report.schema import Report


@dataclass(frozen=True)
class Page:
    """How one document is documented.

    Attributes:
        model: its pydantic model.
        json_schema: name of the file with its JSON schema.
        markdown: name of the page for people.
        head: how that page begins.
    """

    model: type[BaseModel]
    json_schema: str
    markdown: str
    head: str


JSON_SCHEMA_NAME = "adcp-report-1.schema.json"
MARKDOWN_NAME = "report_schema.md"

_HEAD = f"""# report.json: schema adcp-report/1

`adcp replay` and the live monitor write the same document.
[{JSON_SCHEMA_NAME}]({JSON_SCHEMA_NAME}) is the machine-readable form; this page and
that file are generated from `ad_compressed_perception/report/schema.py` with
`python -m ad_compressed_perception.report.schema_docs docs`.

Durations are in milliseconds, distances in meters, shares in 0..1. A figure that could
not be measured is `null`. Percentiles are interpolated linearly between ranks. A speed-up
is baseline / variant: above 1 the variant is faster. Unknown keys are refused: a later
version of the format has another schema name.
"""


_COMPRESSION_HEAD = """# report.json of a compression: schema adcp-compression/1

`adcp compress` writes it into `VARIANT.report/`; [verdict.md](verdict.md) says what each figure is and how it
is measured. [adcp-compression-1.schema.json](adcp-compression-1.schema.json) is the machine-readable form;
this page and that file are made from `ad_compressed_perception/report/compression_schema.py` with
`python -m ad_compressed_perception.report.schema_docs docs`.

A figure that could not be measured is `null`. Intervals are of 95 %. A speed-up is baseline / variant: above
1 the variant is faster. Unknown keys are refused: a later version of the format has another schema name.
"""

REPLAY = Page(Report, JSON_SCHEMA_NAME, MARKDOWN_NAME, _HEAD)
COMPRESSION = Page(
    CompressionReport, "adcp-compression-1.schema.json", "compression_report_schema.md", _COMPRESSION_HEAD
)
PAGES = (REPLAY, COMPRESSION)


def json_schema_text(page: Page = REPLAY) -> str:
    """Return the JSON schema of a document as text."""
    schema = page.model.model_json_schema(by_alias=True, mode="serialization")
    return json.dumps(schema, indent=2) + "\n"


def markdown_text(page: Page = REPLAY) -> str:
    """Return the page about a document: one table for each object."""
    schema = page.model.model_json_schema(by_alias=True, mode="serialization")
    definitions: dict[str, Any] = schema["$defs"]
    parts = [page.head, _section("The document", schema, definitions)]
    parts += [_section(name, definitions[name], definitions) for name in _in_order(schema, definitions)]
    return "\n".join(parts)


def _in_order(schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Names of the definitions in the order a reader meets them."""
    order: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).rsplit("/", 1)[-1]
            if name and name not in order:
                order.append(name)
                visit(definitions[name])
            for key, value in node.items():
                if key != "$defs":
                    visit(value)
        elif isinstance(node, list):
            for item in node:
                visit(item)

    visit(schema)
    return order


def _section(title: str, definition: dict[str, Any], definitions: dict[str, Any]) -> str:
    about = " ".join(str(definition.get("description", "")).split())
    rows = [
        f"| `{key}` | {_kind(spec)} | {_meaning(spec, definitions)} |"
        for key, spec in definition["properties"].items()
    ]
    return "\n".join([f"## {title}\n", f"{about}\n", "| key | type | meaning |", "|---|---|---|", *rows, ""])


def _meaning(spec: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return a key's description, else that of the object it holds."""
    if "description" in spec or "$ref" not in spec:
        return str(spec.get("description", ""))
    held = definitions[spec["$ref"].rsplit("/", 1)[-1]]
    return " ".join(str(held.get("description", "")).split())


def _kind(spec: dict[str, Any]) -> str:
    if "$ref" in spec:
        name = spec["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in spec:
        return f'`"{spec["const"]}"`'
    if "enum" in spec:
        return " or ".join(f'`"{value}"`' for value in spec["enum"])
    for key in ("anyOf", "oneOf"):
        if key in spec:
            return " or ".join(_kind(option) for option in spec[key])
    if spec.get("type") == "array":
        return f"list of {_kind(spec['items'])}"
    if spec.get("type") == "object":
        values = spec["additionalProperties"]
        return f"{{name: {_kind(values) if isinstance(values, dict) else 'any'}}}"
    return str(spec["type"])


def main(arguments: list[str]) -> int:
    """Write all files into the folder named on the command line."""
    if len(arguments) != 1:
        print("usage: python -m ad_compressed_perception.report.schema_docs FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        (folder / page.json_schema).write_text(json_schema_text(page), encoding="utf-8")
        (folder / page.markdown).write_text(markdown_text(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
