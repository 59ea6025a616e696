# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Generates the JSON schemas of all documents with results, and the pages about them, from their models.

``make schemas`` writes them into docs/reference/schemas.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ad_compressed_perception.report.kit.document import Document
from ad_compressed_perception.report.schemas.backends import Backends
from ad_compressed_perception.report.schemas.benchmark import Benchmark
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.compression import CompressionReport
from ad_compressed_perception.report.schemas.device_export import DeviceExport, DeviceOutputs
from ad_compressed_perception.report.schemas.evaluation import Evaluation
from ad_compressed_perception.report.schemas.importing import ImportFigures, ImportReport
from ad_compressed_perception.report.schemas.inspection import InspectionReport
from ad_compressed_perception.report.schemas.parity import Parity
from ad_compressed_perception.report.schemas.search import SearchReport
from ad_compressed_perception.report.schemas.target_check import TargetCheck
from ad_compressed_perception.report.schemas.watch import View


@dataclass(frozen=True)
class Page:
    """How one document is documented.

    Attributes:
        model: of the document.
        origin: which command writes or prints it, as a sentence.
    """

    model: type[Document]
    origin: str

    @property
    def name(self) -> str:
        """Stem of both files, such as "adcp-report-1"."""
        return self.model.schema_name().replace("/", "-")

    @property
    def json_schema(self) -> str:
        """Name of the file with the JSON schema."""
        return f"{self.name}.schema.json"

    @property
    def markdown(self) -> str:
        """Name of the page for people."""
        return f"{self.name}.md"


PAGES = (
    Page(Report, "`adcp replay` writes it as report.json, and so does the live monitor."),
    Page(
        CompressionReport,
        "`adcp compress` writes it into `VARIANT.report/`, and prints it with `--json`; "
        "[verdict.md](../../guides/verdict.md) says what each figure is and how it is measured.",
    ),
    Page(SearchReport, "`adcp search` writes it as search.json, and prints it with `--json`."),
    Page(Benchmark, "`adcp benchmark --json` prints it."),
    Page(Parity, "`adcp parity` writes it as report.json, and prints it with `--json`."),
    Page(Evaluation, "`adcp evaluate --json` prints it."),
    Page(InspectionReport, "`adcp inspect --json` prints it."),
    Page(TargetCheck, "`adcp check --json` prints it."),
    Page(DeviceExport, "`adcp export` writes it as export.json, and prints it with `--json`."),
    Page(DeviceOutputs, "`run_on_device.py` writes it on the device as outputs/index.json."),
    Page(ImportReport, "`adcp import --json` prints it."),
    Page(ImportFigures, "`adcp import --sample` writes it as import.report/import.json."),
    Page(Backends, "`adcp backends --json` prints it."),
    Page(View, "`adcp watch --json` prints it, in one line a summary."),
)
"""Of the documents of this package."""

_CONVENTIONS = """Keys end with their units; shares are within 0..1. A figure that could not be measured is
`null`. Intervals are of 95 %. A speed-up is baseline / variant: above 1 the variant is faster. Unknown
keys are refused: a later version of the format has another schema name.
"""


def json_schema_text(page: Page) -> str:
    """Return the JSON schema of a document as text."""
    schema = page.model.model_json_schema(by_alias=True, mode="serialization")
    return json.dumps(schema, indent=2) + "\n"


def markdown_text(page: Page) -> str:
    """Return the page about a document: one table for each object."""
    schema = page.model.model_json_schema(by_alias=True, mode="serialization")
    definitions: dict[str, Any] = schema.get("$defs", {})
    source = page.model.__module__.replace(".", "/") + ".py"
    parts = [
        f"# {page.model.schema_name()}\n",
        f"{page.origin}\n[{page.json_schema}]({page.json_schema}) is the machine-readable form; this page\n"
        f"and that file are generated from `{source}`\nwith `make schemas`.\n",
        _CONVENTIONS,
        _section("The document", schema, definitions),
    ]
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
    for key in ("anyOf", "oneOf", "allOf"):
        if key in spec:
            return " or ".join(_kind(option) for option in spec[key])
    if spec.get("type") == "array":
        return f"list of {_kind(spec.get('items', {}))}"
    if "properties" in spec:
        return f"{{{', '.join(f'`{key}`' for key in spec['properties'])}}}"
    if spec.get("type") == "object":
        values = spec.get("additionalProperties")
        return f"{{name: {_kind(values) if isinstance(values, dict) else 'any'}}}"
    return str(spec.get("type", "any"))


def index_text(pages: Sequence[Page]) -> str:
    """Return the list of all documents."""
    rows = [f"| [{page.model.schema_name()}]({page.markdown}) | {page.origin} |" for page in pages]
    return "\n".join(["# Documents with results\n", _CONVENTIONS, "| schema | |", "|---|---|", *rows, ""])


def main(arguments: list[str]) -> int:
    """Write all files into a folder; further arguments are modules of other packages with their PAGES."""
    if not arguments:
        print(
            "usage: python -m ad_compressed_perception.report.schema_docs FOLDER [MODULE]...", file=sys.stderr
        )
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    pages = (*PAGES, *(page for name in arguments[1:] for page in import_module(name).PAGES))
    for page in pages:
        (folder / page.json_schema).write_text(json_schema_text(page), encoding="utf-8")
        (folder / page.markdown).write_text(markdown_text(page), encoding="utf-8")
    (folder / "index.md").write_text(index_text(pages), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
