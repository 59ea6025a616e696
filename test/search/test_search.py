# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whole searches on tiny models. Their times are timing noise, so no budget here limits speed."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.markup import escape
from typer.testing import CliRunner

from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.cli.main import app
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.pass_runner import choose_samples
from ad_compressed_perception.compression.recipe import load_recipe
from ad_compressed_perception.compression.search.bench import Bench
from ad_compressed_perception.compression.search.budget import parse_budget
from ad_compressed_perception.compression.search.builder import Builder
from ad_compressed_perception.compression.search.candidate import Candidate, RecipeMaker
from ad_compressed_perception.compression.search.evaluators import (
    AgreementEvaluator,
    LabeledEvaluator,
    halves,
)
from ad_compressed_perception.compression.search.frames import split_recording
from ad_compressed_perception.compression.search.journal import SearchJournal
from ad_compressed_perception.compression.search.rounds import Rounds
from ad_compressed_perception.compression.search.search import (
    Request,
    SearchResult,
    accept_terms,
    search,
)
from ad_compressed_perception.compression.search.tables import search_report, tables
from ad_compressed_perception.compression.search.time_budget import TimeBudget
from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice, open_labels
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.terms import VerifySpec
from ad_compressed_perception.tasks.pipeline import open_pipeline
from dev.check_html import faults
from support.compression import write_images
from support.json_schema import check_document
from support.labeled import write_masks
from support.models import write_planner, write_segmenter

# Any drop below a half, whatever the speed. The planner's int8 forms keep that and are far smaller, so that
# the baseline dominates none of them, however slow they are.
BUDGET = "drop<=50%, speed>=0.001x"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 120 images: 45 for calibration, 30 to compare candidates, 45 to verify the winner."""
    return write_images(tmp_path_factory.mktemp("images"), 120)


@dataclass(frozen=True)
class ResumedSearch:
    """A search that was interrupted and resumed: its journal before and after, and its result."""

    before: list[str]
    after: list[str]
    files_before: set[str]
    journal: Path
    result: SearchResult


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, images: Path) -> ResumedSearch:
    """Search the tiny planner, press Ctrl-C before the fourth candidate, and resume it."""
    folder = tmp_path_factory.mktemp("search")
    manifest = load_manifest(write_planner(folder / "model"))
    request = Request(str(images), parse_budget(BUDGET), minutes=1.5, work=folder / "work", frames=8)
    begun: list[str] = []

    def interrupt(step: str, done: int, total: int) -> None:
        if step.startswith("screen ") and step not in begun:
            begun.append(step)
            if len(begun) == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(manifest, request, interrupt)
    work = folder / "work" / manifest.name
    (journal,) = (work / "search" / "auto").glob("journal-*.jsonl")
    before, files = journal.read_text(encoding="utf-8").splitlines(), {path.name for path in work.iterdir()}
    after: list[str] = []

    def watch(step: str, done: int, total: int) -> None:
        if step == "verify" and journal.exists():  # the last step at which the journal exists
            after[:] = journal.read_text(encoding="utf-8").splitlines()

    return ResumedSearch(before, after, files, journal, search(manifest, request, watch))


@pytest.fixture
def found(resumed: ResumedSearch) -> SearchResult:
    """Return the result of the search."""
    return resumed.result


def test_a_search_stores_a_winner_within_the_budget(found: SearchResult) -> None:
    winner = found.choice.winner
    assert winner is not None and winner.drop is not None
    assert found.choice.is_shown
    assert winner.drop.high <= 0.5
    assert winner.name in found.choice.front
    # It is a variant as any other: it loads, and it has a verdict.
    assert found.compressed is not None
    assert found.compressed.verdict.status == "accepted"
    stored = load_manifest(found.compressed.manifest.folder)
    assert stored.variant("auto").recipe == winner.name
    open_pipeline(stored, "auto").close()


def test_the_verdict_is_on_frames_not_searched_on(found: SearchResult) -> None:
    assert found.compressed is not None
    recipe = found.compressed.recipe
    samples = choose_samples(recipe, found.frames.source.describe, None)
    searched, verified = set(found.frames.search), set(samples.verification.indices)
    assert not searched & verified
    assert not searched & set(samples.calibration.indices)
    assert found.compressed.verification.agreement.frames == len(verified) == found.frames.verification


def test_every_candidate_is_accounted_for(found: SearchResult) -> None:
    for trial in found.trials:
        assert trial.reason, trial.name
        assert (trial.state == "winner") == (trial is found.choice.winner)
        if trial.name not in found.choice.front and trial.is_measured:
            reasons = ("dominated by", "no better than the baseline", "drop")
            assert any(reason in trial.reason for reason in reasons), trial.reason
    assert "training" in found.left_out  # the minutes are too few, or torch is not installed
    assert "drop_softmax" in found.left_out  # a planner needs the values themselves


def test_the_winner_s_recipe_makes_the_same_file_again(found: SearchResult, tmp_path: Path) -> None:
    assert found.recipe is not None and found.compressed is not None
    recipe = load_recipe(str(found.recipe))
    made = compress_model(
        found.manifest, recipe, found.frames.source.describe, name="auto", work=tmp_path / "work"
    )
    assert made.variant.sha256 == found.compressed.variant.sha256
    assert file_sha256(made.manifest.variant_path("auto")) == made.variant.sha256


def test_a_finished_search_leaves_recipes_and_no_scratch(found: SearchResult) -> None:
    names = {path.name for path in found.folder.iterdir()}
    assert names == {"recipes", "winner.yaml"}
    for trial in found.trials:
        assert load_recipe(str(found.folder / "recipes" / f"{trial.name}.yaml")).recipe.name == trial.name


def test_an_interrupted_search_goes_on_and_measures_nothing_twice(resumed: ResumedSearch) -> None:
    assert resumed.files_before == {"search"}  # no variant, no manifest: nothing half-made
    kinds = Counter(json.loads(line)["kind"] for line in resumed.before)
    assert kinds == {"facts": 1, "screen": 3}  # the fourth was about to begin
    assert resumed.after[: len(resumed.before)] == resumed.before
    keys = Counter((entry["kind"], entry["key"]) for entry in map(json.loads, resumed.after))
    assert set(keys.values()) == {1}
    assert len(keys) > len(resumed.before)
    assert not resumed.journal.exists()  # the next search measures the computer as it is then


@pytest.fixture
def rounds_of_a_segmenter(tmp_path: Path, images: Path) -> object:
    """Return manifest, frames and a factory of Rounds on a tiny segmenter, with a given time budget."""
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    path = manifest.variant_path("fp32")
    frames = split_recording(open_frames(str(images)), 4)
    maker = RecipeMaker(parse_budget("drop<=5%"), frames, {})
    builder = Builder(
        manifest, read_model(path), read_host(), tmp_path / "graphs",
        lambda recipe: choose_samples(recipe, str(images), None),
        tmp_path / "checkpoints",
    )  # fmt: skip

    def make(time_budget: TimeBudget, bench: Bench, evaluator: AgreementEvaluator) -> Rounds:
        return Rounds(
            maker, builder, bench, evaluator, SearchJournal(tmp_path / "journal.jsonl"), time_budget,
            path.stat().st_size, tmp_path / "recipes", lambda step, done, total: None,
        )  # fmt: skip

    return manifest, frames, make


def test_a_candidate_that_fails_or_comes_too_late_ends_only_its_own_trial(
    rounds_of_a_segmenter: object,
) -> None:
    manifest, frames, make = rounds_of_a_segmenter  # type: ignore[misc]
    plain = Candidate("plain", "onnxruntime", {})
    broken = Candidate("broken", "onnxruntime", {}, ending=({"trim_output": {"argmax": "drop_softmax"}},))
    wrong = Candidate("wrong", "onnxruntime", {"threads": 1, "color": "red"})
    now = [0.0]
    with (
        closing(Bench(manifest, frames)) as bench,
        closing(AgreementEvaluator(manifest, frames, VerifySpec())) as evaluator,
    ):
        rounds = make(TimeBudget(1.0, lambda: now[0]), bench, evaluator)
        rounds.screen([broken, wrong, plain], 1.0)
        now[0] = 61.0
        rounds.screen([Candidate("late", "onnxruntime", {}, form=("deduplicate_initializers",))], 1.0)
        # Measured before: the results come from the journal, even when time is over.
        again = make(TimeBudget(1.0, lambda: now[0]), bench, evaluator)
        again.screen([broken, plain], 1.0)
    states = {trial.name: (trial.state, trial.reason) for trial in rounds.trials}
    assert states["broken"][0] == "failed"
    assert "nothing to drop" in states["broken"][1]  # the message of the pass
    assert states["wrong"][0] == "failed"
    assert "color" in states["wrong"][1]  # the message of the backend
    assert states["late"][0] == "not tried"
    assert "out of time" in states["late"][1]
    assert rounds.trials[2].is_measured
    assert [trial.state for trial in again.trials] == ["failed", "alive"]
    assert again.trials[1].speed == rounds.trials[2].speed


def test_the_command_writes_front_and_plot_and_rejects_where_nothing_fits(
    tmp_path: Path, images: Path
) -> None:
    model = write_planner(tmp_path / "model")
    words = ["search", str(model), "--calibration", str(images), "--work", str(tmp_path / "work")]
    folder = tmp_path / "work" / "tiny_planner" / "search" / "auto"
    folder.mkdir(parents=True)
    (folder / "winner.yaml").write_text("of an earlier search with another budget")
    outcome = CliRunner().invoke(
        app, [*words, "--budget", "drop<=50%, speed>=1000x", "--minutes", "0.5", "--json"]
    )
    assert not (folder / "winner.yaml").exists()
    assert outcome.exit_code == ExitCode.REJECTED
    report = json.loads(outcome.stdout)
    check_document(report, "adcp-search/1")
    assert report["winner"] is None
    assert "required 1000x" in report["nearest_miss"]["misses"]
    assert {one["state"] for one in report["candidates"]} <= {"out", "failed", "not tried"}
    assert (folder / "front.png").stat().st_size > 10_000
    assert json.loads((folder / "search.json").read_text(encoding="utf-8")) == report
    page = (folder / "search.html").read_text(encoding="utf-8")
    assert faults(page) == []
    assert page.index("no candidate is within the budget") < page.index("<img") < page.index("<table")
    assert (folder / "search.md").read_text(encoding="utf-8").startswith("# tiny_planner")
    assert not (tmp_path / "work" / "tiny_planner" / "model.yaml").exists()


def test_compress_with_recipe_auto_is_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both commands make the same request, and nothing is left of the alias."""
    requests: list[object] = []

    def note(manifest: object, request: object) -> object:
        requests.append(request)
        raise RecipeError("noted")

    monkeypatch.setattr("ad_compressed_perception.cli.search._run", note)
    monkeypatch.chdir(tmp_path)
    model, images = write_planner(tmp_path / "model"), tmp_path / "images"
    words = [str(model), "--calibration", str(images), "--budget", "size<=0.5", "--minutes", "3"]
    for command in (["search"], ["compress", "--recipe", "auto"], ["compress", "--recipe=auto"]):
        assert str(CliRunner().invoke(app, [*command, *words, "--no-train"]).exception) == "noted"
    assert len(requests) == 3
    assert len({repr(request) for request in requests}) == 1
    # A file of that name is a recipe like any other: it has no --budget.
    (tmp_path / "auto").touch()
    refused = CliRunner().invoke(app, ["compress", "--recipe", "auto", *words])
    assert refused.exit_code == ExitCode.USAGE
    assert "--budget" in refused.output


def test_options_of_search_and_of_recipes_exclude_each_other(tmp_path: Path) -> None:
    words = [str(tmp_path), "--calibration", str(tmp_path), "--recipe"]
    for more in (
        ["int8", "--minutes", "3"],
        ["int8", "--budget", "drop<=1%"],
        ["auto", "--backend", "openvino"],
    ):
        assert CliRunner().invoke(app, ["compress", *words, *more]).exit_code == ExitCode.USAGE
    wrong = CliRunner().invoke(app, ["compress", *words, "auto", "--budget", "drip<=1%"])
    assert isinstance(wrong.exception, RecipeError)
    assert "unknown term 'drip'" in str(wrong.exception)


def test_labeled_search_compares_on_the_first_half_and_verifies_on_the_second(
    tmp_path: Path,
) -> None:
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    choice = LabeledChoice(str(write_masks(tmp_path / "labeled", 24)))
    compared, verifying = halves(choice)
    shares = (compared.from_share, compared.to_share, verifying.from_share, verifying.to_share)
    assert shares == (0.0, 0.5, 0.5, 1.0)
    labels = open_labels(manifest, compared, None)
    assert not set(labels.indices) & set(open_labels(manifest, verifying, None).indices)
    seen: list[int] = []
    with (
        closing(LabeledEvaluator(manifest, labels)) as evaluator,
        closing(open_pipeline(manifest, "fp32")) as same,
    ):
        drop = evaluator.drop(same, 100, lambda done, total: seen.append(total))
    # The baseline against itself: no loss, and no interval around it, on the 12 images of the first half.
    assert (drop.drop, drop.low, drop.high, drop.frames) == (0.0, 0.0, 0.0, 12)
    assert drop.measure.startswith("miou")
    assert set(seen) == {12}


def test_a_labeled_search_gives_its_terms_to_the_gate() -> None:
    """Five percent of accuracy are five points of a share; agreement is then not limited."""
    request = Request("frames", parse_budget("drop<=5%"), labeled=LabeledChoice("labels"), metric="iou_warm")
    assert accept_terms(request) == {
        "max_drop": 1.0,
        "max_accuracy_drop": 5.0,
        "accuracy_metric": "iou_warm",
    }
    assert accept_terms(Request("frames", parse_budget("drop<=5%"))) == {}


def test_checkpoints_of_the_winner_are_moved_and_the_rest_is_removed(tmp_path: Path, images: Path) -> None:
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    builder = Builder(
        manifest, read_model(manifest.variant_path("fp32")), read_host(), tmp_path / "graphs",
        lambda recipe: choose_samples(recipe, str(images), None), tmp_path / "checkpoints",
    )  # fmt: skip
    winner = Candidate(
        "winner", "onnxruntime", {}, training=({"distill": {"epochs": 2}},), training_images=32
    )
    other = Candidate("other", "onnxruntime", {}, training=({"distill": {"epochs": 3}},), training_images=32)
    for candidate in (winner, other):
        folder = tmp_path / "checkpoints" / candidate.graph_key / "3_distill"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(candidate.name)
    target = tmp_path / "work" / "checkpoints" / "auto-0123456789ab"
    builder.move_checkpoints(winner, target)
    builder.remove()
    assert (target / "3_distill" / "state.json").read_text() == "winner"
    assert not (tmp_path / "checkpoints").exists()


def test_candidates_that_lost_for_the_same_reason_are_named_together(found: SearchResult) -> None:
    lines = [part for part in tables(found) if isinstance(part, str)]
    reasons = [line for line in lines if ": " in line]
    for trial in found.trials:
        if trial is not found.choice.winner:
            assert any(trial.name in line and line.endswith(escape(trial.reason)) for line in reasons), (
                trial.name
            )
    assert found.choice.winner is not None
    assert any(line.startswith(f"winner: {found.choice.winner.name}") for line in lines)
    document = search_report(found)
    assert document.frames.model_dump() == {"calibration": 8, "search": 30, "verification": 45}
    assert [one.state for one in document.candidates].count("winner") == 1
