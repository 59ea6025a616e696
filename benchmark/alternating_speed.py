# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compares the speed-up that a node measures live with that of ``adcp benchmark``, with the models alone.

    python -m benchmark.alternating_speed                       the default models, some minutes
    python -m benchmark.alternating_speed --tasks planning --frames 300

Live: the baseline is primary, the compressed variant its shadow, and both run on every frame, alternately
(``shadow_schedule: alternating``). Offline: interleaved rounds on the same images. Both are medians of the
ratios of a pair, of the runtime alone. Live and offline runs alternate; printed are the medians of the turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import cv2

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.replay.environment import replay_environment
from benchmark.shadow_cost import PRIMARIES
from benchmark.shadow_node import ROOT, SIZE, TASKS, shadowed_node

TARGET = 0.07
_IMAGES = 40


def main() -> int:
    """Measure and print; return 1 where a measurement fails."""
    parser = argparse.ArgumentParser(description="Compare live and offline speed-up.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rate", type=float, default=20.0, help="frames a second")
    parser.add_argument("--frames", type=int, default=200, help="of each turn")
    parser.add_argument("--turns", type=int, default=3, help="of live and offline")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/alternating_speed"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    print("| task | live | offline | live / offline | turns (live, offline) |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, replay_environment(message_bytes=1 << 18):
        try:
            images = write_images(Path(folder))
            for task in options.tasks:
                pairs = [
                    (live(task, options.frames, options.rate), offline(task, options.frames, images))
                    for _ in range(options.turns)
                ]
                results[task] = pairs
                pair = [median(each) for each in zip(*pairs, strict=True)]
                listed = ", ".join(f"{mine:.2f} {other:.2f}" for mine, other in pairs)
                cells = [task, f"{pair[0]:.3f}", f"{pair[1]:.3f}", f"{pair[0] / pair[1]:.3f}", listed]
                print(f"| {' | '.join(cells)} |", flush=True)
        except (DataError, subprocess.CalledProcessError) as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
    written = json.dumps(results, indent=2) + "\n"
    (options.out / "alternating_speed.json").write_text(written, encoding="utf-8")
    print(f"\nTarget: within {TARGET:.0%}.")
    return 0


def write_images(folder: Path) -> Path:
    """Write the camera's images as files."""
    from benchmark.hot_path.frames import images_of

    for place, image in enumerate(images_of(SIZE, _IMAGES)):
        cv2.imwrite(str(folder / f"{place:04d}.png"), image)
    return folder


def live(task: str, frames: int, rate_hz: float) -> float:
    """Return the speed-up that a node measures."""
    parameters = {
        "variant": "baseline",
        "shadow_variant": PRIMARIES[task],
        "shadow_schedule": "alternating",
    }
    with shadowed_node(task, parameters, _IMAGES) as node:
        limit_s = 60.0 + 10.0 * frames / rate_hz
        node.drive(rate_hz, limit_s, lambda figures: int(figures["speedup_frames"]) >= frames)
        return float(node.figures["speedup_infer_paired_p50"])


def offline(task: str, frames: int, images: Path) -> float:
    """Return the speed-up of ``adcp benchmark``."""
    code = "from ad_compressed_perception.cli.main import main; main()"
    model, variants = ROOT / "models" / f"road_{task}", f"baseline,{PRIMARIES[task]}"
    arguments = ["benchmark", str(model), "--variants", variants, "--iterations", str(frames), "--json"]
    command = [sys.executable, "-c", code, *arguments, "--frames", str(images)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return float(json.loads(printed)["variants"][PRIMARIES[task]]["speedup"]["infer"]["median"])


if __name__ == "__main__":
    sys.exit(main())
