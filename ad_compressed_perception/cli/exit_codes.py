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
    INCOMPLETE = 5
    """A replay whose counts do not close, or whose nodes gave nothing; its report is written."""
    ALARM = 6
    """``adcp watch --once``: an alarm of level ERROR is on, a node gives nothing, or the summary is old."""
    INTERRUPTED = 130


def of_verdict(status: str) -> ExitCode:
    """Return the exit code of a verdict: accepted, rejected or inconclusive."""
    codes = {"accepted": ExitCode.OK, "rejected": ExitCode.REJECTED, "inconclusive": ExitCode.INCONCLUSIVE}
    return codes[status]
