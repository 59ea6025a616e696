# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recording through two variants of a classifier: report, plots, drawings and the results' recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.replay.session import ReplayOptions, run_replay
from ad_compressed_perception.report.schemas.agreement import ClassificationFigures
from ad_compressed_perception.workspace.save_manifest import save_manifest
from dev.check_html import faults
from support.bags import write_bag
from support.classifiers import LABELS, draw_color, write_classifier
from support.recordings import read_all
from support.replay import add_variant

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]


def test_labels_are_compared_reported_and_recorded(tmp_path: Path) -> None:
    """The variant is right on one of ten labels; the reference models of other tasks do not take part."""
    model = add_variant(write_classifier(tmp_path / "model"))
    other = write_classifier(tmp_path / "other", bias_of={"brown": 500.0})
    (model / "int8.onnx").write_bytes((other / "fp32.onnx").read_bytes())
    manifest = load_manifest(model)
    manifest.variants["int8"].sha256 = file_sha256(model / "int8.onnx")
    save_manifest(manifest, model)
    bag = write_bag(tmp_path / "drive", [draw_color(index) for index in range(10)])
    report = run_replay(
        ReplayOptions(bag=bag, out=tmp_path / "out", models=(model,), work=tmp_path / "work", mcap=True)
    )
    comparison = report.tasks["classification"].comparison["int8"]
    found = comparison.agreement
    assert isinstance(found, ClassificationFigures)
    assert (comparison.pairs, found.top1) == (10, pytest.approx(0.1))
    assert found.per_class["red"].only_baseline == 1
    assert comparison.frame_score is not None
    assert comparison.frame_score.mean == pytest.approx(0.1)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "same label on 10.00% of frames" in text
    assert "| label | in both | only baseline | only int8 |" in text
    assert faults((tmp_path / "out" / "report.html").read_text("utf-8")) == []
    recorded = read_all(tmp_path / "out" / "results")
    messages = [message for _, message in recorded["/baseline/classification/classification"]]
    assert [one.results[0].class_id for one in messages] == LABELS
    assert len(recorded["/int8/classification/annotations"]) == 10
