# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp backends``: which runtimes can be used here, and why not the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.cli import options as o

if TYPE_CHECKING:
    from ad_compressed_perception.backends.base import BackendStatus


def backends(
    as_json: o.AsJson = False,
) -> None:
    """List every registered backend with its version and providers, or the reason it is missing.

    What is not installed is listed with the line that installs it.
    """
    from ad_compressed_perception.backends.choose_variant import missing_runtime
    from ad_compressed_perception.cli.output import new_table, table_console
    from ad_compressed_perception.compression.runtime_files import converter_install
    from ad_compressed_perception.report.kit.document import copied
    from ad_compressed_perception.report.schemas.backends import BackendEntry, Backends

    entries = []
    for status in statuses():
        missing = "" if status.available else missing_runtime(status.name)
        install = missing if missing.startswith("pip ") else ""
        converter = converter_install(status.name)
        entries.append(copied(BackendEntry, status, install=install, converter_install=converter))
    if as_json:
        print(Backends(backends=entries).to_json())
        return
    rows = [
        (
            one.name,
            "yes" if one.available else "no",
            one.version,
            ", ".join(one.providers),
            "; ".join(filter(None, [one.detail, one.install, _converter_remark(one.converter_install)])),
        )
        for one in entries
    ]
    columns = ("backend", "available", "version", "providers, devices", "remark")
    table_console().print(new_table(None, *columns, rows=rows))


def _converter_remark(install: str) -> str:
    return f"to write its files: {install}" if install else ""


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
