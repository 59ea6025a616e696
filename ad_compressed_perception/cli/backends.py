# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp backends``: which runtimes can be used here, and why not the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ad_compressed_perception.backends.base import BackendStatus

SCHEMA = "adcp-backends/1"


def backends(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """List every registered backend with its version and providers, or the reason it is missing."""
    import json
    from dataclasses import asdict

    from rich.table import Table

    from ad_compressed_perception.cli.output import table_console

    found = statuses()
    if as_json:
        print(json.dumps({"schema": SCHEMA, "backends": [asdict(status) for status in found]}, indent=2))
        return
    table = Table()
    for title in ("backend", "available", "version", "providers, devices", "remark"):
        table.add_column(title, overflow="fold")
    for status in found:
        available = "yes" if status.available else "no"
        table.add_row(status.name, available, status.version, ", ".join(status.providers), status.detail)
    table_console().print(table, markup=False)


def statuses() -> list[BackendStatus]:
    """Return every registered backend's status; where a plug-in cannot be imported it is the reason."""
    from ad_compressed_perception.backends import backend_names
    from ad_compressed_perception.backends.base import BackendStatus
    from ad_compressed_perception.core.errors import BackendError
    from ad_compressed_perception.core.registry import BACKENDS, find

    found = []
    for name in backend_names():
        try:
            found.append(find(BACKENDS, name, BackendError).status())
        except BackendError as error:
            found.append(BackendStatus(name, available=False, detail=str(error)))
    return found
