# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The guard's figures: ``python -m benchmark.guard [alarms] [wrong] [continuity] [cost] [node] [--bag BAG]``.

alarms: how often the guard is wrong on a normal drive, and in hours of its blocks in random order.
wrong: which results of another scene it keeps from being published.
continuity: how far a path jumps at a change of the model.
cost, node: its processor time, alone and in a planning node.

Without a recording the drive is simulated. Answers come from the code of the nodes; only what the networks
give is computed before, once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
WHAT = ("alarms", "wrong", "continuity", "cost", "node")


def main() -> None:
    """Print a line for each figure and task."""
    from benchmark.guard import continuity, cost, wrong
    from benchmark.guard.played import VARIANTS, frames_of, played

    options = _parse()
    chosen = options.what or WHAT
    frames = list(frames_of(options.bag, options.frames)) if set(chosen) - {"node"} else []
    for task in options.task or VARIANTS:
        if not frames:
            break
        variant, baseline = played(task, frames)
        if "alarms" in chosen:
            _say("alarms", task, wrong.false_alarms(variant, baseline, options.hours))
        if "wrong" in chosen:
            _say("wrong", task, wrong.wrong_results(variant, baseline))
        if "cost" in chosen:
            _say("cost", task, cost.of_a_frame(variant, baseline))
        if "continuity" in chosen and task == "planning":
            for is_bent in (False, True):
                for is_joined in (True, False):
                    found = continuity.jumps(variant, baseline, is_joined=is_joined, is_bent=is_bent)
                    name = f"{'bent' if is_bent else 'own'} baseline, {'joined' if is_joined else 'as it is'}"
                    _say("continuity", name, found)
    if "node" in chosen:
        _say("node", "planning", cost.in_a_node(options.seconds, options.bag))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmark.guard", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(WHAT)}; all without")
    parser.add_argument("--bag", type=Path, help="a recorded drive; a simulated one without")
    parser.add_argument("--frames", type=int, default=400, help="of the drive (400)")
    parser.add_argument("--task", action="append", help="planning, segmentation or detection; all without")
    parser.add_argument("--hours", type=float, default=10.0, help="of blocks in random order (10)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of the node (15)")
    options = parser.parse_args()
    if unknown := set(options.what) - set(WHAT):
        parser.error(f"{unknown.pop()!r} is none of {', '.join(WHAT)}")
    return options


def _say(what: str, task: str, figures: Mapping[str, object]) -> None:
    print(f"{what}: {task}: " + ", ".join(f"{key} {value}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
