# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Times frames from the publish call to the result: ``make benchmark-hot-path``.

    python -m benchmark.hot_path                                  every axis on its own, about half an hour
    python -m benchmark.hot_path --quick                          one cell, about a minute
    python -m benchmark.hot_path --tasks planning,three --formats raw --sizes 1920x1080 --rates 30

Against each other, on the same frames and in turn: the floor (decode, prepare, infer, decode in a loop), an
empty hop, the package's node, the same composed, and a first node as tutorials write it. Writes hot_path.json
with every sample, hot_path.md and a waterfall of each cell. A quiet machine is needed; the load is reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.replay.environment import replay_environment
from benchmark.hot_path.cells import (
    FORMATS,
    RATES_HZ,
    SIZES,
    TASKS,
    THREE,
    VARIANTS,
    one_at_a_time,
    product_of,
)
from benchmark.hot_path.frames import images_of
from benchmark.hot_path.measure import TARGETS, CellResult, Pace, measure
from benchmark.hot_path.results_text import document, render
from benchmark.hot_path.waterfall import draw

_IMAGES = 40
_LARGEST_BYTES = 1920 * 1080 * 3
_DEFAULT_TASKS = ("planning", "detection", THREE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return 0, 1 after a line with the error, or 2 where a target gave no figures."""
    options = _parser().parse_args(arguments)
    try:
        results = _run(options)
    except AdcpError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; cells measured so far are written", file=sys.stderr)
        return 1
    silent = [
        f"{result.cell.title}: {name}: {one.status}"
        for result in results
        for name, one in result.targets.items()
        if one.problem or not one.figures.answered
    ]
    for line in silent:
        print(f"error: {line}", file=sys.stderr)
    return 2 if silent else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time frames from the publish call to the result.")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/hot_path"), help="folder to write to")
    parser.add_argument("--quick", action="store_true", help="one cell (or those asked for) with few frames")
    parser.add_argument("--tasks", type=_names((*TASKS, THREE)), help=f"of {', '.join((*TASKS, THREE))}")
    parser.add_argument("--variants", type=_names(VARIANTS), help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--formats", type=_names(FORMATS), help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--sizes", type=_sizes, help="WIDTHxHEIGHT,...")
    parser.add_argument("--rates", type=_rates, help="frames a second, such as 10,20,30")
    parser.add_argument("--targets", type=_names(TARGETS), default=TARGETS, help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--rounds", type=int, help="turns of every target (4; 3 with --quick)")
    parser.add_argument("--seconds", type=float, help="of one turn (3; 1.2 with --quick)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns")
    parser.add_argument("--bag", type=Path, help="frames of a recording instead of the road camera's")
    return parser


def _run(options: argparse.Namespace) -> list[CellResult]:
    chosen = (options.tasks, options.variants, options.formats, options.sizes, options.rates)
    if any(chosen):
        usual = (("planning",), VARIANTS[:1], FORMATS[:1], SIZES[:1], RATES_HZ[1:2])
        cells = product_of(*(given or default for given, default in zip(chosen, usual, strict=True)))
    else:
        cells = one_at_a_time(("planning",) if options.quick else _DEFAULT_TASKS)
        cells = cells[:1] if options.quick else sorted(cells, key=lambda cell: cell.group)
    pace = Pace(
        options.rounds or (3 if options.quick else 4),
        options.seconds or (1.2 if options.quick else 3.0),
        options.seed,
    )
    if pace.rounds < 1 or pace.block_s <= 0.0:
        raise DataError("--rounds and --seconds must be positive")

    @lru_cache(maxsize=2)
    def images(size: str) -> Any:
        _note(f"drawing {_IMAGES} images of {size}")
        return images_of(size, _IMAGES, options.bag)

    options.out.mkdir(parents=True, exist_ok=True)
    results: list[CellResult] = []
    began, own = _busy_s(), psutil.Process()
    with replay_environment(message_bytes=_LARGEST_BYTES):
        for result in measure(cells, options.targets, pace, images, _note):
            results.append(result)
            for target in ("node", "composed"):
                draw(result, target, options.out / f"{result.cell.file_name}_{target}.png")
            _write(options.out, results, pace, _load(began, own))
    print((options.out / "hot_path.md").read_text(encoding="utf-8"))
    _note(f"written to {options.out}")
    return results


def _write(out: Path, results: Sequence[CellResult], pace: Pace, load: str) -> None:
    from ad_compressed_perception.report.host import describe_host

    host = describe_host()
    now = datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")
    text = render(results, pace, load, f"{host.cpu}, {host.logical_cores} logical cores, {now}")
    (out / "hot_path.md").write_text(text, encoding="utf-8")
    document(results, pace, load, host, now).write(out / "hot_path.json")


def _load(began: tuple[float, float, float], own: psutil.Process) -> str:
    """Return a sentence on what programs that this one did not start used, as far as can be read."""
    busy_s, children_s, wall_s = (now - then for now, then in zip(_busy_s(), began, strict=True))
    others = max(busy_s - children_s, 0.0) / wall_s if wall_s > 0.0 else 0.0
    return f"Other programs kept {others:.2f} of {psutil.cpu_count() or 1} cores busy meanwhile."


def _busy_s() -> tuple[float, float, float]:
    """Return CPU seconds of the machine, of this process and its children, and the time."""
    import time

    total = psutil.cpu_times()
    idle = total.idle + getattr(total, "iowait", 0.0) + getattr(total, "steal", 0.0)
    every = sum(total[: 8 if len(total) > 8 else None]) - idle  # guest times are in user already
    me = psutil.Process()
    times = me.cpu_times()
    used = times.user + times.system + times.children_user + times.children_system
    for child in me.children(recursive=True):
        try:
            each = child.cpu_times()
        except psutil.Error:
            continue
        used += each.user + each.system
    return every, used, time.monotonic()


def _names(known: Sequence[str]) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return parse


def _sizes(text: str) -> tuple[str, ...]:
    for size in text.split(","):
        sides = size.split("x")
        if len(sides) != 2 or not all(side.isdecimal() and 32 <= int(side) <= 4096 for side in sides):
            raise argparse.ArgumentTypeError(f"{size!r}: write WIDTHxHEIGHT, each 32 to 4096")
    return tuple(text.split(","))


def _rates(text: str) -> tuple[float, ...]:
    rates = []
    for each in text.split(","):
        try:
            rates.append(float(each))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{each!r} is not a number") from None
        if not 0.5 <= rates[-1] <= 200.0:
            raise argparse.ArgumentTypeError(f"{each}: a rate is 0.5 to 200 Hz")
    return tuple(rates)


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
