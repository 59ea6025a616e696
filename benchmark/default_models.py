# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the figures that the model cards and docs/measurements/index.md quote, and makes their tables.

    python benchmark/default_models.py                      times and sizes of the default models
    python benchmark/default_models.py --quote [MODEL ...]  accuracies; quoted_figures.json and the tables
    python benchmark/default_models.py --tables             the tables only

Accuracies are measured on the frames that data_use.yaml declares to quote: they trained and chose nothing.
``--quote`` needs the reference data (AD_SHARED); variants of reference models that are not in the work
folder are compressed first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_use import DataUse, Part, load_data_use, problems
from labeled_parts import evaluation_arguments, straight_ahead
from quoted_figures import (
    STRAIGHT,
    UNITS,
    Quoted,
    find_model,
    load_figures,
    write_figures,
    write_tables,
)

from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.workspace.find import find_all
from ad_road_simulation.demo.reference_data import use_shared

_DRIVE_STEP, _FOLDER_STEP = 20, 4
COMMAND = "python benchmark/default_models.py --quote"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return 0, or 1 after a line with the error."""
    parser = argparse.ArgumentParser(description="Measure the default models and the quoted figures.")
    parser.add_argument("models", nargs="*", help="names; all by default")
    parser.add_argument("--quote", action="store_true", help="measure accuracies on the quoting parts")
    parser.add_argument("--tables", action="store_true", help="make the tables from quoted_figures.json")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/default_models"))
    parser.add_argument("--work", type=Path, help="variants of reference models; ./adcp_work by default")
    parser.add_argument("--iterations", type=int, default=200, help="rounds of the timing")
    options = parser.parse_args(arguments)
    try:
        use = load_data_use()
        if options.tables:
            return _tables(use)
        options.out.mkdir(parents=True, exist_ok=True)
        if options.quote:
            quote(use, options.models or list(use.models), options.out.resolve(), options.work)
            return _tables(use)
        names = options.models or [name for name, one in use.models.items() if not one.recipes]
        measured = [times_and_sizes(find_model(name), options.iterations) for name in names]
    except AdcpError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    (options.out / "default_models.json").write_text(json.dumps(measured, indent=2) + "\n")
    for one in measured:
        print(render(one))
    return 0


def _tables(use: DataUse) -> int:
    for path in write_tables(use, load_figures()):
        print(path)
    return 0


def quote(use: DataUse, names: Sequence[str], out: Path, work: Path | None) -> None:
    """Measure the figures of models on their quoting parts and write them.

    Raises:
        DataError: no reference data, a part that trained or chose, or a step failed.
    """
    shared = use_shared()
    if shared is None:
        raise DataError("no reference data to measure with: set AD_SHARED to its folder")
    for problem in problems(use, shared):
        raise DataError(problem)
    kept = [one for one in load_figures() if one.model not in names]
    for name in names:
        print(name, file=sys.stderr)
        kept += _quoted(use, name, shared, out, work)
    order = list(use.models)
    write_figures(sorted(kept, key=lambda one: order.index(one.model)))


def _quoted(use: DataUse, name: str, shared: Path, out: Path, work: Path | None) -> list[Quoted]:
    manifest, entry = find_model(name), use.models[name]
    found = find_all(manifest, work)
    for recipe in entry.recipes:
        if recipe not in found:
            images = calibration_images([use.parts[part] for part in entry.calibration], shared, out / name)
            _compress(manifest, recipe, images, work)
    found = find_all(manifest, work)
    names = [manifest.baseline, *(one for one in manifest.variants if one != manifest.baseline)]
    names += entry.recipes
    figures = []
    for part, metrics in entry.quote.items():
        folder = out / part
        if use.parts[part].seeds is None:
            data = (shared / str(use.parts[part].images)).parent
            arguments = evaluation_arguments(part, data, folder)
        else:
            arguments = _road_camera(use.parts[part], folder)
        command = ["evaluate", str(manifest.folder), "--variant", ",".join(names), *arguments]
        command += [] if work is None else ["--work", str(work)]
        document = adcp_json(*command)
        frames = int(document["data"]["evaluated"])
        for metric in metrics:
            common = {
                "model": name, "part": part, "frames": frames, "metric": metric, "unit": UNITS[metric],
                "command": f"{COMMAND} {name}",
            }  # fmt: skip
            for variant in names:
                difference = document["comparison"].get(variant, {}).get("difference", {}).get(metric)
                figures.append(
                    Quoted(
                        **common,
                        variant=variant,
                        sha256=found[variant].variant(variant).sha256,
                        figure=_rounded(document["variants"][variant]["figures"][metric]),
                        difference=None if difference is None else _rounded(difference),
                    )
                )
            if manifest.task == "planning" and use.parts[part].seeds is None:
                straight = _rounded({"value": straight_ahead(part, folder)[metric]})
                figures.append(Quoted(**common, variant=STRAIGHT, sha256="", figure=straight))
    return figures


def _rounded(figure: dict[str, float]) -> Interval:
    return Interval(**{key: round(value, 5) for key, value in figure.items()})


def _road_camera(part: Part, folder: Path) -> list[str]:
    assert part.seeds is not None
    if not folder.is_dir():
        seed = ["--seed", str(part.seeds[0]), "--frames", str(part.frames)]
        adcp("camera", "--independent", *seed, "--out", str(folder))
    return ["--data", str(folder)]


def calibration_images(parts: Sequence[Part], shared: Path, out: Path) -> Path:
    """Return a folder of links, shuffled; of several parts every 20th image of drives, every fourth else."""
    chosen: list[Path] = []
    for part in parts:
        step = 1 if len(parts) == 1 else _DRIVE_STEP if part.share != (0.0, 1.0) else _FOLDER_STEP
        chosen += part.paths(shared)[::step]
    random.Random(0).shuffle(chosen)
    folder = out / "calibration"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for number, path in enumerate(chosen):
            os.symlink(path, folder / f"{number:04d}_{path.name}")
    return folder


def _compress(manifest: Manifest, recipe: str, images: Path, work: Path | None) -> None:
    print(f"{manifest.name}: compressing with {recipe}", file=sys.stderr)
    command = ["compress", str(manifest.folder), "--recipe", recipe, "--calibration", str(images)]
    # Rejected and inconclusive variants are measured too.
    adcp(*command, *([] if work is None else ["--work", str(work)]), accepted=(0, 3, 4))


def times_and_sizes(manifest: Manifest, iterations: int) -> dict[str, Any]:
    """Return inference times, interleaved with the baseline's, and sizes of all variants."""
    names = [manifest.baseline, *(name for name in manifest.variants if name != manifest.baseline)]
    rounds = ["--threads", "1", "--iterations", str(iterations)]
    return {
        "model": manifest.name,
        "variants": names,
        "bytes": {name: manifest.variant_path(name).stat().st_size for name in names},
        "times": adcp_json("benchmark", str(manifest.folder), "--variants", ",".join(names), *rounds),
    }


def adcp(*arguments: str, accepted: tuple[int, ...] = (0,)) -> str:
    """Run a subcommand; return its standard output, or raise DataError with its error message."""
    command = [sys.executable, "-m", "ad_compressed_perception.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise DataError(done.stderr.strip().removeprefix("error: ") or f"adcp {arguments[0]} failed")
    return done.stdout


def adcp_json(*arguments: str) -> dict[str, Any]:
    """Run a subcommand with --json; return its document."""
    document: dict[str, Any] = json.loads(adcp(*arguments, "--json"))
    return document


def render(measured: dict[str, Any]) -> str:
    """Return one model's times and sizes as a Markdown table."""
    sizes, baseline = measured["bytes"], measured["variants"][0]
    lines = [["variant", "time, ratio", "MB", "size, ratio"], ["---"] * 4]
    for name in measured["variants"]:
        size = [f"{sizes[name] / 1e6:.2f}", f"{sizes[baseline] / sizes[name]:.1f}x"]
        lines.append([name, _ratio(measured["times"], name), *size])
    return f"### {measured['model']}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _ratio(times: dict[str, Any], name: str) -> str:
    one = times["variants"][name]
    ratio = one["speedup"].get("infer")
    shown = "1" if not ratio else f"{ratio['median']:.2f}x [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    return f"{one['stages_ms']['infer']['p50']:.2f} ms, {shown}"


if __name__ == "__main__":
    sys.exit(main())
