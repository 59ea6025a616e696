# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An installed package of a third party brings plug-ins of several groups; each is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ad_compressed_perception.core.manifest import MANIFEST_NAME, load_manifest
from support.compression import write_images
from support.models import write_segmenter

ENTRY_POINTS = """
[ad_compressed_perception.backends]
counting = vehicle_plugins:CountingBackend
[ad_compressed_perception.decoders]
first_is_road = vehicle_plugins:FirstIsRoad
[ad_compressed_perception.passes]
sign_graph = vehicle_plugins:SignGraph
[ad_compressed_perception.verbs]
greet = vehicle_plugins_verbs:greet
broken = vehicle_plugins_broken:verb
[ad_compressed_perception.frame_sources]
squares = vehicle_plugins:SquareSource
"""
# The backend marks its sessions, the decoder swaps two labels, the pass leaves a word in the file.
MODULE = """
from dataclasses import replace

import numpy as np

from ad_compressed_perception.backends.onnxruntime_backend import OnnxRuntimeBackend
from ad_compressed_perception.pass_api.passes import Pass, PassOptions
from ad_compressed_perception.tasks.decoders.argmax import ArgmaxDecoder
from ad_compressed_perception.training.default_models.frame_source import GroundTruthFrame, GroundTruthSource


class SquareSource(GroundTruthSource):
    image_size = (96, 64)

    def __init__(self, seed, with_masks):
        self.random = np.random.default_rng(seed)

    def next(self):
        x, y = self.random.integers(0, 32, 2)
        image = np.zeros((64, 96, 3), np.uint8)
        image[y : y + 16, x : x + 16] = 255
        box = np.array([[0, x, y, x + 16, y + 16]], np.float32)
        return GroundTruthFrame(image, box, (image[..., 0] > 0).astype(np.uint8), np.zeros(14, np.float32))


class CountingBackend(OnnxRuntimeBackend):
    name = "counting"

    def load(self, model, options):
        session = super().load(model, options)
        session.info = replace(session.info, backend="counting")
        return session


class FirstIsRoad(ArgmaxDecoder):
    def label_ids(self, outputs):
        ids = super().label_ids(outputs)
        return np.where(ids == 0, np.uint8(1), np.where(ids == 1, np.uint8(0), ids)).astype(np.uint8)


class SignOptions(PassOptions):
    author: str


class SignGraph(Pass):
    name = "sign_graph"
    options_type = SignOptions

    def apply(self, model, context):
        model.doc_string = f"signed by {self.options.author}"
        context.notes["author"] = self.options.author
        return model
"""
VERBS = '''
import typer


def greet(name: str = typer.Argument("driver")) -> None:
    """Greet somebody."""
    print(f"hello {name}")
'''
TRAINING = """
schema: adcp-training/1
name: squares
kind: detection
labels: [square]
input: {width: 48, height: 32, color: BGR, scale: 0.00392157, resize: stretch}
output: {decoder: yolox, options: {output: boxes}}
synthetic: {source: squares, frames: 30, seed: 5}
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds an installed distribution: its modules, its metadata, its entry points."""
    target = tmp_path_factory.mktemp("installed")
    (target / "vehicle_plugins.py").write_text(MODULE)
    (target / "vehicle_plugins_verbs.py").write_text(VERBS)
    (target / "vehicle_plugins_broken.py").write_text("raise RuntimeError('no license')\n")
    metadata = target / "vehicle_plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vehicle_plugins\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return target


def adcp(plugins: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ad_compressed_perception.cli.main", *map(str, arguments)]
    path = os.pathsep.join([str(plugins), *filter(None, sys.path)])
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False
    )


def test_the_backend_is_listed(plugins: Path) -> None:
    listed = adcp(plugins, "backends", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "counting" in {one["name"] for one in json.loads(listed.stdout)["backends"]}


def test_one_compression_uses_all_three(plugins: Path, tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "model")
    manifest = yaml.safe_load((folder / MANIFEST_NAME).read_text())
    manifest["output"]["decoder"] = "first_is_road"
    (folder / MANIFEST_NAME).write_text(yaml.safe_dump(manifest))
    recipe = {
        "schema": "adcp-recipe/1",
        "name": "signed",
        "passes": ["simplify", {"sign_graph": {"author": "the vehicle team"}}],
        "calibration": {"frames": 4},
        "verify": {"frames": 20},
        "backend": "counting",
        "accept": {"max_drop": 0.3, "min_frames": 2},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    images = write_images(tmp_path / "images", 40)

    made = adcp(
        plugins, "compress", folder, "--recipe", tmp_path / "recipe.yaml", "--calibration", images,
        "--work", tmp_path / "work",
    )  # fmt: skip

    assert made.returncode == 0, made.stderr
    stored = load_manifest(tmp_path / "work" / "tiny_segmenter")
    variant = stored.variants["signed"]
    assert variant.backend == "counting"
    assert variant.verdict is not None and variant.verdict.status == "accepted"
    assert b"signed by the vehicle team" in stored.variant_path("signed").read_bytes()
    report = json.loads((tmp_path / "work" / "tiny_segmenter" / "signed.report" / "report.json").read_text())
    assert report["variant"]["backend"] == "counting"


def test_a_verb_is_a_command_and_a_broken_one_is_a_warning(plugins: Path) -> None:
    done = adcp(plugins, "greet", "Ada")
    assert (done.returncode, done.stdout) == (0, "hello Ada\n")
    assert done.stderr == (
        "warning: verb 'broken' (vehicle_plugins_broken:verb) cannot be imported: no license\n"
    )


def test_a_simulator_gives_training_frames(plugins: Path, tmp_path: Path) -> None:
    """30 frames are two sequences, of the seeds 5 and 6; boxes are scaled from 96x64 to 48x32 when opened."""
    pytest.importorskip("torch")
    (tmp_path / "squares.yaml").write_text(TRAINING)

    done = adcp(plugins, "train", tmp_path / "squares.yaml", "--only-render", "--work", tmp_path / "work")

    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "work" / "squares").iterdir()
    images, boxes = np.load(folder / "detection_images.npy"), np.load(folder / "boxes.npy")
    assert images.shape == (30, 32, 48, 3)
    for seed, first in ((5, 0), (6, 25)):
        x, y = np.random.default_rng(seed).integers(0, 32, 2)
        assert boxes[first, 0].tolist() == [0, x, y, x + 16, y + 16]


def test_an_unknown_plugin_is_refused_with_the_known_ones(plugins: Path, tmp_path: Path) -> None:
    """Without the installed package the same names are unknown, and the line says which are known."""
    recipe = {"schema": "adcp-recipe/1", "name": "signed", "passes": ["sign_graph"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    folder = write_segmenter(tmp_path / "model")
    images = write_images(tmp_path / "images", 4)

    refused = adcp(
        tmp_path, "compress", folder, "--recipe", tmp_path / "recipe.yaml", "--calibration", images,
        "--work", tmp_path / "work",
    )  # fmt: skip

    assert refused.returncode == 1
    assert "unknown pass 'sign_graph'; known: cast_float16" in refused.stderr
