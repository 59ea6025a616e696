# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often the verdict is wrong: ``python benchmark/verdict_calibration.py [--variants 1000]``.

Every variant is simulated on frames of its own: results of a baseline and of the variant, which differ in
difficulty. Drives go through them as a first-order autoregressive difficulty does: the frame at each moment
is the one whose rank of difficulty is the series' probability. Each frame is equally likely at any moment, so
the variant's true drop is the gated figure over all its frames, exactly. The limit is set for a chosen
ratio of true drop to limit. The score and the gate that ``adcp compress`` uses judge drives of several
lengths.

Prints Markdown and writes ``verdict_calibration.json``. The same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.sizes import Sizes
from ad_compressed_perception.compression.verification.coverage import IntegerCoverage
from ad_compressed_perception.compression.verification.gate import decide
from ad_compressed_perception.compression.verification.informative import BaselineInformation
from ad_compressed_perception.compression.verification.outcome import gate_figures
from ad_compressed_perception.compression.verification.scores import AgreementFigures, AgreementScore
from ad_compressed_perception.compression.verification.task_scores import create_score
from ad_compressed_perception.compression.verification.verify import (
    FrameTimes,
    LatencyFigures,
    Verification,
)
from ad_compressed_perception.core.manifest import Manifest, Verdict
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.pass_api.terms import AcceptSpec, VerifySpec
from ad_compressed_perception.tasks.planning import arc_points

TASKS = ("detection", "segmentation", "planning")
LENGTHS = (60, 100, 200, 500)
FRAMES = 120
"""Frames of a variant; a drive repeats them."""
LIMITS = (0.02, 0.3)
"""Limits from, to."""
RATIOS = (0.2, 5.0)
"""True drop / limit from, to."""
CORRELATIONS = (0.0, 2.0, 5.0, 10.0)
"""Frames after which the correlation of the drive's difficulty has fallen to 1/e; 0: independent frames."""
FAMILIES = ("spread", "hard_frames", "one_label", "failures")
"""Where a variant loses: everywhere, in difficult frames, one label (bends for paths), frames as a whole."""
NEAR = 0.02
"""Two fifths of the variants lie so close to the limit, half of them on each side."""

_DET_LABELS = ("car", "person")
_SEG_LABELS = ("road", "background", "vehicle", "pole")
_ROWS, _COLUMNS = 24, 32
# Bounds between which a variant's severity is drawn.
_SEVERITIES = {"detection": (0.01, 0.6), "segmentation": (0.01, 0.4), "planning": (0.01, 0.4)}
_HORIZON_M = 30.0
# At the end of the path, where it is exceeded first.
_TOLERANCE_M = VerifySpec().lateral_tolerance_m + VerifySpec().lateral_tolerance_per_m * _HORIZON_M

Pairs = Iterator[tuple[Result, Result]]


@dataclass(frozen=True)
class World:
    """A kind of drive and of loss.

    Attributes:
        task: detection, segmentation or planning.
        family: where the variant loses.
        density: how full the frames are, about 1.
        spread: how strongly the loss depends on difficulty.
    """

    task: str
    family: str
    density: float
    spread: float


@dataclass
class Judged:
    """One verification set and its verdict.

    Attributes:
        ratio: true drop / limit.
        decided_later: whether the frames that an inconclusive verdict asked for decided it; None where it
            named no number, or it was not tried.
    """

    family: str
    correlation: float
    limit: float
    ratio: float
    frames: int
    status: str
    width: float
    asked: int | None = None
    decided_later: bool | None = None


@dataclass
class Tally:
    """Counts of one group of sets."""

    judged: list[Judged] = field(default_factory=list)

    def wrong(self, status: str, chosen: Sequence[Judged] | None = None) -> int:
        """Return how many sets were accepted beyond the limit, or rejected within it."""
        sets = self.judged if chosen is None else chosen
        return sum(one.status == status and (one.ratio > 1.0) == (status == "accepted") for one in sets)


def difficulty(frames: int, correlation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a stationary AR(1) series of unit variance; independent values for a correlation of 0."""
    noise = rng.standard_normal(frames)
    if correlation <= 0.0:
        return noise
    rho = float(np.exp(-1.0 / correlation))
    noise[1:] *= np.sqrt(1.0 - rho * rho)
    for place in range(1, frames):
        noise[place] += rho * noise[place - 1]
    return noise


def loss_of_frames(
    world: World, severity: float, hard: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (N,) loss of each frame, 0..1: the chance that an object or pixel is lost there."""
    own = rng.standard_normal(len(hard))
    if world.family == "failures":
        share = min(severity, 0.999)
        failed = np.sqrt(0.5) * (hard + own) > NormalDist().inv_cdf(1.0 - share)
        return np.where(failed, 1.0, 0.05 * share)
    slope = world.spread * (2.0 if world.family == "hard_frames" else 1.0)
    return np.minimum(1.0, severity * np.exp(slope * hard - slope**2 / 2 + 0.3 * own))


def detections(world: World, severity: float, hard: NDArray[np.float64], rng: np.random.Generator) -> Pairs:
    """Yield both models' objects: up to 24 boxes on a grid, more of them in difficult frames."""
    counts = np.minimum(rng.poisson(3.0 * world.density * np.exp(0.4 * hard)), 24)
    loss = loss_of_frames(world, severity, hard, rng)
    for count, rate in zip(counts.tolist(), loss.tolist(), strict=True):
        cells = (rng.integers(48) + 7 * np.arange(count + 4)) % 48
        corners = np.stack([cells % 8, cells // 8], axis=1) * 80.0 + rng.uniform(0, 15, (count + 4, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(40, 60, (count + 4, 2))], axis=1)
        scores = -np.sort(-rng.uniform(0.2, 0.95, count))
        labels = (rng.random(count) < 0.3).astype(np.int64)
        weight = np.where(labels == 1, 3.0, 0.05) if world.family == "one_label" else np.ones(count)
        # An object of a low score is lost more easily; a failure takes all.
        ease = np.ones(count) if rate >= 1.0 else 2.0 * (0.95 - scores) / 0.75
        kept = rng.random(count) >= rate * weight * ease
        extra = min(4, int(rng.poisson(0.3 * min(rate, 1.0) * count)))
        places = np.concatenate([np.flatnonzero(kept), count + np.arange(extra)])
        found = np.concatenate(
            [scores[kept] + rng.normal(0, 0.02, int(kept.sum())), rng.uniform(0.2, 0.5, extra)]
        )
        order = np.argsort(-found)
        ids = np.concatenate([labels[kept], rng.integers(0, 2, extra)])
        moved = boxes[places] + rng.uniform(-2, 2, (len(places), 4))
        yield (
            Detections(
                boxes[:count].astype(np.float32),
                scores.astype(np.float32),
                labels.astype(np.int64),
                _DET_LABELS,
            ),
            Detections(
                moved[order].astype(np.float32),
                np.clip(found[order], 0.0, 1.0).astype(np.float32),
                ids[order].astype(np.int64),
                _DET_LABELS,
            ),
        )


def masks(world: World, severity: float, hard: NDArray[np.float64], rng: np.random.Generator) -> Pairs:
    """Yield both models' masks: road, background, vehicles, and a pole in some frames."""
    horizons = np.clip(np.round(10 + 2 * hard), 4, 18).astype(int)
    loss = loss_of_frames(world, severity, hard, rng)
    for horizon, rate in zip(horizons.tolist(), loss.tolist(), strict=True):
        mask = np.zeros((_ROWS, _COLUMNS), np.uint8)
        mask[:horizon] = 1
        for _ in range(rng.poisson(1.5 * world.density)):
            row, column = rng.integers(2, _ROWS - 5), rng.integers(0, _COLUMNS - 6)
            mask[row : row + 5, column : column + 6] = 2
        if rng.random() < 0.4:
            mask[2:12, rng.integers(_COLUMNS)] = 3
        chance = rng.random(mask.shape)
        if world.family == "one_label":
            changed = chance < rate * np.where(mask == 1, 1.0, 0.01)
        else:
            changed = chance < 0.7 * rate
        yield (
            LabelMask(mask, _SEG_LABELS),
            LabelMask(np.where(changed, (mask + 1) % 4, mask).astype(np.uint8), _SEG_LABELS),
        )


def paths(world: World, severity: float, hard: NDArray[np.float64], rng: np.random.Generator) -> Pairs:
    """Yield both models' paths; the variant's lateral offset is a correlated part and one of its own."""
    own = rng.standard_normal(len(hard))
    bend = 0.004 * world.density * (hard + 0.5 * own)
    if world.family == "failures":
        offset_m = np.where(loss_of_frames(world, severity, hard, rng) >= 1.0, 4.0 * _TOLERANCE_M, 0.1 * own)
    else:
        # Gaussian offsets of which the share ``severity`` lies beyond the tolerance.
        scale_m = _TOLERANCE_M / NormalDist().inv_cdf(1.0 - min(severity, 0.98) / 2.0)
        offset_m = scale_m * np.sqrt(0.5) * (hard + own)
        if world.family == "hard_frames":
            offset_m = 0.7 * offset_m * np.exp(world.spread * hard)
        if world.family == "one_label":
            offset_m = 1.2 * offset_m * (np.abs(bend) > 0.003 * world.density)
    for curvature, aside_m in zip(bend.tolist(), offset_m.tolist(), strict=True):
        yield path(curvature), path(curvature + 2.0 * float(np.clip(aside_m, -6, 6)) / _HORIZON_M**2)


def path(curvature_per_m: float) -> Trajectory:
    """Return an arc of 30 m."""
    points, headings = arc_points(curvature_per_m, _HORIZON_M, 6)
    return Trajectory(points, headings, curvature_per_m, 10.0)


_GENERATORS = {"detection": detections, "segmentation": masks, "planning": paths}


@cache
def manifest_of(task: str) -> Manifest:
    """Return a manifest that has what the score asks for."""
    labels = {"detection": _DET_LABELS, "segmentation": _SEG_LABELS, "planning": ()}[task]
    return Manifest.model_validate(
        {
            "schema": "adcp-model/1",
            "name": "simulated",
            "task": task,
            "labels": list(labels),
            "input": {"width": _COLUMNS, "height": _ROWS},
            "output": {"decoder": "simulated"},
            "baseline": "fp32",
            "variants": {"fp32": {"file": "model.onnx", "sha256": "0" * 64}},
        }
    )


class DifferentFrames(BaselineInformation):
    """Simulated frames differ: content alone decides whether they are informative; comparing is slow."""

    def add(self, baseline: Result) -> None:
        """Add the baseline's result on the next frame."""
        self._has_content.append(self._content(baseline))

    def flags(self) -> NDArray[np.bool_]:
        """Return (N,) bool: whether each frame is informative."""
        return np.array(self._has_content, bool)


def simulate_variant(world: World, rng: np.random.Generator) -> AgreementScore:
    """Return the score of one variant of random severity over its frames, in the order of difficulty."""
    severity = float(np.exp(rng.uniform(*np.log(_SEVERITIES[world.task]))))
    score = create_score(manifest_of(world.task), VerifySpec())
    score._information = DifferentFrames()
    hard = np.sort(rng.standard_normal(FRAMES))
    for baseline, variant in _GENERATORS[world.task](world, severity, hard, rng):
        score.add(baseline, variant)
    return score


def drive(frames: int, correlation: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (N,) int64 places of the frames of a drive."""
    edges = [NormalDist().inv_cdf(place / FRAMES) for place in range(1, FRAMES)]
    return np.searchsorted(edges, difficulty(frames, correlation, rng)).astype(np.int64)


def judge(figures: AgreementFigures, limit: float) -> Verdict:
    """Return the gate's verdict on the drop alone: no label has a limit of its own."""
    nothing, sizes = LatencyFigures(*[1.0] * 15), Sizes(1, 1, None, None)
    verification = Verification(figures, nothing, FrameTimes([1.0], [1.0], [1.0], [1.0]))
    measured = gate_figures(verification, IntegerCoverage(1, 1, (), {}), (sizes, sizes))
    return decide(AcceptSpec(max_drop=limit, max_label_drop=1.0), measured)


def frames_asked(verdict: Verdict) -> int | None:
    """Return the number of frames that an inconclusive verdict asks for."""
    found = re.search(r"about ([\d,]+) informative frames", " ".join(verdict.reasons))
    return int(found[1].replace(",", "")) if found else None


def simulate(task: str, variants: int, seed: int, follow_up: bool = True) -> Iterator[Judged]:
    """Judge variants of one task on drives of every length.

    Args:
        task: detection, segmentation or planning.
        variants: how many, each with frames, a severity, a limit, and a drive of its own.
        seed: of everything.
        follow_up: draw the frames that an inconclusive verdict asks for, and judge again.

    Yields:
        One for each variant and length.
    """
    number = attempt = 0
    while number < variants:
        rng = np.random.default_rng([seed, TASKS.index(task), attempt])
        attempt += 1
        world = World(task, str(rng.choice(FAMILIES)), float(rng.choice((0.6, 1.2))), 0.5)
        score = simulate_variant(world, rng)
        true = float(1.0 - score.figures().score)
        lowest, highest = max(RATIOS[0], true / LIMITS[1]), min(RATIOS[1], true / LIMITS[0])
        if number % 5 < 2:
            lowest = highest = 1.0 + NEAR * (-1.0 if number % 5 else 1.0)
        if lowest > highest or not LIMITS[0] <= true / lowest <= LIMITS[1]:
            continue
        ratio = float(np.exp(rng.uniform(np.log(lowest), np.log(highest)))) if lowest < highest else lowest
        limit = true / ratio
        number += 1
        correlation = float(rng.choice(CORRELATIONS))
        places = drive(max(LENGTHS), correlation, rng)
        for frames in LENGTHS:
            figures = score.figures(places[:frames])
            verdict = judge(figures, limit)
            width = figures.drop_high - figures.drop_low
            one = Judged(world.family, correlation, limit, ratio, frames, verdict.status, width)
            if verdict.status == "inconclusive":
                one.asked = frames_asked(verdict)
                if follow_up and one.asked:
                    total = math.ceil(one.asked * frames / max(1, figures.informative_frames))
                    again = score.figures(drive(total, correlation, rng))
                    one.decided_later = judge(again, limit).status != "inconclusive"
            yield one


def is_near(one: Judged) -> bool:
    """Return whether the variant is one of those right at the limit."""
    return abs(abs(one.ratio - 1.0) - NEAR) < 1e-9


def summary(judged: list[Judged]) -> dict[str, Any]:
    """Return the rates of one task, and the worst conditional ones near the limit."""
    total, tally = len(judged), Tally(judged)
    # No number of frames shows on which side of the limit a drop 2 % beside it is.
    followed = [one for one in judged if one.decided_later is not None and not is_near(one)]
    decided = sum(bool(one.decided_later) for one in followed)
    incon = [one for one in judged if one.status == "inconclusive"]
    found: dict[str, Any] = {
        "sets": total,
        "wrong_accepted": rate(tally.wrong("accepted"), total),
        "wrong_rejected": rate(tally.wrong("rejected"), total),
        "inconclusive": rate(len(incon), total),
        "names_a_number": rate(sum(one.asked is not None for one in incon), len(incon)),
        "median_factor": float(np.median([one.asked / one.frames for one in incon if one.asked] or [0.0])),
        "frames_suffice": rate(decided, len(followed)),
    }
    for status, side in (("accepted", 1.0 + NEAR), ("rejected", 1.0 - NEAR)):
        near = [one for one in judged if is_near(one) and (one.ratio > 1.0) == (side > 1.0)]
        found[f"near_limit_{status}"] = rate(sum(one.status == status for one in near), len(near))
        for key in ("frames", "correlation", "family"):
            found[f"near_limit_{status}_by_{key}"] = {
                str(value): rate(
                    sum(one.status == status for one in near if getattr(one, key) == value),
                    sum(getattr(one, key) == value for one in near),
                )
                for value in sorted({getattr(one, key) for one in near})
            }
    return found


def rate(hits: int, trials: int) -> dict[str, float]:
    """Return count, share and its 95 % interval (Wilson, JASA 22, 1927)."""
    n, z = max(1, trials), NormalDist().inv_cdf(0.975)
    share = hits / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return {
        "count": hits,
        "of": trials,
        "share": share,
        "low": max(0.0, float(center - half)),
        "high": min(1.0, float(center + half)),
    }


def percent(found: dict[str, float]) -> str:
    """Return a rate as text."""
    return f"{100 * found['share']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def render(results: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown tables."""
    columns = ("wrong_accepted", "wrong_rejected", "inconclusive", "names_a_number", "frames_suffice")
    near = ("near_limit_accepted", "near_limit_rejected")
    lines = [
        "| task | sets | " + " | ".join(name.replace("_", " ") for name in (*columns, *near)) + " |",
        "|" + "---|" * (2 + len(columns) + len(near)),
    ]
    for task, found in results.items():
        cells = [percent(found[name]) for name in (*columns, *near)]
        lines.append(f"| {task} | {found['sets']} | " + " | ".join(cells) + " |")
    for task, found in results.items():
        for name in near:
            for key in ("frames", "correlation", "family"):
                cells = [f"{value}: {percent(one)}" for value, one in found[f"{name}_by_{key}"].items()]
                lines.append(f"\n{task}, {name} by {key}: " + "; ".join(cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and write; return 0."""
    parser = argparse.ArgumentParser(description="Measure how often the verdict is wrong.")
    parser.add_argument("--task", choices=TASKS, action="append", help="all by default")
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-follow-up", action="store_true", help="do not draw the frames asked for")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/verdict_calibration"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for task in options.task or TASKS:
        judged: list[Judged] = []
        for one in simulate(task, options.variants, options.seed, not options.no_follow_up):
            judged.append(one)
            if len(judged) % 400 == 0:
                print(
                    f"{len(judged)} verdicts\n{render({task: summary(judged)})}", file=sys.stderr, flush=True
                )
        results[task] = summary(judged)
        sets = [asdict(one) for one in judged]
        (options.out / f"{task}.json").write_text(json.dumps(sets) + "\n")
        print(f"seed {options.seed}\n{render({task: results[task]})}", file=sys.stderr, flush=True)
    document = {"seed": options.seed, "variants": options.variants, "tasks": results}
    (options.out / "verdict_calibration.json").write_text(json.dumps(document, indent=2) + "\n")
    print(render(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
