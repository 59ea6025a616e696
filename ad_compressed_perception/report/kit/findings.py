# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a reader must see first in a report: verdicts and alarms, each with a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "alarm"]
LEVELS: tuple[Level, ...] = ("alarm", "warning", "note", "ok")
"""The worst first."""

VERDICT_LEVELS: dict[str | None, Level] = {"accepted": "ok", "rejected": "alarm", "inconclusive": "warning"}
"""Level of an accept gate's verdict; anything else is a note."""

ALARM_LEVELS: dict[str, Level] = {"OK": "note", "WARN": "warning", "ERROR": "alarm"}


@dataclass(frozen=True)
class Finding:
    """One line of a report's head.

    Attributes:
        level: how a reader must take it.
        text: one sentence, plain text without any mark-up.
    """

    level: Level
    text: str


def sort_findings(findings: list[Finding]) -> list[Finding]:
    """Return findings with the worst level first, else in their order."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
