# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a shadow that runs by slack costs its primary, as the node itself reports it.

    python -m benchmark.shadow_cost                      the default models at 20 Hz, five minutes
    python -m benchmark.shadow_cost --tasks planning --rounds 20 --schedule every_nth

Each node runs in a process of its own and gets frames of the road camera (640x480, JPEG). It alternates
blocks with and without the shadow (``shadow_cost_blocks``) and publishes the ratios of the primary's times,
from the arrival of a frame until its result is published, on ~/shadow/figures: they are printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.replay.environment import replay_environment
from benchmark.shadow_node import TASKS, shadowed_node

PRIMARIES = {"planning": "prune_int8", "segmentation": "int8_small", "detection": "int8_openvino_small"}
TARGETS = {"p50": 1.01, "p99": 1.03}
_COLUMNS = ("p50", "p99")


def main() -> int:
    """Measure and print; return 1 where a node gives no figures."""
    parser = argparse.ArgumentParser(description="Measure what a shadow costs its primary.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rate", type=float, default=20.0, help="frames a second")
    parser.add_argument("--block", type=int, default=40, help="frames of a block")
    parser.add_argument("--rounds", type=int, default=25, help="pairs of blocks")
    parser.add_argument("--schedule", choices=("slack", "every_nth", "alternating"), default="slack")
    parser.add_argument("--max-rate", type=float, default=2.0, help="runs of the shadow a second, by slack")
    parser.add_argument("--primary", help="variant; the compressed one by default")
    parser.add_argument("--shadow", default="baseline", help="variant")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/shadow_cost"), help="folder to write to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, str]] = {}
    limit_s = 3.0 * 2 * options.block * options.rounds / options.rate + 60.0
    with replay_environment(message_bytes=1 << 18):
        try:
            for task in options.tasks:
                parameters = {
                    "variant": options.primary or PRIMARIES[task],
                    "shadow_variant": options.shadow,
                    "shadow_schedule": options.schedule,
                    "shadow_max_rate_hz": options.max_rate,
                    "shadow_cost_blocks": options.block,
                }
                with shadowed_node(task, parameters) as node:
                    node.drive(
                        options.rate,
                        limit_s,
                        lambda figures: int(figures.get("cost_rounds", 0)) >= options.rounds,
                    )
                    results[task] = dict(node.figures)
        except DataError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
    (options.out / "shadow_cost.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(render(results))
    return 0


def render(results: dict[str, dict[str, str]]) -> str:
    """Return a table of the ratios."""
    lines = [
        "| task | shadow | p50 with / without shadow | p99 | frames | compared | needs | agreement |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, found in results.items():
        cells = [task, f"{found['variant']} by {found['schedule']}"]
        for name in _COLUMNS:
            ends = (found[f"cost_{name}_ratio{end}"] for end in ("_low", "", "_high"))
            low, ratio, high = (float(end or "nan") for end in ends)
            cells.append(f"{ratio:.3f} ({low:.3f} to {high:.3f}), target {TARGETS[name]}")
        needs_ms, agreement = (float(found[key] or "nan") for key in ("time_needed_ms", "agreement"))
        cells += [found["cost_frames"], found["compared"], f"{needs_ms:.1f} ms", f"{agreement:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
