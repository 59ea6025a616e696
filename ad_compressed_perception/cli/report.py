# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp report``: renders a report's Markdown and plots again from its report.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="report.json, or the folder that holds it.")],
) -> None:
    """Render a report again: of adcp compress its Markdown and plots, of adcp replay its Markdown.

    Images of frames stay as they are: the frames are not in the report.
    """
    from ad_compressed_perception.compression.verification.rerender import render_again

    for file in render_again(path):
        print(file)
