# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recording through models with several heads: judged head by head, and no head agrees without a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ad_compressed_perception.cli.main import app
from ad_compressed_perception.core.errors import DataError, ManifestError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.replay.account import Account
from ad_compressed_perception.replay.interleaving import OfferCounts
from ad_compressed_perception.replay.learn import learn_references
from ad_compressed_perception.replay.ledger import Ledger
from ad_compressed_perception.replay.plan import make_plan
from ad_compressed_perception.replay.session import ReplayOptions, run_replay
from ad_compressed_perception.report.findings import report_findings
from ad_compressed_perception.report.schemas.agreement import DetectionFigures, SegmentationFigures
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.pairs import ComparisonReport
from ad_compressed_perception.workspace.save_manifest import save_manifest
from dev.check_html import faults
from support.replay import write_drive
from support.several_heads import HEADS, add_blind_variant, write_two_heads

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
FRAMES = 8


def test_each_head_is_compared_and_drawn(tmp_path: Path) -> None:
    """Failed before: refused. The variant's boxes are the baseline's, its masks are background everywhere.

    The head of task raw is another reading of the same output, which no node publishes.
    """
    model = add_blind_variant(write_two_heads(tmp_path / "model"))
    manifest = load_manifest(model)
    raw = {"task": "raw", "decoder": "raw", "outputs": ["mask_scores"]}
    save_manifest(
        type(manifest).model_validate(
            {**manifest.model_dump(exclude_none=True), "outputs": {**HEADS, "scores": raw}}
        ),
        model,
    )
    out = tmp_path / "out"
    arguments = [write_drive(tmp_path / "drive", FRAMES), "--models", model, "--out", out]
    arguments += ["--work", tmp_path / "work", "--deadline-ms", "multi_task=1000000"]
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output

    report = Report.read(out / "report.json")
    assert list(report.tasks) == ["multi_task", "multi_task.objects", "multi_task.surface"]
    assert report.problems == []
    assert (
        "multi_task: head scores is of task raw: no node publishes it, and it is not compared here."
        in report.notes
    )
    whole = report.tasks["multi_task"]
    assert whole.comparison == {}
    for variant in whole.variants.values():
        assert (variant.sent, variant.received, variant.processed, variant.foreign) == (FRAMES,) * 3 + (0,)
        assert variant.deadline_misses == 0
    found = {task: one.comparison["blind"] for task, one in report.tasks.items() if one.comparison}
    assert {one.pairs for one in found.values()} == {FRAMES}
    objects = found["multi_task.objects"].agreement
    surface = found["multi_task.surface"].agreement
    assert isinstance(objects, DetectionFigures) and objects.f1 == 1.0 and objects.matched > 0
    # The scene has colored areas, which the variant lost.
    assert isinstance(surface, SegmentationFigures) and surface.miou < 0.7
    assert all(one.speedup_infer_paired_p50 for one in found.values())
    text = (out / "report.md").read_text()
    assert "multi_task.surface/blind: IoU by class" in text.replace("\\", "")
    assert faults((out / "report.html").read_text("utf-8")) == []
    assert (out / "overlay_multi_task.surface_least_agreement.png").is_file()
    assert not (out / "overlay_multi_task.objects_least_agreement.png").exists()  # no frame differs
    counted = [
        one.text for one in report_findings(report) if "frames" in one.text and "multi_task/" in one.text
    ]
    assert counted == []


def test_a_variant_with_other_heads_is_refused_before_a_node_starts(tmp_path: Path) -> None:
    """Its work folder has another head in the place of surface: nothing of surface could be compared."""
    model = write_two_heads(tmp_path / "model")
    other = add_blind_variant(write_two_heads(tmp_path / "work" / "two_heads"))
    manifest = load_manifest(other)
    heads = {"objects": HEADS["objects"], "road": HEADS["surface"]}
    save_manifest(
        type(manifest).model_validate({**manifest.model_dump(exclude_none=True), "outputs": heads}), other
    )
    options = ReplayOptions(
        bag=write_drive(tmp_path / "drive", 3),
        out=tmp_path / "out",
        models=(model,),
        work=tmp_path / "work",
    )
    expected = r"variant blind has objects \(detection\), road \(segmentation\), the baseline in "
    with pytest.raises(ManifestError, match=expected):
        run_replay(options)
    assert not (tmp_path / "out").exists()


def test_a_head_whose_results_are_lost_is_a_problem(tmp_path: Path) -> None:
    """Both nodes processed 20 frames; the pairs of one head are all there, and none of the other."""
    model = add_blind_variant(write_two_heads(tmp_path / "model"))
    plan = make_plan([model], work=tmp_path / "work")
    ledgers = {("multi_task", name): Ledger() for name in ("baseline", "blind")}
    for ledger in ledgers.values():
        ledger.done = {stamp: FrameTiming(stamp, "processed", {"infer": 1.0}, 2.0) for stamp in range(1, 21)}
    frames: Any = None  # not looked at: no frame is read
    account = Account(plan, frames, OfferCounts(20), BadFrameLimit(), ledgers)
    found = {
        head: list(account._pair_problems(f"multi_task.{head}", "blind", ComparisonReport(pairs=pairs)))
        for head, pairs in (("objects", 20), ("surface", 0))
    }
    assert found["objects"] == []
    assert found["surface"] == [
        "multi_task.surface/blind: 20 frames were processed by it and by the baseline, 0 of them could be "
        "compared."
    ]


def test_what_there_is_not_yet_is_one_line(tmp_path: Path) -> None:
    model = add_blind_variant(write_two_heads(tmp_path / "model"))
    given = {"bag": write_drive(tmp_path / "drive", 3), "models": (model,), "work": tmp_path / "work"}
    with pytest.raises(DataError, match="results of several heads cannot be recorded yet"):
        run_replay(ReplayOptions(out=tmp_path / "out", mcap=True, **given))
    with pytest.raises(DataError, match="no drift reference yet for models with several heads"):
        learn_references(ReplayOptions(out=tmp_path / "out", **given), lambda *_: None)
