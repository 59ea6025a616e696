# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo from the command to the report: on the road camera, and on a recorded drive."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_road_simulation.demo import command
from ad_road_simulation.demo.__main__ import main
from ad_road_simulation.demo.command import STEPS
from ad_road_simulation.world.scene import MASK_LABELS
from dev.check_html import faults
from support.models import write_detector, write_planner, write_segmenter, write_trajectory_planner
from support.replay import add_variant, write_drive

# A few images, and a planner that leaves the road after three seconds.
TINY = ["--frames", "8", "--places", "5", "--routes", "1", "--route-m", "200"]
OFF_THE_ROAD_PER_M = 0.06


def write_road_models(folder: Path) -> list[Path]:
    """Write a model of each task with the road camera's labels and two further variants each."""
    models = [
        write_detector(folder / "detector"),
        write_segmenter(folder / "segmenter"),
        write_trajectory_planner(folder / "planner", curvature_per_m=OFF_THE_ROAD_PER_M),
    ]
    manifest = load_manifest(models[1])
    manifest.labels = list(MASK_LABELS)
    save_manifest(manifest, models[1])
    for model in models:
        add_variant(model, "faulty", "rejected")
        add_variant(model, "int8", "accepted")
    return models


def rows_of(markdown: str, section: str) -> list[list[str]]:
    """Return the cells of all table rows below a heading."""
    part = re.split(rf"^## {section}$", markdown, flags=re.M)[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demo_on_the_road_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, out = write_road_models(tmp_path / "models"), tmp_path / "out"
    arguments = [*TINY, "--models", " ".join(map(str, models)), "--out", str(out)]
    arguments += ["--work", str(tmp_path / "work")]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    for number, step in enumerate(STEPS, 1):
        assert f"{number}/6 {step}" in captured.err
    assert str(out / "report.md") in captured.out
    assert str(out / "report.html") in captured.out
    markdown = (out / "report.md").read_text("utf-8")
    replayed = rows_of(markdown, "Replay through nodes")
    for task in ("Detection", "Segmentation", "Planning"):
        names = [cell for row in rows_of(markdown, task) for cell in row if "`" in cell]
        # Each variant is in the table of accuracy for both recordings.
        for variant in ("fp32", "faulty", "int8"):
            assert sum(f"`{variant}`" in name for name in names) == 2, (task, variant)
        # The accepted variant is the one compared with the baseline.
        assert sum(name.startswith("**") for name in names) == 4
        # Speed-ups, latencies and stages of the replay.
        assert sum(row[:2] == [task.lower(), "int8"] for row in replayed) >= 3
    assert rows_of(markdown, "Driving in closed loop")[0][1:] == ["fp32", "int8", "expert"]
    for verb in ("camera", "replay", "evaluate", "drive"):
        assert re.search(rf"^adcp {verb} ", markdown, re.M), "the commands are in the report"
    for task in ("Detection", "Segmentation", "Planning"):
        shown = re.search(
            rf"{task}: (\d+) faults .* in 8 frames of `int8`: every frame has a result", markdown
        )
        assert shown and int(shown[1]) >= 1
        assert re.search(rf"^{task.lower()} +[.B]{{8}}$", markdown, re.M), "who answered each frame"
    images = re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown)
    # Two per task, times, stages, the plot of the offsets, the camera image.
    assert len(images) >= 9
    links = re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", markdown)
    assert "replay/report.md" in links
    for name in {*images, *links}:
        assert (out / name).exists(), name
    page = (out / "report.html").read_text("utf-8")
    assert faults(page) == []
    assert page.count("<img") == len(images)
    for name in ("replay", "closed_loop"):
        assert faults((out / name / "report.html").read_text("utf-8")) == []
    accuracy = json.loads((out / "accuracy" / "planning_places.json").read_text("utf-8"))
    assert accuracy["data"]["evaluated"] == 5
    report = Report.read(out / "replay" / "report.json")
    assert report.source.frames == 8
    assert {name for one in report.tasks.values() for name in one.variants} == {"baseline", "int8"}


def test_missing_models_are_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert main(["--models", str(tmp_path / "nowhere"), "--out", str(out)]) == 1
    # Without the models of the package, as in a checkout without its large files.
    monkeypatch.setattr("ad_compressed_perception.workspace.default_models.models_folder", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert main(["--out", str(out)]) == 1
    named, default = capsys.readouterr().err.splitlines()
    assert "nowhere" in named
    assert "make demo MODELS=" in default
    assert not out.exists()


def test_invalid_options_are_reported_before_rendering(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, out = write_road_models(tmp_path / "models"), tmp_path / "out"
    arguments = ["--models", *map(str, models), "--out", str(out)]
    assert main([*arguments, "--route-m", "50"]) == 1
    assert "length_m is 50" in capsys.readouterr().err
    assert main([*arguments[:1], str(models[0]), *arguments[1:]]) == 1
    assert "two models for task detection" in capsys.readouterr().err
    (models[2] / "int8.onnx").write_bytes(b"another file")
    assert main(arguments) == 1
    assert "sha256" in capsys.readouterr().err
    assert not out.exists()


def test_models_are_given_one_by_one_or_in_one_string(tmp_path: Path) -> None:
    spaced = tmp_path / "my model"
    spaced.mkdir()
    # make passes MODELS="a b" as one argument; a folder with a space in its name is still one folder.
    found = command.model_folders(["a b", "c", str(spaced)])
    assert found == [Path("a"), Path("b"), Path("c"), spaced]
    words = ["bag", "--models", "a", "b", "--out", "o", "--models", "c"]
    assert command.repeated_option(words) == [
        *("bag", "--models", "a", "--models", "b", "--out", "o", "--models", "c"),
    ]


@pytest.mark.ros
@pytest.mark.timeout(240)
def test_a_recorded_drive_and_given_models_are_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 165 frames: the recipe calibrates on 64 and verifies on 100 others.
    drive = write_drive(tmp_path / "drive", 165)
    models = [
        add_variant(write_segmenter(tmp_path / "segmenter"), "small"),
        write_planner(tmp_path / "planner"),
    ]
    arguments = ["--bag", str(drive), "--models", " ".join(map(str, models))]
    arguments += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--limit", "4"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    # A model with a compressed variant keeps it, one without is compressed.
    compressed = [line for line in captured.err.splitlines() if line.startswith("$ adcp compress")]
    assert [str(models[1]) in line for line in compressed] == [True]
    report = Report.read(tmp_path / "out" / "report.json")
    assert list(report.tasks["segmentation"].variants) == ["baseline", "small"]
    made = report.tasks["planning"].variants["int8"]
    assert made.processed == 4
    # The verdict of the gate is printed before the replay.
    assert made.verdict is not None
    assert f"int8: {made.verdict.status}" in captured.err
    assert str(tmp_path / "out" / "report.md") in captured.out
    # The second run reuses the variant and overwrites the report.
    assert main(arguments) == 0
    assert "adcp compress" not in capsys.readouterr().err
