# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fuzz and fault campaign: ``python -m dev.campaign`` in the repository, or ``make campaign``.

Every section makes inputs from a seed, gives them to the package in processes of their own and counts what
happened. An error of one line is right; a traceback, a hang, a crash or an error of several lines is a
fault. The exit status is 1 where there was one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.campaign.pool import FAULTS, REPOSITORY, Failure, Result, run_section


@dataclass(frozen=True)
class Section:
    """How long a section runs.

    Attributes:
        share: of the time; a section that is done leaves its time to the next ones.
        full: cases of a full run.
        short: cases of the short form, which the tests run.
        limit_s: time after which a case hangs, generous for a loaded machine.
    """

    share: float
    full: int
    short: int
    limit_s: float


SECTIONS = {
    "manifests": Section(0.15, 4000, 120, 60.0),
    "recipes": Section(0.20, 3000, 80, 180.0),
    "models": Section(0.30, 300, 8, 300.0),
    "images": Section(0.10, 20_000, 300, 60.0),
    "bags": Section(0.10, 1000, 25, 60.0),
    "tests": Section(0.15, 2, 0, 900.0),
}
_OF_TESTS = {"self_check": Section(1.0, 5, 0, 8.0)}


def main(arguments: Sequence[str]) -> int:
    """Run the sections asked for; print and write the table; return the exit status."""
    options = _parse(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, output {out}", flush=True)
    results = []
    known = {**SECTIONS, **_OF_TESTS}
    end = time.monotonic() + options.minutes * 60.0
    left = sum(known[name].share for name in options.section)
    for name in options.section:
        section = known[name]
        seconds = max(1.0, (end - time.monotonic()) * section.share / left)
        left -= section.share
        count = options.count or (section.short if options.short else section.full)
        numbers = range(count) if options.case is None else [options.case]
        result = run_section(
            name,
            seed,
            limit_s=section.limit_s,
            numbers=numbers,
            seconds=seconds,
            workers=options.workers,
            out=out,
        )
        results.append(result)
        print(_row(result), flush=True)
        for failure in result.failures:
            print(f"  {failure.fault}: {failure.command}\n    {_last_line(failure)}", flush=True)
    (out / "campaign.md").write_text(table(results), encoding="utf-8")
    (out / "campaign.json").write_text(json.dumps([result.as_dict() for result in results], indent=2) + "\n")
    print(f"table: {out / 'campaign.md'}; inputs that failed: {out / 'failures'}")
    return 1 if any(result.failures for result in results) else 0


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| section | seed | tried | outcomes | faults | seconds |",
        "|---|---|---|---|---|---|",
        *(_row(result) for result in results),
    ]
    return "\n".join(lines) + "\n"


def _row(result: Result) -> str:
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(result.outcomes.items()))
    faults = sum(result.outcomes[name] for name in FAULTS)
    cells = (result.section, result.seed, result.tried, outcomes, faults, f"{result.seconds:.0f}")
    return f"| {' | '.join(map(str, cells))} |"


def _last_line(failure: Failure) -> str:
    lines = failure.detail.strip().splitlines() or [""]
    return lines[-1][:300]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time of all sections together")
    parser.add_argument("--seed", type=int, help="a random one by default; printed")
    parser.add_argument("--section", action="append", choices=[*SECTIONS, *_OF_TESTS], help="may be repeated")
    parser.add_argument("--count", type=int, help="cases a section, in place of those of a full run")
    parser.add_argument("--case", type=int, help="only this case, as a failure names it")
    parser.add_argument("--workers", type=int, default=2, help="processes at the same time")
    parser.add_argument("--short", action="store_true", help="few cases of the sections that need no ROS")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "adcp_work" / "campaign")
    options = parser.parse_args(arguments)
    if not options.section:
        options.section = [name for name, one in SECTIONS.items() if one.short or not options.short]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
