# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the verbs, for terminals and files."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ad_compressed_perception.analysis.terminal_table import new_table as new_table

if TYPE_CHECKING:
    from rich.console import Console

_FILE_WIDTH = 140


def table_console() -> Console:
    """Return a console on standard output; in a pipe or a file tables are not squeezed to 80 columns."""
    from rich.console import Console

    is_free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_FILE_WIDTH if is_free else None)
