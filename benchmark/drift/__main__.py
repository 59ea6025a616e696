# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How soon drift is alarmed, as what, and how often without a change.

    python -m benchmark.drift --set held_out                           simulated drives
    python -m benchmark.drift --set held_out --images FOLDER           and a recorded one: images/STAMP_NS.jpg

Frames of the reference never judge: simulated drives have other seeds, a recorded drive is cut into blocks.
Changes begin in the held-out frames. ``--set tune`` is what rules and constants were adjusted on; only the
figures of the other set say what to expect. Everything is stored under --out and computed once. Prints a
table for each source.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from ad_compressed_perception.core.errors import AdcpError
from benchmark.drift.cache import MODELS, Clip, clip_statistics
from benchmark.drift.evaluate import Onset, Stream, false_alarms, learn, onset
from benchmark.drift.sets import SETS, Drives, recorded, simulated


def rows(
    drives: Drives, task: str, out: Path, options: argparse.Namespace
) -> Iterator[tuple[str, str, Onset]]:
    """Print the false alarms; yield each change, what it is, and its alarm."""

    def read(clip: Clip) -> Stream:
        return clip_statistics(clip, out / "cache", task)

    reference = learn([read(clip) for clip in drives.reference])
    held_out = [read(clip) for clip in drives.held_out]
    count, hours = false_alarms(reference, held_out, options.hours, options.per_hour)
    learned_s = reference.duration_s
    print(f"{drives.name}, {task}: {count} false alarms in {hours:.1f} h; {learned_s:.0f} s learned")
    for one in drives.changed:
        yield one.name, one.kind, onset(reference, read(one.before), read(one.after), options.per_hour)


def table(found: Sequence[tuple[str, str, Onset]]) -> str:
    """Return a Markdown table of the changes."""
    lines = ["| change | is | alarmed | median delay, s | first kind right | last kind right | figure |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(one for one, _, _ in found):
        of_name = [(kind, one) for change, kind, one in found if change == name]
        raised = [one for _, one in of_name if one.kind]
        first = sum(one.kind == kind for kind, one in of_name)
        last = sum(one.last_kind == kind for kind, one in of_name)
        delay = f"{median(one.delay_s for one in raised):.1f}" if raised else "-"
        figures = ", ".join(sorted({one.moved for one in raised}))
        total = len(of_name)
        lines.append(
            f"| {name} | {of_name[0][0]} | {len(raised)}/{total} | {delay} "
            f"| {first}/{total} | {last}/{total} | {figures} |"
        )
    delays = [one.delay_s if one.kind else math.inf for _, _, one in found]
    right = sum(one.kind == kind for _, kind, one in found) / len(found)
    last_right = sum(one.last_kind == kind for _, kind, one in found) / len(found)
    lines.append(
        f"\nmedian delay over all, never alarmed as infinite: {median(delays):.1f} s; "
        f"first kind right {right:.0%}, last kind right {last_right:.0%} of {len(found)}"
    )
    return "\n".join(lines)


def main() -> int:
    """Measure and print; return 1 where something is missing."""
    parser = argparse.ArgumentParser(description="Measure delay, kind and rate of drift alarms.")
    parser.add_argument(
        "--out", type=Path, default=Path("adcp_work/drift"), help="folder of what is computed once"
    )
    parser.add_argument(
        "--images", type=Path, help="recorded drive: images named by their stamps in nanoseconds"
    )
    parser.add_argument(
        "--others", type=Path, nargs="*", default=[], help="images of other cameras, for the held-out set"
    )
    parser.add_argument("--set", choices=sorted(SETS), default="held_out", help="of drives and changes")
    parser.add_argument("--tasks", default="detection", help=f"of {', '.join(MODELS)}, or none: images alone")
    parser.add_argument("--seeds", type=int, default=5, help="of each change, up to 5")
    parser.add_argument("--hours", type=float, default=10.0, help="of resampled driving")
    parser.add_argument("--per-hour", type=float, default=0.1, help="false alarms an hour that are asked for")
    options = parser.parse_args()
    try:
        for task in options.tasks.split(","):
            split = SETS[options.set]
            sources = [simulated(options.out, split, options.seeds, task in MODELS)]
            if options.images:
                sources.append(recorded(options.images, options.others, split, options.seeds))
            for drives in sources:
                print(table(list(rows(drives, task, options.out, options))), flush=True)
    except AdcpError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
