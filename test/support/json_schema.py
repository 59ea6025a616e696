# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a document against a JSON schema, as far as those of this package go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ad_compressed_perception.report.schema_docs import PAGES
from ad_road_simulation.demo import schema_pages
from benchmark.schema_pages import PAGES as BENCHMARK_PAGES

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"
ALL = {page.model.schema_name(): page for page in (*PAGES, *schema_pages.PAGES, *BENCHMARK_PAGES)}

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def check_document(document: dict[str, Any], kind: str) -> None:
    """Fail where a document is not what the committed schema of its kind says."""
    assert document["schema"] == kind
    schema = json.loads((DOCS / ALL[kind].json_schema).read_text("utf-8"))
    assert violations(document, schema, schema) == []
    # It also reads back as the very model that the schema was made from.
    assert json.loads(ALL[kind].model.parse(json.dumps(document)).to_json()) == document


def violations(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "$") -> list[str]:
    """Return what of a value its schema does not allow, with its place."""
    if "$ref" in schema:
        return violations(value, root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root, where)
    for key, fits in (("anyOf", any), ("oneOf", any), ("allOf", all)):
        if key in schema:
            found = [violations(value, option, root, where) for option in schema[key]]
            return [] if fits(not one for one in found) else min(found, key=len)
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        return [f"{where}: {value!r} is none of {schema.get('enum', schema.get('const'))}"]
    kind = schema.get("type")
    if kind is not None and not _is_of(value, kind):
        return [f"{where}: {value!r} is no {kind}"]
    if isinstance(value, dict):
        return _of_object(value, schema, root, where)
    if isinstance(value, list) and "items" in schema:
        parts = enumerate(value)
        return [
            one for at, part in parts for one in violations(part, schema["items"], root, f"{where}[{at}]")
        ]
    return []


def _is_of(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _of_object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str) -> list[str]:
    known, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    wrong = [f"{where}.{key} is missing" for key in schema.get("required", []) if key not in value]
    for key, item in value.items():
        if key not in known and other is False:
            wrong.append(f"{where}.{key} is unknown")
        elif key in known or isinstance(other, dict):
            wrong += violations(item, known.get(key, other), root, f"{where}.{key}")
    return wrong
