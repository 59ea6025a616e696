# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A process that reads numbers of cases and answers each with one line of JSON; see pool.py."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from types import ModuleType

from ad_compressed_perception.core.errors import AdcpError

MAX_LINE = 1500
_MEMORY_BYTES = 12 << 30


def run_case(section: ModuleType, seed: int, number: int, folder: Path) -> tuple[str, str]:
    """Return outcome and detail of one case; its input stays in ``folder``/case."""
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    # Every case of its own: the same in any order, alone or in a worker that ran others.
    pick = random.Random(f"{section.__name__.rpartition('.')[2]}/{seed}/{number}")
    try:
        return str(section.case(pick, number, case)), ""
    except AdcpError as error:
        line = str(error)
        if "\n" in line or len(line) > MAX_LINE:
            return "bad line", line[:2000]
        return "refused", line
    except Exception:
        return "traceback", traceback.format_exc()[-3000:]


def main(name: str, seed: int, folder: Path) -> None:
    """Prepare a section, then answer until the input ends."""
    from importlib import import_module

    # Runtimes write to the standard output of the process; the answers have one of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _limit_memory()
    warnings.simplefilter("ignore")
    section = import_module(f"dev.campaign.{name}")
    section.prepare(folder)
    print(json.dumps({"outcome": "ready", "detail": ""}), file=answers, flush=True)
    for line in sys.stdin:
        outcome, detail = run_case(section, seed, int(line), folder)
        print(json.dumps({"outcome": outcome, "detail": detail}), file=answers, flush=True)


def _limit_memory() -> None:
    """An input that asks for more than this is an error, not the end of the machine."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
