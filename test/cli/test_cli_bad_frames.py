# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The commands with frames that cannot be read: one never ends a job, too many do, in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from support.bags import COMPRESSED_TOPIC, compressed_message, stamps_of, write_messages
from support.models import draw_scene, write_planner

RECIPE = """
schema: adcp-recipe/1
name: simpler
passes: [simplify]
calibration: {frames: 8}
verify: {frames: 22}
"""


def adcp(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ad_compressed_perception.cli.main", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Thirty frames, of which the 4th has no data and the 20th is cut off."""
    stamps = stamps_of(30)
    messages = [compressed_message(draw_scene(index), stamp) for index, stamp in enumerate(stamps)]
    messages[3].data = messages[3].data[:0]
    messages[19].data = messages[19].data[:300]
    rows = list(zip(stamps, messages, strict=True))
    return write_messages(tmp_path / "drive", {COMPRESSED_TOPIC: ("sensor_msgs/msg/CompressedImage", rows)})


def test_compress_leaves_out_bad_frames_and_counts_them(tmp_path: Path, drive: Path) -> None:
    """All thirty are asked for: 28 are used, the same ones by baseline and variant."""
    model, recipe = write_planner(tmp_path / "model"), tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    common = ["compress", model, "--recipe", recipe, "--calibration", drive, "--work", tmp_path / "work"]
    done = adcp(*common, "--json")
    assert done.returncode in (0, 4), done.stderr
    document = json.loads(done.stdout)
    account = document["provenance"]["frames"]
    assert (account["index"], account["checked"], sum(account["bad"].values())) == (30, 30, 2)
    assert any("the message holds no data" in reason for reason in account["bad"])
    report = json.loads(Path(document["stored"]["report"]).read_text())
    assert report["provenance"]["frames"] == account
    used = report["provenance"]["verification_frames"] + report["provenance"]["calibration"]["frames"]
    assert used == 28
    assert len(report["frames"]["difference"]) == report["provenance"]["verification_frames"]
    assert any("2 of 30 frames" in note for note in report["notes"])

    recipe.write_text(RECIPE + "max_bad_frames: 1\n")
    for more, limit in (([], "1"), (["--max-bad-frames", "3%"], "3%")):
        refused = adcp(*common, *more)
        assert (refused.returncode, refused.stdout) == (1, "")
        (line,) = refused.stderr.strip().splitlines()
        assert f"2 of 30 frames of {drive}:{COMPRESSED_TOPIC} cannot be read" in line
        assert f"max_bad_frames {limit} allows 1: frame 3: " in line
    recipe.write_text(RECIPE + "max_bad_frames: many\n")
    assert "max_bad_frames" in adcp(*common).stderr
    assert adcp(*common, "--max-bad-frames", "many").returncode == 1


def test_benchmark_and_evaluate_leave_them_out_too(tmp_path: Path, drive: Path) -> None:
    model = write_planner(tmp_path / "model")
    work = ["--work", tmp_path / "work"]
    timed = adcp("benchmark", model, "--frames", drive, "--iterations", 30, "--json", *work)
    assert timed.returncode == 0, timed.stderr
    assert json.loads(timed.stdout)["frames"] == 28
    assert "warning: 2 of 30 frames" in timed.stderr

    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for index, stamp in enumerate(stamps_of(12)):
        cv2.imwrite(str(images / f"{stamp}.jpg"), draw_scene(index))
    (images / f"{stamps_of(12)[5]}.jpg").write_bytes(b"\xff\xd8")
    (images / "._0.jpg").write_bytes(b"\x00\x05\x16\x07")
    rows = "".join(f"{stamp},{0.01 * index}\n" for index, stamp in enumerate(stamps_of(12)))
    (tmp_path / "data" / "steering.csv").write_text(f"stamp_ns,steering_angle_rad\n{rows}")
    evaluated = adcp("evaluate", model, "--data", tmp_path / "data", "--json", *work)
    assert evaluated.returncode == 0, evaluated.stderr
    document = json.loads(evaluated.stdout)
    assert (document["data"]["available"], document["data"]["evaluated"]) == (12, 11)
    notes = " ".join(next(iter(document["variants"].values()))["notes"])
    assert "1 of 12 frames" in notes
    assert "._0.jpg" in notes
    refused = adcp("evaluate", model, "--data", tmp_path / "data", "--max-bad-frames", "0", *work)
    assert refused.returncode == 1
    assert "max_bad_frames 0 allows 0" in refused.stderr
