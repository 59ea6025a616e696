# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drive variants on the same routes, compare them and write the report; finished routes are reused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception import __version__
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.workspace.store import content_hash
from ad_road_simulation.closed_loop.drive_schema import DriveSettings, MeasuredLatencies
from ad_road_simulation.closed_loop.faulted import parse_label, variant_of
from ad_road_simulation.closed_loop.images import FOLDER
from ad_road_simulation.closed_loop.journal import RouteJournal
from ad_road_simulation.closed_loop.latency import EXPERT, Latency, measure_latency, parse_latency
from ad_road_simulation.closed_loop.planner_cache import check_variants
from ad_road_simulation.closed_loop.report import DriveReport, write_report
from ad_road_simulation.closed_loop.route_metrics import RouteResult
from ad_road_simulation.closed_loop.run import Route
from ad_road_simulation.closed_loop.worker_pool import Job, drive_all
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.simulation import Simulation

LATENCIES = "latency.json"
_SEEDS_APART = 100_000
_IMAGES = 4


@dataclass(frozen=True)
class DriveOptions:
    """What to drive.

    Attributes:
        variants: names, with a fault or without (see faulted.py); ``expert`` is the reference driver. The
            others are compared with the first one.
        out: folder of journal and report.
        routes: number of routes.
        length_m, traffic, weather: of each route, see world.layout.RouteOptions.
        seed: of the routes; equal seeds give equal routes.
        latency: ``measured``, ``none``, milliseconds or ``VARIANT=MS,...``.
        jobs: parallel processes.
    """

    variants: tuple[str, ...]
    out: Path
    routes: int = 50
    length_m: float = 1000.0
    traffic: float = 1.0
    weather: str | None = None
    seed: int = 1
    latency: str = "measured"
    jobs: int = 1

    def route(self, index: int) -> Route:
        """Return the route with this index."""
        return Route(self.seed * _SEEDS_APART + index, self.length_m, self.traffic, self.weather)


def run_drive(manifest: Manifest, options: DriveOptions, progress: Progress) -> DriveReport:
    """Drive every variant on every route that is not in the journal yet, and write the report.

    Raises:
        AdcpError: a model of another task, an unknown variant or option, or a variant that fails.
    """
    check_variants(manifest, list(options.variants))
    options.route(0).options()
    latencies = _latencies(manifest, options, progress)
    standby_ms = float(np.median(latencies.get(manifest.baseline) or [0.0]))
    journal = RouteJournal(options.out)
    conditions = {name: _conditions(manifest, options, name, latencies[name]) for name in options.variants}
    results = {name: journal.finished(conditions[name]) for name in options.variants}
    jobs = []
    # All variants of a route before the next route: an interrupted run can then be compared.
    for index in range(options.routes):
        route = options.route(index)
        images = options.out / FOLDER if index == 0 else None
        jobs += [
            Job(name, route, latencies[name], images, standby_ms)
            for name in options.variants
            if route.seed not in results[name]
        ]
    step = f"driving {options.routes} routes of {options.length_m:g} m"
    progress(step, 0, 0)
    total = options.routes * len(options.variants)
    with closing(drive_all(manifest, jobs, options.jobs)) as finished:
        for done, (job, result) in enumerate(finished, total - len(jobs) + 1):
            journal.add(conditions[job.variant], result)
            results[job.variant][result.seed] = result
            progress(step, done, total)
    expected = [options.route(index).seed for index in range(options.routes)]
    driven: dict[str, dict[int, RouteResult]] = {
        name: {seed: results[name][seed] for seed in expected} for name in options.variants
    }
    return write_report(manifest, options.out, _settings(options), driven, latencies)


def _settings(options: DriveOptions) -> DriveSettings:
    return copied(DriveSettings, options)


def _conditions(
    manifest: Manifest, options: DriveOptions, variant: str, latency_ms: Latency
) -> dict[str, Any]:
    """Return everything besides the seed that the result of a route depends on."""
    of_model: dict[str, Any] = {}
    if variant != EXPERT:
        name = variant_of(variant)
        chosen = manifest.variant(name)
        of_model = {
            "model": manifest.name,
            "sha256": content_hash(manifest, name),
            "backend": chosen.backend,
            "options": chosen.options,
            "output": manifest.for_variant(name).output.model_dump(mode="json"),
        }
        if name != variant:
            of_model["standby"] = content_hash(manifest, manifest.baseline)
    return {
        "version": __version__,
        "variant": variant,
        **of_model,
        "length_m": options.length_m,
        "traffic": options.traffic,
        "weather": options.weather,
        "latency": hashlib.sha256(json.dumps(latency_ms).encode()).hexdigest()[:16],
    }


def _latencies(manifest: Manifest, options: DriveOptions, progress: Progress) -> dict[str, Latency]:
    """Return each variant's latencies; measured ones are stored and reused by a second run."""
    plain = list(dict.fromkeys(map(variant_of, options.variants)))
    has_faults = any(parse_label(label) is not None for label in options.variants if label != EXPERT)
    if has_faults and manifest.baseline not in plain:
        plain.append(manifest.baseline)
    found = parse_latency(options.latency, plain)
    if found is None:
        found = _measured_latencies(manifest, options, plain, progress)
    return found | {label: found[variant_of(label)] for label in options.variants}


def _measured_latencies(
    manifest: Manifest, options: DriveOptions, variants: Sequence[str], progress: Progress
) -> dict[str, Latency]:
    path = options.out / LATENCIES
    models = [name for name in variants if name != EXPERT]
    kept = _read_latencies(path)
    keys = {name: f"{name}:{content_hash(manifest, name)}" for name in models}
    missing = [name for name in models if keys[name] not in kept]
    if missing:
        advance = partial(progress, f"measuring the latency of {', '.join(missing)}")
        measured = measure_latency(manifest, missing, _images(options), advance=advance)
        kept |= {keys[name]: list(measured[name]) for name in missing}
        MeasuredLatencies(latency_ms=kept).write(path)
    return {name: tuple(kept[keys[name]]) if name in keys else () for name in variants}


def _read_latencies(path: Path) -> dict[str, list[float]]:
    try:
        return MeasuredLatencies.read(path).latency_ms
    except DataError:  # none yet, or not of this version
        return {}


def _images(options: DriveOptions) -> Sequence[Frame]:
    """Return the camera images at the start of some routes."""
    renderer = Renderer(Camera())
    frames = []
    for index in range(min(_IMAGES, options.routes)):
        route = options.route(index)
        scene = Simulation(route.seed, route.options()).scene()
        frames.append(Frame(renderer.render(scene).image_bgr, "BGR", index))
    return frames
