# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The installed ``adcp`` command in a shell: exit status, one line on error, only JSON with --json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml

from support.bags import write_bag
from support.models import draw_scene, write_detector, write_planner

RECIPES = Path(__file__).parents[2] / "config" / "recipes"


def adcp(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of its own, so that work folders do not mix."""
    command = [sys.executable, "-m", "ad_compressed_perception.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(60):
        cv2.imwrite(str(folder / f"{index:04d}.png"), draw_scene(index))
    return folder


def one_line(done: subprocess.CompletedProcess[str], named: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert named in lines[0]


def test_from_model_to_verdict_to_comparison(tmp_path: Path, images: Path) -> None:
    model = write_planner(tmp_path / "model")
    recipe = tmp_path / "recipe.yaml"
    text = yaml.safe_load((RECIPES / "static_int8.yaml").read_text())
    # The tiny planner's file is mostly names, and a kilobyte network gains no speed: neither is required.
    text["accept"] = {"max_drop": 1.0}
    text["name"] = "int8"
    text["calibration"], text["verify"] = {"frames": 10}, {"frames": 30}
    recipe.write_text(yaml.safe_dump(text))
    done = adcp("compress", model, "--recipe", recipe, "--calibration", images, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)  # nothing else on standard output
    # The variant is in the work folder, the model folder is unchanged, and the subcommands find it.
    assert (tmp_path / "adcp_work" / "tiny_planner" / "int8.onnx").is_file()
    assert sorted(path.name for path in model.iterdir()) == ["fp32.onnx", "model.yaml"]
    done = adcp("inspect", model, "--variant", "int8", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"int8"' in done.stdout
    done = adcp("benchmark", model, "--variants", "fp32,int8", "--iterations", 5, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_a_rejected_variant_is_status_3_and_an_inconclusive_one_status_4(
    tmp_path: Path, images: Path
) -> None:
    model = write_planner(tmp_path / "model")
    recipe = tmp_path / "recipe.yaml"
    text = yaml.safe_load((RECIPES / "static_int8.yaml").read_text())
    text["calibration"], text["verify"] = {"frames": 10}, {"frames": 30}
    # No file is a thousand times smaller: the gate must reject it.
    text["accept"] = {"max_drop": 1.0, "max_size_ratio": 0.001}
    recipe.write_text(yaml.safe_dump(text))
    common = ("--recipe", recipe, "--calibration", images)
    done = adcp("compress", model, *common, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "rejected" in done.stdout
    # With fewer informative frames than required the verdict is inconclusive.
    text["accept"] = {"max_drop": 1.0, "min_frames": 1000}
    recipe.write_text(yaml.safe_dump(text))
    done = adcp("compress", model, *common, cwd=tmp_path)
    assert done.returncode == 4, done.stderr


def test_errors_are_one_line_and_status_1(tmp_path: Path, images: Path) -> None:
    model = write_detector(tmp_path / "model")
    one_line(adcp("inspect", tmp_path / "nothing", cwd=tmp_path), "model.yaml")
    one_line(adcp("benchmark", model, "--variants", "fp32,int4", cwd=tmp_path), "int4")
    compress = ("compress", model, "--recipe")
    one_line(adcp(*compress, "magic", "--calibration", images, cwd=tmp_path), "magic")
    one_line(adcp(*compress, "int8", "--calibration", tmp_path / "no", cwd=tmp_path), "no")
    (model / "fp32.onnx").write_bytes(b"garbage")
    one_line(adcp("benchmark", model, "--variants", "fp32", cwd=tmp_path), "sha256")


def test_an_error_that_nobody_foresaw_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verb of another package may raise anything; ADCP_TRACEBACK=1 shows where it comes from."""
    code = "from ad_compressed_perception.cli import main\ndef broken(): raise KeyError('a\\n' * 9000)\n"
    code += "main.app.command('broken')(broken)\nmain.main()"
    command = [sys.executable, "-c", code, "broken"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    one_line(done, "unexpected KeyError")
    assert len(done.stderr) < 700
    monkeypatch.setenv("ADCP_TRACEBACK", "1")
    assert (
        "Traceback"
        in subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stderr
    )


def test_bags_without_the_topic_or_without_messages_are_named(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    write_bag(bag, [draw_scene(0)], topic="/camera/image_raw")
    one_line(adcp("replay", bag, "--topic", "/other", cwd=tmp_path), "/camera/image_raw")
    # The error about a bag of several cameras names this form.
    one_line(adcp("replay", f"{bag}:/other", cwd=tmp_path), "has no topic /other; it has: /camera/image_raw")
    empty = tmp_path / "empty"
    write_bag(empty, [], topic="/camera/image_raw")
    one_line(adcp("replay", empty, cwd=tmp_path), "empty")
    one_line(adcp("replay", tmp_path / "nowhere", cwd=tmp_path), "nowhere")


@pytest.mark.parametrize("arguments", [("fly",), ("compress",), ("benchmark", "m", "--threads", "x")])
def test_wrong_usage_is_status_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = adcp(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_version_and_backends(tmp_path: Path) -> None:
    from ad_compressed_perception import __version__

    assert __version__ in adcp("--version", cwd=tmp_path).stdout
    listed = json.loads(adcp("backends", "--json", cwd=tmp_path).stdout)
    assert "onnxruntime" in json.dumps(listed)


def test_progress_shows_the_time_left_and_in_a_log_a_line_for_each_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log gets a step's name once, whatever details follow it, and a line with the time left every 15 s."""
    from ad_compressed_perception.cli import progress_bar

    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    with progress_bar.ProgressBar(logs_steps=True) as bar:
        for done in range(1, 41):
            bar(f"training, loss {1 / done:.3f}", done, 40)
            now[0] += 1.0
        bar("verify", 0, 0)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines == [
        "training, loss 1.000",
        "training, loss 0.062: 16 of 40, 24 s left",
        "training, loss 0.032: 31 of 40, 9 s left",
        "verify",
    ]
