# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of the demo: choice of the variant, output folder, progress, HTML page, summary sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.workspace.default_models import default_models
from ad_road_simulation.demo.page import describe_difference
from ad_road_simulation.demo.report_folder import MARKER, report_folder
from ad_road_simulation.demo.verbs import Verbs
from support.models import write_segmenter

# ---- which models


def test_there_is_one_default_model_per_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ad_compressed_perception.workspace.default_models.models_folder", lambda: tmp_path)
    for name in ("road_detection", "road_segmentation"):
        write_segmenter(tmp_path / name)
    with pytest.raises(DataError, match="road_planning.*is missing"):
        default_models()
    write_segmenter(tmp_path / "road_planning")
    assert [folder.name for folder in default_models()] == [
        "road_detection",
        "road_segmentation",
        "road_planning",
    ]


# ---- the folder


def test_a_second_run_removes_only_the_files_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with report_folder(tmp_path, ["part", "report.md"]):
        (tmp_path / "part").mkdir()
        (tmp_path / "part" / "old").touch()
        (tmp_path / "extra.png").touch()
    with report_folder(tmp_path, ["part", "report.md"]):
        assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER, "mine.txt"]
        (tmp_path / "report.md").touch()
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_files_of_other_origin_are_kept(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    # Also when a marker with an unknown schema lists it.
    (tmp_path / MARKER).write_text('{"schema": "something", "written": ["part", "../part"]}')
    with pytest.raises(DataError, match="give another folder"), report_folder(tmp_path, ["part"]):
        pytest.fail("the folder must be refused")
    assert (tmp_path / "part").is_dir()


def test_files_of_an_interrupted_run_are_kept_until_the_next_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), report_folder(out, ["part", "report.md"]):
        (out / "part").mkdir()
        raise KeyboardInterrupt
    assert (out / "part").is_dir()
    with report_folder(out, ["part", "report.md"]):
        assert not (out / "part").exists()


# ---- progress


def test_commands_are_shown_with_the_number_of_their_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = Verbs(("record", "replay"))
    verbs.begin("record")
    out = tmp_path / "two words"
    assert verbs.run("camera", "--out", out, "--frames", 1, "--size", "64x36", "--bag-out", None) == 0
    verbs.begin("replay")
    command = f"adcp camera --out '{out}' --frames 1 --size 64x36"
    assert capsys.readouterr().err.splitlines() == ["1/2 record", f"$ {command}", "2/2 replay"]
    assert verbs.lines == [command]
    assert list(verbs.seconds) == ["record"]


# ---- summary sentences


@pytest.mark.parametrize(
    ("difference", "lower_is_better", "expected"),
    [
        (Interval(-0.02, -0.03, -0.01), False, "a significant loss"),
        (Interval(-0.02, -0.03, -0.01), True, "a significant gain"),
        (Interval(0.02, 0.01, 0.03), True, "a significant loss"),
        (Interval(-0.02, -0.05, 0.01), False, "not significant"),
        (Interval(0.0, 0.0, 0.0), False, "no difference"),
        (Interval(0.1, float("nan"), float("nan")), False, "without an interval"),
    ],
)
def test_a_difference_is_described_by_its_interval(
    difference: Interval, lower_is_better: bool, expected: str
) -> None:
    assert describe_difference(difference, lower_is_better=lower_is_better) == expected
