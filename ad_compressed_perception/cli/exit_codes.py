# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Exit codes of the ``adcp`` command."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of the process."""

    OK = 0
    ERROR = 1
    USAGE = 2
    REJECTED = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130
