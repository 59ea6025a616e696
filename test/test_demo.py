# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: from models without variants to a report, and a pointer where there is no drive."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_models import write_planner, write_segmenter
from support_replay import write_drive

from ad_compressed_perception import demo
from ad_compressed_perception.report.schema import read_report


def test_without_reference_data_it_says_how_to_use_ones_own_drive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AD_SHARED", str(tmp_path))
    assert demo.main(["--out", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "make demo BAG=" in errors
    drive = write_drive(tmp_path / "drive", 2)
    assert demo.main([str(drive), "--out", str(tmp_path / "out")]) == 1
    assert "MODELS=<model folder>" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_models_come_one_by_one_or_in_one_string(tmp_path: Path) -> None:
    spaced = tmp_path / "my model"
    spaced.mkdir()
    # make passes MODELS="a b" as one argument; a folder whose own name has a space is still one folder.
    assert demo._model_folders(["a b", "c", str(spaced)]) == [Path("a"), Path("b"), Path("c"), spaced]


@pytest.mark.ros
@pytest.mark.timeout(240)
def test_ones_own_drive_and_models_go_the_whole_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 165 frames: the recipe calibrates on 64 and verifies on 100 others.
    drive = write_drive(tmp_path / "drive", 165)
    models = [write_segmenter(tmp_path / "segmenter"), write_planner(tmp_path / "planner")]
    arguments = ["--bag", str(drive), "--models", " ".join(map(str, models))]
    arguments += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--limit", "4"]
    assert demo.main(arguments) == 0
    shown = capsys.readouterr()
    report = read_report(tmp_path / "out" / "report.json")
    assert set(report.tasks) == {"segmentation", "planning"}
    for one in report.tasks.values():
        assert one.variants["int8"].processed == 4
        assert one.variants["int8"].verdict is not None
        # Whatever the gate said is said before anything runs.
        assert f"int8: {one.variants['int8'].verdict.status}" in shown.err
    assert str(tmp_path / "out" / "report.md") in shown.out
    # The second time the variants are there.
    assert demo.main(arguments) == 0
    assert "compressing" not in capsys.readouterr().err
