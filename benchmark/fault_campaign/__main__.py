# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The fault campaign: ``python -m benchmark.fault_campaign [--faults 10000] [--bag BAG] [--out DIR]``.

Real nodes with the default models get the frames of a drive; the backend ``fault_injection`` injects faults
into the compressed variant. Every published result is compared, byte by byte, with what baseline and variant
give for the same frame without faults. The exit status is 1 where a target is missed or nothing was proven.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def main() -> int:
    """Run the campaign; return the exit status."""
    from ad_compressed_perception.core.errors import AdcpError
    from benchmark.fault_campaign.account import Account
    from benchmark.fault_campaign.run import run_scenario
    from benchmark.fault_campaign.scenarios import scenarios

    options = _parse()
    accounts: dict[str, Account] = {}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="adcp-faults-") as scratch:
        folder = options.out or Path(scratch)
        for number, scenario in enumerate(scenarios(options.faults, options.seed)):
            if options.only and options.only not in scenario.name:
                continue
            began = time.monotonic()
            try:
                done = run_scenario(
                    scenario,
                    folder / f"{number}_{scenario.task}",
                    options.bag,
                    options.frames,
                    has_guard=not options.without_guard,
                )
            except AdcpError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            accounts[scenario.name] = done
            print(_line(scenario.name, done, time.monotonic() - began), flush=True)
            for problem in done.problems:
                print(f"    problem: {problem}", flush=True)
        total = sum((one.injected for one in accounts.values()), Counter())
        print(f"{total.total()} faults in {time.monotonic() - start:.0f} s: {dict(total)}")
        if options.out:
            document = {name: _plain(vars(one)) for name, one in accounts.items()}
            (options.out / "fault_campaign.json").write_text(json.dumps(document, indent=2) + "\n")
    return int(not accounts or any(one.problems for one in accounts.values()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmark.fault_campaign", description=__doc__)
    parser.add_argument("--faults", type=int, default=10_000, help="about how many in all (10000)")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (1)")
    parser.add_argument("--bag", type=Path, help="a recorded drive; the road camera's without")
    parser.add_argument("--frames", type=int, default=200, help="of the drive, which is repeated (200)")
    parser.add_argument("--only", help="scenarios whose names contain this")
    parser.add_argument("--without-guard", action="store_true", help="nodes without a fallback, to compare")
    parser.add_argument(
        "--out", type=Path, help="new folder for fault_campaign.json and the logs of the nodes"
    )
    return parser.parse_args()


def _line(name: str, one: object, took_s: float) -> str:
    from benchmark.fault_campaign.account import Account

    assert isinstance(one, Account)
    lost = ", ".join(f"{kind} {count}" for kind, count in one.without_result.items()) or "0"
    wrong = ", ".join(f"{kind} {count}" for kind, count in one.untrusted.items()) or "0"
    times = "; ".join(
        f"{key} {p50:.1f}, {p99:.1f}, {most:.1f}" for key, (p50, p99, most) in one.latency_ms.items()
    )
    return (
        f"{name}: {one.injected.total()} faults in {one.hit} of {one.frames} frames ({took_s:.0f} s); "
        f"without a result: {lost}; untrusted: {wrong}; answered by {dict(one.levels)}, results of "
        f"{dict(one.whose)}; {one.steps} steps, {one.shortest_between_steps_s:.3g} s apart at least; "
        f"ms p50, p99, max: {times}"
    )


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    sys.exit(main())
