# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model with two heads goes to a device; each head is judged by itself, and one that fails rejects all.

The tiny detector and the tiny segmenter on one layer: whole numbers below 256, which 8 bits hold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from ad_compressed_perception.cli import verdict as verdict_verb
from ad_compressed_perception.core.errors import ManifestError, RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.targets.device_verdict import judge_outputs
from ad_compressed_perception.targets.export import ExportRequest, export_model
from ad_compressed_perception.targets.outputs import read_device_run
from ad_compressed_perception.targets.rule_file import load_target
from support.compression import write_images, write_recipe
from support.device import copy_of, run_on_device, spoil
from support.several_heads import write_inputs_planner, write_two_heads

app = typer.Typer()
app.command("verdict")(verdict_verb.verdict)
TARGETS = ("onnxruntime", "openvino", "litert")
HEADS = ("objects", "surface")
ACCEPT = {"max_drop": 0.1, "heads": {"surface": {"max_drop": 0.05, "max_accuracy_drop": 1.0}}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a folder for a target with the device's outputs, made once."""
    root = tmp_path_factory.mktemp("heads")
    model = load_manifest(write_two_heads(root / "model"))
    images = write_images(root / "images", 40)
    recipe = write_recipe(root / "recipe.yaml", accept=ACCEPT)

    def give(target: str) -> Path:
        folder = root / target
        if not folder.is_dir():
            export_model(model, load_target(target), ExportRequest(str(images), recipe=str(recipe)), folder)
            done = run_on_device(folder)
            assert done.returncode == 0, done.stderr
        return folder

    return give


@pytest.mark.parametrize("target", TARGETS)
def test_a_right_device_is_accepted_head_by_head(exported: Callable[[str], Path], target: str) -> None:
    pytest.importorskip({"litert": "litert_torch"}.get(target, target))
    folder = exported(target)

    report = judge_outputs(folder).report

    assert report.gate.verdict.status == "accepted", report.gate.verdict.reasons
    assert report.heads is not None
    # LiteRT's int8 form leaves in float what joins boxes and scores behind the last products, and says so.
    assert ("output" in read_device_run(folder).export.float_operators) == (target == "litert")
    assert {name: one.agreement.score for name, one in report.heads.items()} == dict.fromkeys(HEADS, 1.0)
    # Labeled data is not taken to a device: that term of a head would leave every verdict open.
    terms = yaml.safe_load((folder / "recipe.yaml").read_text())["accept"]["heads"]
    assert terms == {"surface": {"max_drop": 0.05}}
    assert report.heads["surface"].terms["max_drop"] == 0.05


@pytest.mark.parametrize(
    ("place", "spoiled", "sound"), [(0, "objects", "surface"), (1, "surface", "objects")]
)
def test_one_spoiled_head_rejects_the_model_by_its_name(
    exported: Callable[[str], Path], place: int, spoiled: str, sound: str, tmp_path: Path
) -> None:
    """Noise of the size of the outputs in one of the two tensors, the other untouched."""
    folder = copy_of(exported("onnxruntime"), tmp_path / "spoiled")
    rng = np.random.default_rng(1)
    spoil(folder, lambda a: rng.normal(0.0, 100.0, a.shape).astype(a.dtype), place)

    found = CliRunner().invoke(app, ["--outputs", str(folder)])
    verdict = judge_outputs(folder).report.gate.verdict

    assert found.exit_code == 3, found.output
    assert "verdict: rejected" in found.output
    assert f"head {spoiled!r}: " in found.output
    assert verdict.status == "rejected"
    assert all(reason.startswith(f"head {spoiled!r}: ") for reason in verdict.reasons)
    assert not any(sound in reason for reason in verdict.reasons)


def test_a_head_of_which_the_device_gives_no_number_is_named(
    exported: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copy_of(exported("onnxruntime"), tmp_path / "nan")
    spoil(folder, lambda a: np.full_like(a, np.nan), 1)

    verdict = judge_outputs(folder).report.gate.verdict

    assert verdict.status == "rejected"
    assert any("head 'surface': the variant gave no result" in reason for reason in verdict.reasons)


def test_each_head_gets_its_own_tensor(exported: Callable[[str], Path]) -> None:
    """The order of a head's outputs is that of the file, whatever the runtime made of it."""
    run = read_device_run(exported("onnxruntime"))

    assert [spec.name for spec in run.export.device_outputs] == ["output", "mask_scores"]
    assert run.outputs[0]["mask_scores"].shape == (1, 4, 64, 64)


def test_terms_of_a_head_that_the_model_lacks_are_refused_before_a_device_runs(tmp_path: Path) -> None:
    model = load_manifest(write_two_heads(tmp_path / "model"))
    recipe = write_recipe(tmp_path / "recipe.yaml", accept={"heads": {"lanes": {"max_drop": 0.1}}})

    with pytest.raises(RecipeError, match="has no head 'lanes'"):
        export_model(
            model, load_target("openvino"), ExportRequest("images", recipe=str(recipe)), tmp_path / "out"
        )


def test_a_model_with_further_inputs_is_refused_by_their_names(tmp_path: Path) -> None:
    model = load_manifest(write_inputs_planner(tmp_path / "planner"))

    with pytest.raises(ManifestError, match="also takes previous, speed, gain"):
        export_model(model, load_target("openvino"), ExportRequest("images"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
