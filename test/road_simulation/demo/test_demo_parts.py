# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of the demo: choice of the variant, output folder, progress, HTML page, summary sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_compressed_perception.analysis.evaluate import Figure
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.workspace.default_models import default_models
from ad_road_simulation.demo.report_folder import MARKER, report_folder
from ad_road_simulation.demo.sentences import describe_difference
from ad_road_simulation.demo.steps import Steps
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


class RecordedProgress:
    """Records progress messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def notify(self, text: str) -> None:
        """Record a text."""
        self.messages.append(text)

    def advance(self, done: int, total: int) -> None:
        """Record a count."""
        self.messages.append(f"{done} of {total}")


def test_progress_messages_have_the_number_of_their_step() -> None:
    progress = RecordedProgress()
    steps = Steps(progress, ("record", "replay"))
    steps.begin("record")
    steps.advance(1, 2)
    steps.begin("replay")
    steps.notify("starting the nodes")
    assert progress.messages == ["1/2 record", "1 of 2", "2/2 replay", "2/2 replay: starting the nodes"]
    assert list(steps.seconds) == ["record"]


# ---- summary sentences


@pytest.mark.parametrize(
    ("difference", "lower_is_better", "expected"),
    [
        (Figure(-0.02, -0.03, -0.01), False, "a significant loss"),
        (Figure(-0.02, -0.03, -0.01), True, "a significant gain"),
        (Figure(0.02, 0.01, 0.03), True, "a significant loss"),
        (Figure(-0.02, -0.05, 0.01), False, "not significant"),
        (Figure(0.0, 0.0, 0.0), False, "no difference"),
        (Figure(0.1, float("nan"), float("nan")), False, "without an interval"),
    ],
)
def test_a_difference_is_described_by_its_interval(
    difference: Figure, lower_is_better: bool, expected: str
) -> None:
    assert describe_difference(difference, lower_is_better=lower_is_better) == expected
