# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The search: candidates compared in rounds on this host; the winner is verified on other frames."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.analysis.output_plausibility import check_outputs, choose_evenly
from ad_compressed_perception.analysis.processor import host_record
from ad_compressed_perception.compression.compress import checkpoint_folder, compress_model
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.pass_runner import Samples, choose_samples
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.search.bench import Bench
from ad_compressed_perception.compression.search.budget import Budget
from ad_compressed_perception.compression.search.builder import Builder
from ad_compressed_perception.compression.search.candidate import RecipeMaker
from ad_compressed_perception.compression.search.choice import Choice, choose
from ad_compressed_perception.compression.search.evaluators import (
    AgreementEvaluator,
    Evaluator,
    LabeledEvaluator,
    halves,
)
from ad_compressed_perception.compression.search.explore import SearchSettings, explore
from ad_compressed_perception.compression.search.facts import EDITS, Facts, find_facts
from ad_compressed_perception.compression.search.frames import SearchFrames, split_recording
from ad_compressed_perception.compression.search.journal import SearchJournal
from ad_compressed_perception.compression.search.rounds import Rounds
from ad_compressed_perception.compression.search.time_budget import TimeBudget
from ad_compressed_perception.compression.search.trial import Trial
from ad_compressed_perception.compression.verification.informative import refuse_uninformative
from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice, open_labels
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.host import HostInfo, read_host, tool_versions
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.onnx_graph.io import read_model, stored_bytes
from ad_compressed_perception.pass_api.terms import VerifySpec
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.atomic_file import write_file
from ad_compressed_perception.workspace.store import content_hash, open_target, staging

if TYPE_CHECKING:
    from onnx import ModelProto

NAME = "auto"
WINNER = "winner.yaml"


@dataclass(frozen=True)
class SearchResult:
    """The results of one search.

    Attributes:
        manifest: of the model searched.
        name: the winner's variant name.
        budget: its limits.
        frames: the split of the recording.
        facts: of host and model.
        trials: every candidate, in the order of trial.
        choice: winner and front.
        left_out: what was not tried, and why.
        compressed: the winner, verified and stored; None where nothing was within the budget.
        recipe: file of the winner's recipe; None likewise.
        folder: of recipes, figures and plot.
        seconds: how long it took.
    """

    manifest: Manifest
    name: str
    budget: Budget
    frames: SearchFrames
    facts: Facts
    trials: list[Trial]
    choice: Choice
    left_out: dict[str, str]
    compressed: CompressionResult | None
    recipe: Path | None
    folder: Path
    seconds: float


@dataclass(frozen=True)
class Request:
    """Source, limits and settings of a search.

    Attributes:
        source: BAG, BAG:TOPIC or a folder of images.
        budget: limits.
        minutes: for everything, the winner's verification included; candidates end before.
        frames: frames to calibrate on; None for the default.
        name: the winner's variant name.
        work: work folder; None for the default.
        in_place: store in the model's own folder instead.
        seed: of the order of equally cheap candidates and of training.
        verify: fields of a recipe's ``verify`` besides the number of frames.
        labeled: labeled data: the drop is then that of accuracy; None for agreement with the baseline.
        metric: its name; None for the task's own.
        train: whether candidates may be pruned and distilled, where torch is installed.
        max_bad_frames: how many frames may be left out because they cannot be read; None for a tenth.
    """

    source: str
    budget: Budget
    minutes: float = 10.0
    frames: int | None = None
    name: str = NAME
    work: Path | None = None
    in_place: bool = False
    seed: int = 0
    verify: dict[str, Any] = field(default_factory=dict)
    labeled: LabeledChoice | None = None
    metric: str | None = None
    train: bool = True
    max_bad_frames: BadFrameLimit | None = None


def search(manifest: Manifest, request: Request, progress: Progress = no_progress) -> SearchResult:
    """Try candidates, choose the fastest within the budget, verify and store it.

    The candidates are compared on search frames; the verdict is that of ``compress_model`` on verification
    frames, which no candidate was compared or calibrated on. After Ctrl-C the same call resumes from the
    journal.

    Args:
        manifest: the model; its baseline must be an ONNX file.
        request: source, limits and settings.
        progress: called with the step, see core.progress.

    Raises:
        AdcpError: anything wrong with the model, frames or folders; one line.
    """
    if manifest.outputs is not None or manifest.inputs is not None:
        what = "inputs" if manifest.outputs is None else "heads"
        raise ManifestError(
            f"{manifest.name!r} has several {what}, which a search does not know yet: give adcp "
            "compress a recipe"
        )
    start, time_budget = perf_counter(), TimeBudget(request.minutes)
    target = open_target(manifest, request.work, request.in_place, request.name)
    frames = split_recording(open_frames(request.source, max_bad=request.max_bad_frames), request.frames)
    verify = VerifySpec.model_validate({**request.verify, "frames": frames.verification})
    compared, verifying = (None, None) if request.labeled is None else halves(request.labeled)
    maker = RecipeMaker(request.budget, frames, request.verify, accept_terms(request))
    path = manifest.checked_path(manifest.baseline, allow_rejected=True)
    model, host = read_model(path), read_host()
    with closing(open_pipeline(manifest, manifest.baseline, allow_rejected=True)) as baseline:
        shown = frames.source.frames(choose_evenly(frames.search))
        check_outputs(baseline, shown, frames.source.describe)
        if request.labeled is None:
            refuse_uninformative(
                baseline, manifest, FrameSample(frames.source, frames.search),
                partial(progress, "baseline"),
            )  # fmt: skip
    folder = target.folder / "search" / request.name
    key = _key(manifest, request, frames, host)
    journal, graphs = SearchJournal(folder / f"journal-{key}.jsonl"), folder / f"graphs-{key}"
    samples: dict[int, Samples] = {}

    def choose_once(recipe: LoadedRecipe) -> Samples:
        count = recipe.recipe.calibration.frames
        if count not in samples:
            samples[count] = choose_samples(recipe, request.source, None, request.max_bad_frames)
        return samples[count]

    builder = Builder(
        manifest, model, host, graphs, choose_once,
        folder / f"checkpoints-{key}",
    )  # fmt: skip
    with staging(target.folder) as scratch:
        facts = _facts(journal, manifest, model, host, maker, scratch, progress)
        with ExitStack() as stack:
            bench = stack.enter_context(closing(Bench(manifest, frames)))
            evaluator = stack.enter_context(
                closing(_open_evaluator(manifest, frames, verify, compared, request))
            )
            rounds = Rounds(
                maker,
                builder,
                bench,
                evaluator,
                journal,
                time_budget,
                stored_bytes(path),
                folder / "recipes",
                progress,
            )
            left_out = dict(facts.left_out)
            _reserve(time_budget, facts, frames)
            settings = SearchSettings(
                request.budget, manifest.baseline, request.seed, request.minutes, request.train
            )
            explore(rounds, facts, settings, left_out)
            choice = choose(rounds.trials, request.budget, manifest.baseline)
    compressed, recipe_path = None, None
    if choice.winner is not None:
        winning = maker.write(choice.winner.candidate, folder / "recipes")
        # Reuse the training checkpoints of the winner.
        builder.move_checkpoints(
            choice.winner.candidate, checkpoint_folder(target, request.name, winning, choose_once(winning))
        )
        compressed = compress_model(
            manifest,
            winning,
            request.source,
            name=request.name,
            work=request.work,
            in_place=request.in_place,
            labeled=verifying,
            max_bad_frames=request.max_bad_frames,
            check_baseline=False,  # the search's result is kept, whatever its verification frames show
            progress=progress,
        )
        recipe_path = write_file(folder / WINNER, winning.path.read_bytes())
    else:
        (folder / WINNER).unlink(missing_ok=True)  # of an earlier search, which this one replaces
    if not any(trial.state == "not tried" or trial.notes for trial in rounds.trials):
        # The search is complete: the next one measures anew, under the load of that time.
        builder.remove()
        journal.path.unlink(missing_ok=True)
    return SearchResult(
        manifest, request.name, request.budget, frames, facts, rounds.trials, choice, left_out, compressed,
        recipe_path, folder, perf_counter() - start,
    )  # fmt: skip


def _open_evaluator(
    manifest: Manifest,
    frames: SearchFrames,
    verify: VerifySpec,
    compared: LabeledChoice | None,
    request: Request,
) -> Evaluator:
    if compared is None:
        return AgreementEvaluator(manifest, frames, verify)
    return LabeledEvaluator(manifest, open_labels(manifest, compared, request.metric, verify.labels))


def accept_terms(request: Request) -> dict[str, Any]:
    """Return the accept terms of a drop of accuracy on labels, points or percent; empty without labels."""
    if request.labeled is None:
        return {}
    terms: dict[str, Any] = {"max_drop": 1.0, "max_accuracy_drop": 100.0 * request.budget.drop}
    return terms | ({"accuracy_metric": request.metric} if request.metric else {})


def _facts(
    journal: SearchJournal,
    manifest: Manifest,
    model: ModelProto,
    host: HostInfo,
    maker: RecipeMaker,
    scratch: Path,
    progress: Progress,
) -> Facts:
    found = journal.find("facts", "")
    if found is None:
        found = find_facts(manifest, model, host, maker, scratch / "facts", progress).as_dict()
        journal.add("facts", "", json.loads(json.dumps(found)))
    return Facts.from_dict(found)


def _reserve(time_budget: TimeBudget, facts: Facts, frames: SearchFrames) -> None:
    """Reserve time for the winner: built again, verified, and loaded to measure its memory."""
    time_budget.reserve_s = min(
        0.3 * time_budget.total_s, 10.0 + 2.5e-3 * frames.verification * facts.baseline_ms
    )


def _key(manifest: Manifest, request: Request, frames: SearchFrames, host: HostInfo) -> str:
    """Return a short hash of what measurements depend on: model, frames, measure, host and versions."""
    parts = {
        "baseline": content_hash(manifest, manifest.baseline),
        "manifest": [manifest.input.model_dump(mode="json"), manifest.output.model_dump(mode="json")],
        "source": frames.source.describe,
        "frames": [len(frames.source), frames.calibration, frames.verification, frames.subset(4).sha256()],
        "edits": EDITS,
        "verify": request.verify,
        "labeled": None if request.labeled is None else [asdict(request.labeled), request.metric],
        "host": host_record(host),
        "versions": tool_versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]
