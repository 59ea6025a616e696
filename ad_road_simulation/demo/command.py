# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of the demo: selects one of the two demos, and reports an error in one line."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.core.errors import AdcpError
from ad_road_simulation.demo.options import DEFAULT_OUT, DemoOptions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0, or a nonzero exit code after one line with the error."""
    options, bag, topic = _parse(arguments)
    try:
        _run(options, bag, topic)
    except AdcpError as error:
        return _fail(str(error), ExitCode.ERROR)
    except OSError as error:  # a full disk, a folder that cannot be written
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", ExitCode.ERROR)
    except KeyboardInterrupt:
        return _fail(f"interrupted; finished parts are kept in {options.out}", ExitCode.INTERRUPTED)
    return int(ExitCode.OK)


def _run(options: DemoOptions, bag: Path | None, topic: str | None) -> None:
    from rich.console import Console

    from ad_compressed_perception.replay.progress import ProgressBar
    from ad_road_simulation.demo.reference_data import use_shared

    # Manifests of the user's models may refer to $AD_SHARED.
    use_shared()
    console = Console(stderr=True)
    with ProgressBar(console) as bar:
        if bag is not None:
            from ad_road_simulation.demo.bag_demo import run_bag_demo

            print_result = run_bag_demo(options, bag, topic, bar, console)
        else:
            from ad_road_simulation.demo.road_demo import run_road_demo

            print_result = run_road_demo(options, bar, console)
    print_result()


def _fail(message: str, code: ExitCode) -> int:
    if code == ExitCode.INTERRUPTED and threading.current_thread() is threading.main_thread():
        # A second Ctrl-C while the process ends must not print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return int(code)


def _parse(arguments: Sequence[str] | None) -> tuple[DemoOptions, Path | None, str | None]:
    parser = argparse.ArgumentParser(
        prog="python -m ad_road_simulation.demo",
        description="Baseline and compressed models side by side: on the built-in road camera, with its "
        "ground truth and in closed loop, or on a recorded drive. Writes a report.",
    )
    parser.add_argument(
        "drive", nargs="?", metavar="BAG", help="rosbag2 folder, .mcap or .db3 file to replay"
    )
    parser.add_argument("--bag", help="same as BAG")
    parser.add_argument("--topic", help="image topic of BAG; needed where it has several")
    parser.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="DIR",
        help="model folders, one per task; default: the models of the package",
    )
    parser.add_argument(
        "--work", type=Path, help="folder for variants compressed here; ./adcp_work by default"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the report")
    parser.add_argument("--limit", type=_count, help="replay this many frames at most")
    own = parser.add_argument_group("demo on the road camera")
    defaults = DemoOptions()
    for name, words in (
        ("frames", "images of the drive"),
        ("places", "images of independent scenes"),
        ("routes", "routes driven in closed loop"),
        ("route_m", "length of a route in meters, 200 or more"),
    ):
        default = getattr(defaults, name)
        own.add_argument(
            f"--{name.replace('_', '-')}", type=_count, default=default, help=f"{words} ({default})"
        )
    given = parser.parse_args(arguments)
    options = DemoOptions(
        out=given.out,
        models=tuple(model_folders(given.models)),
        work=given.work,
        limit=given.limit,
        frames=given.frames,
        places=given.places,
        routes=given.routes,
        route_m=given.route_m,
    )
    named = given.bag or given.drive
    return options, Path(named) if named else None, given.topic


def model_folders(entries: Sequence[str]) -> list[Path]:
    """Return the model folders; an entry may hold several, separated by spaces, as make passes them."""
    folders: list[Path] = []
    for entry in entries:
        folders += [Path(entry)] if Path(entry).exists() else map(Path, shlex.split(entry))
    return folders


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
