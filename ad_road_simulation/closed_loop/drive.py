# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drive variants on the same routes, compare them and write the report; finished routes are reused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ad_compressed_perception import __version__
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.workspace.store import content_hash
from ad_road_simulation.closed_loop.images import FOLDER
from ad_road_simulation.closed_loop.journal import RouteJournal
from ad_road_simulation.closed_loop.latency import EXPERT, Latency, measure_latency, parse_latency
from ad_road_simulation.closed_loop.planners import check_variants
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


class DriveProgress(Protocol):
    """Receives progress updates."""

    def notify(self, text: str) -> None:
        """Show the current step."""

    def advance(self, done: int, total: int) -> None:
        """Show how much of the current step is done."""


@dataclass(frozen=True)
class DriveOptions:
    """What to drive.

    Attributes:
        variants: names; ``expert`` is the reference driver. The others are compared with the first one.
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


def run_drive(manifest: Manifest, options: DriveOptions, progress: DriveProgress) -> DriveReport:
    """Drive every variant on every route that is not in the journal yet, and write the report.

    Raises:
        AdcpError: a model of another task, an unknown variant or option, or a variant that fails.
    """
    check_variants(manifest, list(options.variants))
    options.route(0).options()
    latencies = _latencies(manifest, options, progress)
    journal = RouteJournal(options.out)
    conditions = {name: _conditions(manifest, options, name, latencies[name]) for name in options.variants}
    results = {name: journal.finished(conditions[name]) for name in options.variants}
    jobs = []
    # All variants of a route before the next route: an interrupted run can then be compared.
    for index in range(options.routes):
        route = options.route(index)
        images = options.out / FOLDER if index == 0 else None
        jobs += [
            Job(name, route, latencies[name], images)
            for name in options.variants
            if route.seed not in results[name]
        ]
    progress.notify(f"driving {options.routes} routes of {options.length_m:g} m")
    total = options.routes * len(options.variants)
    with closing(drive_all(manifest, jobs, options.jobs)) as finished:
        for done, (job, result) in enumerate(finished, total - len(jobs) + 1):
            journal.add(conditions[job.variant], result)
            results[job.variant][result.seed] = result
            progress.advance(done, total)
    expected = [options.route(index).seed for index in range(options.routes)]
    driven: dict[str, dict[int, RouteResult]] = {
        name: {seed: results[name][seed] for seed in expected} for name in options.variants
    }
    return write_report(manifest, options.out, _settings(options), driven, latencies)


def _settings(options: DriveOptions) -> dict[str, Any]:
    return {
        "routes": options.routes,
        "length_m": options.length_m,
        "traffic": options.traffic,
        "weather": options.weather,
        "seed": options.seed,
        "latency": options.latency,
    }


def _conditions(
    manifest: Manifest, options: DriveOptions, variant: str, latency_ms: Latency
) -> dict[str, Any]:
    """Return everything besides the seed that the result of a route depends on."""
    of_model: dict[str, Any] = {}
    if variant != EXPERT:
        chosen = manifest.variant(variant)
        of_model = {
            "model": manifest.name,
            "sha256": content_hash(manifest, variant),
            "backend": chosen.backend,
            "options": chosen.options,
            "output": manifest.for_variant(variant).output.model_dump(mode="json"),
        }
    return {
        "version": __version__,
        "variant": variant,
        **of_model,
        "length_m": options.length_m,
        "traffic": options.traffic,
        "weather": options.weather,
        "latency": hashlib.sha256(json.dumps(latency_ms).encode()).hexdigest()[:16],
    }


def _latencies(manifest: Manifest, options: DriveOptions, progress: DriveProgress) -> dict[str, Latency]:
    """Return each variant's latencies; measured ones are stored and reused by a second run."""
    given = parse_latency(options.latency, options.variants)
    if given is not None:
        return given
    path = options.out / LATENCIES
    models = [name for name in options.variants if name != EXPERT]
    kept = _read_latencies(path)
    keys = {name: f"{name}:{content_hash(manifest, name)}" for name in models}
    missing = [name for name in models if keys[name] not in kept]
    if missing:
        progress.notify(f"measuring the latency of {', '.join(missing)}")
        measured = measure_latency(manifest, missing, _images(options), progress=progress.advance)
        kept |= {keys[name]: list(measured[name]) for name in missing}
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept), encoding="utf-8")
    return {name: tuple(kept[keys[name]]) if name in keys else () for name in options.variants}


def _read_latencies(path: Path) -> dict[str, list[float]]:
    try:
        kept: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _images(options: DriveOptions) -> Sequence[Frame]:
    """Return the camera images at the start of some routes."""
    renderer = Renderer(Camera())
    frames = []
    for index in range(min(_IMAGES, options.routes)):
        route = options.route(index)
        scene = Simulation(route.seed, route.options()).scene()
        frames.append(Frame(renderer.render(scene).image_bgr, "BGR", index))
    return frames
