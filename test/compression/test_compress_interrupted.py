# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, kill -9 and a full disk during training, on the command line."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ad_compressed_perception.compression.compress import checkpoint_folder
from ad_compressed_perception.compression.pass_runner import choose_samples
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from support.compression import small_recipe, write_images, write_recipe
from support.models import write_segmenter

TRAINING = {"epochs": 40, "batch": 1, "threads": 1, "patience": 40, "learning_rate": 1e-4}


@pytest.fixture(autouse=True)
def _torch() -> None:
    for name in ("torch", "torch_pruning", "safetensors"):
        pytest.importorskip(name, reason=f"{name} is not installed: make setup-train")


def command(folder: Path, **options: Any) -> list[str]:
    """Return the command line that distills the tiny segmenter."""
    passes = ["upgrade_opset", "simplify", {"distill": {**TRAINING, **options}}]
    recipe = write_recipe(folder / "r.yaml", passes=passes, calibration={"frames": 8}, verify={"frames": 20})
    source = folder / "images"
    model = folder / "m"
    if not model.exists():
        write_segmenter(model)
        write_images(source, 40)
    return [
        *(sys.executable, "-m", "ad_compressed_perception.cli.main", "compress", str(model)),
        *("--recipe", str(recipe), "--calibration", str(source), "--work", str(folder / "w")),
    ]


def ready() -> None:
    """Make a child take Ctrl-C, which shells keep from what they start in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped(line: list[str], work: Path, how: signal.Signals) -> tuple[int, str]:
    """Start a command, send it a signal once more epochs are in its checkpoint; return code and output."""
    before = epochs_done(work)
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=ready
    ) as process:
        deadline = time.monotonic() + 120
        while epochs_done(work) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(how)
        _, words = process.communicate()
    return process.returncode, words


def epochs_done(work: Path) -> int:
    for path in work.rglob("state.json"):
        with contextlib.suppress(OSError, ValueError):
            return len(json.loads(path.read_text())["history"]["losses"])
    return 0


def hidden(work: Path) -> list[str]:
    return [path.name for path in work.rglob(".compress-*")]


def test_ctrl_c_and_kill_lose_nothing_that_was_finished(tmp_path: Path) -> None:
    """After both interruptions the third run ends with the same file as an uninterrupted run."""
    line, work = command(tmp_path), tmp_path / "w"
    uninterrupted = subprocess.Popen(
        [*line[:-1], str(tmp_path / "w2")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    code, words = stopped(line, work, signal.SIGINT)

    assert code == 130
    assert words.strip().splitlines()[-1].startswith("error: interrupted; what was finished is kept")
    assert "Traceback" not in words
    done = epochs_done(work)
    assert 0 < done < 40
    assert not hidden(work) and not list(work.rglob("*.onnx"))

    code, _ = stopped(line, work, signal.SIGKILL)

    assert code == -signal.SIGKILL
    assert epochs_done(work) > done  # it resumed, and was killed before it could clean up
    assert hidden(work)

    resumed = subprocess.run(line, capture_output=True, text=True, check=False)
    _, words = uninterrupted.communicate()

    assert (resumed.returncode, uninterrupted.returncode) == (0, 0), resumed.stderr + words
    assert sorted(path.name for path in work.iterdir()) == ["tiny_segmenter"]
    assert not hidden(work) and not (work / "tiny_segmenter" / "checkpoints").exists()
    files = [folder / "tiny_segmenter" / "small.onnx" for folder in (work, tmp_path / "w2")]
    assert file_sha256(files[0]) == file_sha256(files[1])


def test_no_room_for_teacher_outputs_is_one_line(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk, which a memory map would meet by a signal."""
    line = command(tmp_path, epochs=1, views=1)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # the dataset is 147,456 bytes

    done = subprocess.run(line, capture_output=True, text=True, check=False, preexec_fn=limited)

    last = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "error: cannot write to" in last and "File too large" in last and "another work folder" in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "w").exists()


def test_a_run_resumes_only_with_the_same_input_output_and_runtime(tmp_path: Path) -> None:
    """Steps trained on images prepared otherwise, or allocated by another runtime's times, do not count."""
    manifest = load_manifest(write_segmenter(tmp_path / "m"))
    recipe = small_recipe(tmp_path / "r", verify={"frames": 8})
    samples = choose_samples(recipe, str(write_images(tmp_path / "images", 40)), None)
    output = manifest.output.model_copy(update={"options": {"layout": "NHWC"}})
    others = [
        manifest.model_copy(update={"input": manifest.input.model_copy(update={"scale": 0.5})}),
        manifest.model_copy(update={"output": output}),
        manifest.model_copy(update={"labels": manifest.labels[::-1]}),
    ]
    own = checkpoint_folder(manifest, "small", recipe, samples)

    folders = [checkpoint_folder(other, "small", recipe, samples) for other in others]

    assert own == checkpoint_folder(manifest, "small", recipe, samples, "onnxruntime")
    assert len({own, *folders, checkpoint_folder(manifest, "small", recipe, samples, "openvino")}) == 5
