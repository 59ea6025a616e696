# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share."""

from __future__ import annotations

import typer

MAX_BAD_FRAMES = typer.Option(
    "--max-bad-frames",
    metavar="N|N%",
    help="Most frames that may be left out because they cannot be read: a number, or a share of those asked "
    "for; 10% by default.",
)

MODEL_HELP = "Folder with model.yaml, or a model file: imported into the work folder."
