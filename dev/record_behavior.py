# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Record what users of a checkout get, and compare two recordings.

``record OUT`` runs the commands and the nodes of a checkout and writes one JSON file a section; ``compare
BEFORE AFTER`` prints what differs, exit status 1 when anything does. Nothing of the package is imported here:
the entry points in the checkout's ``setup.py`` say what to run, so that its modules may move. What differs
from run to run (times, memory) is recorded as its type only: see VOLATILE_KEYS and VOLATILE_TEXT.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from behavior_checkout import MODELS, Checkout, describe_folder, open_checkout, read_json, stable_lines
from behavior_models import record_variants
from behavior_nodes import record_nodes

# What is stable of a result ---------------------------------------------------------------------


# Commands ---------------------------------------------------------------------------------------


def record_help(checkout: Checkout) -> dict[str, Any]:
    """Return the help of every command, from the top down, and the version."""
    found: dict[str, Any] = {"adcp --version": checkout.run("adcp", "--version").stdout.splitlines()}
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        verbs = waiting.pop(0)
        done = checkout.run("adcp", *verbs, "--help")
        found[" ".join(("adcp", *verbs, "--help"))] = {
            "exit": done.returncode,
            "text": [line.rstrip() for line in done.stdout.splitlines()],
        }
        _, box, commands = done.stdout.partition("─ Commands ")
        waiting += [(*verbs, verb) for verb in re.findall(r"^│ (\w[\w-]*) ", commands if box else "", re.M)]
    return found


def record_recording(checkout: Checkout) -> dict[str, Any]:
    """Return what `adcp camera` writes: a folder of labeled images, and the messages of a bag."""
    from rosbags.highlevel import AnyReader

    folder = checkout.work / "camera_folder"
    done = checkout.run("adcp", "camera", "--frames", "12", "--seed", "7", "--out", folder)
    topics: dict[str, Any] = {}
    with AnyReader([checkout.camera_bag()]) as reader:
        for connection in reader.connections:
            digest = hashlib.sha256()
            for _, stamp, message in reader.messages([connection]):
                digest.update(stamp.to_bytes(8, "little") + message)
            topics[connection.topic] = {
                "type": connection.msgtype,
                "count": connection.msgcount,
                "sha256": digest.hexdigest(),
            }
    files = describe_folder(folder, None)
    printed = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    return {"exit": done.returncode, "printed": printed, "folder": files, "bag": topics}


def record_drive(checkout: Checkout) -> dict[str, Any]:
    """Return the report of a short route in closed loop, every plan 60 ms late."""
    out = checkout.work / "drive"
    options = "--variants baseline,prune_int8 --routes 1 --length 200 --seed 1 --latency 60 --jobs 1"
    done = checkout.run("adcp", "drive", MODELS["planning"], *options.split(), "--out", out)
    path = out / "report.json"
    return {
        "exit": done.returncode,
        "printed": done.stdout.splitlines(),
        "files": describe_folder(out),
        "report": json.loads(path.read_text("utf-8")) if path.is_file() else done.stderr,
        "report.md": (out / "report.md").read_text("utf-8").splitlines() if path.is_file() else [],
    }


def record_replay(checkout: Checkout) -> dict[str, Any]:
    """Return the structure of a replay's report and whether its accounts are complete."""
    out = checkout.work / "replay"
    options = ("--tasks", "planning", "--models", MODELS["planning"], "--limit", "30", "--out", str(out))
    done = checkout.run("adcp", "replay", checkout.camera_bag(), *options)
    path = out / "report.json"
    if not path.is_file():
        return {"exit": done.returncode, "error": done.stderr}
    variants = json.loads(path.read_text("utf-8"))["tasks"]["planning"]["variants"]
    ends = ("processed", "dropped_stale", "dropped_busy", "failed", "pending")
    return {
        "exit": done.returncode,
        "files": sorted(describe_folder(out)),
        "report": read_json(path),
        "report.md": stable_lines((out / "report.md").read_text("utf-8"), re.compile("")),
        "accounts complete": {
            name: variant["received"] == sum(variant[end] for end in ends)
            for name, variant in variants.items()
        },
    }


# Compressed variants ----------------------------------------------------------------------------


# Nodes ------------------------------------------------------------------------------------------


# Recording and comparing ------------------------------------------------------------------------

SECTIONS: dict[str, Callable[[Checkout], dict[str, Any]]] = {
    "help": record_help,
    "nodes": record_nodes,
    "recording": record_recording,
    "drive": record_drive,
    "replay": record_replay,
    "variants": record_variants,
}


def record(out: Path, root: Path, sections: list[str], keep: bool) -> int:
    """Record sections of a checkout, one JSON file each."""
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # tidies up first
    work = Path(tempfile.mkdtemp(prefix="record_behavior_"))
    try:
        checkout = open_checkout(root, work)
        for section in sections:
            start = time.monotonic()
            text = json.dumps(SECTIONS[section](checkout), indent=1, sort_keys=True, ensure_ascii=False)
            text = text.replace(str(work), "<temporary>").replace(str(root), "<checkout>")
            (out / f"{section}.json").write_text(text + "\n", encoding="utf-8")
            print(f"{section}: {time.monotonic() - start:.0f} s", flush=True)
    finally:
        if keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work)
    return 0


def shorten(text: str, length: int = 500) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def differences(path: str, before: Any, after: Any) -> Iterator[str]:
    """Yield a line for every difference of two values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(f"{path}/{key}", before.get(key, "<absent>"), after.get(key, "<absent>"))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(f"{path}[{index}]", old, new)
    elif isinstance(before, list) and isinstance(after, list):
        old_lines, new_lines = ([json.dumps(item, ensure_ascii=False) for item in x] for x in (before, after))
        changed = difflib.unified_diff(old_lines, new_lines, lineterm="", n=0)
        yield from (f"{path}: {line}" for line in changed if not line.startswith(("---", "+++", "@@")))
    elif before != after:
        old, new = (shorten(json.dumps(value, ensure_ascii=False)) for value in (before, after))
        yield f"{path}: {old} -> {new}"


def compare(before: Path, after: Path) -> int:
    """Print every difference of two recordings; 1 when there is any."""
    names = sorted({path.name for folder in (before, after) for path in folder.glob("*.json")})
    count = 0
    for name in names:
        loaded = [
            json.loads((folder / name).read_text("utf-8")) if (folder / name).is_file() else "<absent>"
            for folder in (before, after)
        ]
        for line in differences(name.removesuffix(".json"), *loaded):
            print(line)
            count += 1
    print(f"{count} differences in {len(names)} sections")
    return 1 if count or not names else 0


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="Record what users of a checkout get; compare recordings.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    recorder = verbs.add_parser("record", help="record a checkout into a folder")
    recorder.add_argument("out", type=Path)
    recorder.add_argument("--root", type=Path, default=Path.cwd(), help="the checkout; default: this folder")
    recorder.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    recorder.add_argument("--keep", action="store_true", help="keep the temporary folder")
    comparer = verbs.add_parser("compare", help="print the differences of two recordings")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.verb == "compare":
        return compare(given.before, given.after)
    return record(given.out.resolve(), given.root.resolve(), given.only, given.keep)


if __name__ == "__main__":
    sys.exit(main())
