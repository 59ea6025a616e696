# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency and throughput of models in stages, against one session with one thread and with as many threads.

    python -m benchmark.staged                                  the default models, 2 stages, a minute
    python -m benchmark.staged --references                     the reference models (AD_SHARED)
    python -m benchmark.staged --variant int8_openvino_small    that variant of the default models
    python -m benchmark.staged --run-in processes --stages 3 --cores 3
    python -m benchmark.staged --option threads=2 --option spinning=true

All sessions run interleaved on noise. Alone: one frame at a time. Under load: frames are submitted as fast as
they are taken, and latency counts from there. The target compares the stages under load with one session with
one thread: at least 1.3 times the frames a second at no more than 1.5 times the latency.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ad_compressed_perception.analysis.benchmark import noise_frames
from ad_compressed_perception.compression.parallelism.measured_stages import (
    SAME_THREADS,
    SINGLE,
    STAGED,
    StagedFlow,
    measure_staged,
)
from ad_compressed_perception.compression.passes.graph.optimize import Optimize
from ad_compressed_perception.compression.passes.graph.partition import WHOLE_NAME, Partition
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.onnx_graph.io import input_name, is_quantized, read_model
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.report.kit.figures import interval_text
from ad_compressed_perception.tasks.prepare import Preparer
from ad_compressed_perception.training.pruning.channel_timing import Runtime

ROOT = Path(__file__).resolve().parents[1]
THROUGHPUT_TARGET, LATENCY_TARGET = 1.3, 1.5
COLUMNS = (
    *("model", "session", "frames/s", "latency alone, ms", "under load, ms"),
    *("frames/s / one thread", "latency under load / one thread", "frames/s / same threads"),
)


def main() -> int:
    """Measure and print; return 1 where nothing could be measured."""
    parser = argparse.ArgumentParser(description="Measure models in stages.")
    parser.add_argument("--models", nargs="+", type=Path, default=sorted((ROOT / "models").glob("road_*")))
    parser.add_argument("--references", action="store_true", help="the reference models instead")
    parser.add_argument("--variant", help="of the models; the baseline by default")
    parser.add_argument("--backend", help="of the stages; the variant's by default")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of that backend")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--run-in", choices=("threads", "processes"), default="threads")
    parser.add_argument("--depth", type=int, default=0, help="frames in flight; 0: as many as stages")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cores", type=int, default=2, help="processor cores to run on")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/staged"))
    options = parser.parse_args()
    with suppress(AttributeError):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    folder = config_folder("reference_models")
    models = sorted(folder.iterdir()) if options.references and folder else options.models
    results: dict[str, Any] = {}
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for model in models:
        try:
            manifest = load_manifest(model, allow_outside=True)
            flow, notes = measure(manifest, options)
        except AdcpError as error:
            print(f"error: {model.name}: {error}", file=sys.stderr)
            continue
        results[manifest.name] = {"notes": notes, "flows": {k: asdict(v) for k, v in flow.flows.items()}}
        for row in rows(manifest.name, flow):
            print(f"| {' | '.join(row)} |", flush=True)
        print(f"cuts: {notes['cuts']}; {flow.sentence(options.stages)}", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "staged.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nTarget: {THROUGHPUT_TARGET} x the frames/s at {LATENCY_TARGET} x the latency of one thread.")
    return 0 if results else 1


def measure(manifest: Manifest, options: argparse.Namespace) -> tuple[StagedFlow, Mapping[str, Any]]:
    """Cut a model into stages and measure them; return the flows and the notes of the pass."""
    name = options.variant or manifest.baseline
    variant, spec = manifest.variant(name), manifest.for_variant(name).input
    source = manifest.checked_path(name, allow_rejected=True)
    model = read_model(decompress(source))
    tensor = input_name(model)
    frames = noise_frames(manifest.for_variant(name))
    feeds: list[Feeds] = [{tensor: Preparer(spec)(frame)[0].copy()} for frame in frames]
    backend = options.backend or variant.backend
    given = dict(variant.options) if backend == variant.backend else {}
    given |= {key: _value(value) for key, _, value in (text.partition("=") for text in options.option)}

    def images() -> Iterator[Frame]:
        return iter(frames)

    with tempfile.TemporaryDirectory(prefix="adcp-staged-") as scratch:
        context = PassContext(
            manifest=manifest,
            input=spec,
            output=manifest.for_variant(name).output,
            feeds=lambda: iter(feeds),
            images=images,
            frames=len(frames),
            baseline=source,
            host=read_host(),
            scratch=Path(scratch),
            checkpoints=Path(scratch) / "checkpoints",
            runtime=(backend, given),
        )
        if not is_quantized(model):
            model = Optimize().apply(model, context)
        path = Partition({"stages": options.stages}).cut(model, context)
        flow = measure_staged(
            path,
            Path(scratch) / WHOLE_NAME,
            Runtime(backend, given),
            feeds,
            options={"run_in": options.run_in, "depth": options.depth},
            rounds=options.rounds,
            seconds=math.inf,
        )
    return flow, context.notes


def rows(name: str, flow: StagedFlow) -> Iterator[tuple[str, ...]]:
    """Yield a row for each session."""
    titles = {
        STAGED: f"stages, {flow.threads} threads together",
        SINGLE: "one session, one thread",
        SAME_THREADS: f"one session, {flow.threads} threads",
    }
    for key, title in titles.items():
        medians = flow.flows[key].medians()
        cells = [f"{medians[figure]:.1f}" for figure in ("throughput_hz", "latency_ms", "loaded_ms")]
        ratios = ["", "", ""]
        if key == STAGED:
            single, same = flow.against(SINGLE), flow.against(SAME_THREADS)
            ratios = [_text(single.throughput), _text(single.loaded), _text(same.throughput)]
        yield (name, title, *cells, *ratios)


def _text(ratio: Interval) -> str:
    return interval_text(ratio, 2)


def _value(text: str) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
