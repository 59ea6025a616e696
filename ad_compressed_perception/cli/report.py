# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp report``: shows a report.json as Markdown and as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="report.json of any command, search.json, or its folder.")
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write this HTML file and nothing else.")
    ] = None,
) -> None:
    """Render a report as Markdown and as one self-contained HTML file, beside its document.

    Takes what replay, compress, its search, drive and the latency monitor wrote. Plots of a compression are
    drawn again; images of frames stay as they are: the frames are not in the report.
    """
    from ad_compressed_perception.compression.verification.rerender import render_again

    for file in render_again(path, html):
        print(file)
