# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the default models: ``python benchmark/default_models.py [models/NAME ...]``.

For every variant: inference time against the baseline (interleaved), size, accuracy on the road camera, and,
where the reference data is present (AD_SHARED), accuracy on real frames that were not used in
training; differences are paired. Prints Markdown and writes default_models.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.metrics.agreement import MatchCounts, detection_agreement
from ad_compressed_perception.metrics.bootstrap import resample_indices
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_road_simulation.demo.reference_data import use_shared

ROAD_FRAMES, ROAD_SEED = 500, 900_000
TRAINING_SHARE = 0.75
"""Share of the real drive that was used in training; the rest is measured."""
ROAD_FIGURES = {"detection": ("map",), "segmentation": ("miou",), "planning": ("ade_m", "rmse_rad")}
REAL: dict[str, tuple[str, list[str]]] = {
    "segmentation": ("iou_road", ["data/camvid/val", "--label-map", "camvid_road"]),
    "planning": ("rmse_rad", ["data/udacity_ch2", "--from", str(TRAINING_SHARE)]),
}
REFERENCE_DETECTOR = "yolox_nano"
_BLOCK = 25
_RESAMPLES = 1000

Rows = list[tuple[str, ...]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return 0, or 1 after a line with the error."""
    parser = argparse.ArgumentParser(description="Measure the default models.")
    parser.add_argument("models", nargs="*", type=Path, help="model folders; all in models/ by default")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/default_models"))
    parser.add_argument("--iterations", type=int, default=200, help="rounds of the timing")
    options = parser.parse_args(arguments)
    models = options.models or sorted(path.parent for path in Path("models").glob("*/model.yaml"))
    try:
        measured = [measure(load_manifest(model), options.out, options.iterations) for model in models]
    except AdcpError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "default_models.json").write_text(json.dumps(measured, indent=2) + "\n")
    for one in measured:
        print(render(one))
    return 0


def measure(manifest: Manifest, out: Path, iterations: int) -> dict[str, Any]:
    """Return everything measured of one model, by variant."""
    names = [manifest.baseline, *(name for name in manifest.variants if name != manifest.baseline)]
    variants = ",".join(names)
    road = out / "road_camera"
    if not road.is_dir():
        seed = ["--seed", str(ROAD_SEED), "--frames", str(ROAD_FRAMES)]
        adcp("camera", "--independent", *seed, "--out", str(road))
    folder = str(manifest.folder)
    result: dict[str, Any] = {
        "model": manifest.name,
        "task": manifest.task,
        "variants": names,
        "bytes": {name: manifest.variant_path(name).stat().st_size for name in names},
        "times": adcp_json(
            "benchmark", folder, "--variants", variants, "--threads", "1", "--iterations", str(iterations)
        ),
        "road": adcp_json("evaluate", folder, "--variant", variants, "--data", str(road)),
    }
    shared = use_shared()
    if shared is None:
        return result
    if manifest.task == "detection":
        result["real_f1"] = f1_against(
            REFERENCE_DETECTOR, manifest, names, shared / "data/udacity_ch2/images"
        )
    else:
        _, data = REAL[manifest.task]
        result["real"] = adcp_json(
            "evaluate", folder, "--variant", variants, "--data", str(shared / data[0]), *data[1:]
        )
    return result


def f1_against(detector: str, manifest: Manifest, names: list[str], images: Path) -> dict[str, Any]:
    """Return F1 at IoU 0.5 of variants against another detector's boxes of the same labels.

    Both at their own default score thresholds, on the part of the drive not used in training; the
    bootstrap intervals resample blocks of 25 frames.
    """
    from ad_compressed_perception.training.default_models.teacher import find_model

    source = open_frames(str(images))
    count = len(source.stamps_ns())
    indices = range(int(count * TRAINING_SHARE), count)
    reference = open_pipeline(find_model(detector))
    running = {name: open_pipeline(manifest, name, allow_rejected=True) for name in names}
    counts: dict[str, list[MatchCounts]] = {name: [] for name in names}
    for frame in source.frames(indices):
        ground_truth, _ = reference.run(frame)
        assert isinstance(ground_truth, Detections)
        expected = select_labels(ground_truth, manifest.labels)
        for name, pipeline in running.items():
            found, _ = pipeline.run(frame)
            assert isinstance(found, Detections)
            counts[name].append(detection_agreement(expected, found).overall)
    for pipeline in (reference, *running.values()):
        pipeline.close()
    tables = {
        name: np.array([[c.matched, c.extra, c.missed] for c in some], np.float64)
        for name, some in counts.items()
    }
    baseline = tables[names[0]]
    result: dict[str, Any] = {"reference": detector, "frames": len(indices), "variants": {}}
    for name, table in tables.items():
        draws = np.concatenate(
            [
                np.stack([f1(table[rows].sum(1)), f1(table[rows].sum(1)) - f1(baseline[rows].sum(1))], 1)
                for rows in resample_indices(len(table), _RESAMPLES, 0, _BLOCK)
            ]
        )
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        value = float(f1(table.sum(0)[None])[0])
        drop = value - float(f1(baseline.sum(0)[None])[0])
        result["variants"][name] = {"f1": [value, low[0], high[0]], "difference": [drop, low[1], high[1]]}
    return result


def f1(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return 2 TP / (2 TP + FP + FN) of (N, 3) sums of matched, extra and missed boxes."""
    return 2 * counts[:, 0] / np.maximum(2 * counts[:, 0] + counts[:, 1] + counts[:, 2], 1.0)


def select_labels(detections: Detections, labels: list[str]) -> Detections:
    """Return the detections of some labels."""
    kept = np.array([detections.labels[i] in labels for i in detections.class_ids], bool)
    return Detections(
        detections.boxes_xyxy[kept], detections.scores[kept], detections.class_ids[kept], detections.labels
    )


def adcp(*arguments: str) -> str:
    """Run a subcommand; return its standard output, or raise DataError with its error message."""
    command = [sys.executable, "-m", "ad_compressed_perception.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(done.stderr.strip().removeprefix("error: ") or f"adcp {arguments[0]} failed")
    return done.stdout


def adcp_json(*arguments: str) -> dict[str, Any]:
    """Run a subcommand with --json; return its document."""
    document: dict[str, Any] = json.loads(adcp(*arguments, "--json"))
    return document


def render(measured: dict[str, Any]) -> str:
    """Return one model's figures as a Markdown table."""
    head = ["variant", "time, ratio", "MB", "size, ratio"]
    task = measured["task"]
    figures = [("road", key) for key in ROAD_FIGURES[task] if key in _first(measured["road"])]
    figures += [("real", REAL[task][0])] if "real" in measured else []
    head += [f"{key} ({'road camera' if where == 'road' else 'real frames'})" for where, key in figures]
    head += [f"F1 against {measured['real_f1']['reference']}"] if "real_f1" in measured else []
    rows: Rows = []
    sizes = measured["bytes"]
    baseline = measured["variants"][0]
    for name in measured["variants"]:
        row = [name, _ratio(measured["times"], name), f"{sizes[name] / 1e6:.2f}"]
        row.append(f"{sizes[baseline] / sizes[name]:.1f}x")
        row += [_figure(measured[where], name, key) for where, key in figures]
        if "real_f1" in measured:
            one = measured["real_f1"]["variants"][name]
            row.append(
                _bracket(one["f1"]) + ("" if name == baseline else f"; {_bracket(one['difference'], '+')}")
            )
        rows.append(tuple(row))
    lines = [tuple(head), ("---",) * len(head), *rows]
    return f"### {measured['model']}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _first(document: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = next(iter(document["variants"].values()))["figures"]
    return figures


def _figure(document: dict[str, Any], name: str, key: str) -> str:
    one = document["variants"][name]["figures"][key]
    text = _bracket([one["value"], one["low"], one["high"]])
    if name in document["comparison"]:
        other = document["comparison"][name]["difference"][key]
        text += f"; {_bracket([other['value'], other['low'], other['high']], '+')}"
    return text


def _bracket(figure: list[float], sign: str = "") -> str:
    value, low, high = (format(number, f"{sign}.3f") for number in figure)
    return f"{value} [{low}, {high}]"


def _ratio(times: dict[str, Any], name: str) -> str:
    one = times["variants"][name]
    ratio = one["speedup"].get("infer")
    shown = "1" if not ratio else f"{ratio['median']:.2f}x [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    return f"{one['stages_ms']['infer']['p50']:.2f} ms, {shown}"


if __name__ == "__main__":
    sys.exit(main())
