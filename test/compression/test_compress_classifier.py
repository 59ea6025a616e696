# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A classifier of ten labels is quantized to integers, judged, reported and evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ad_compressed_perception.cli import evaluate as evaluate_verb
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from support.classifiers import LABELS, write_class_folders, write_classifier, write_colors
from support.compression import small_recipe

FRAMES = {"calibration": {"frames": 20}, "verify": {"frames": 60}, "accept": {"max_drop": 0.1}}


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 80 images, one label after the other: six of each among the 60 to verify on."""
    return write_colors(tmp_path_factory.mktemp("colors"), 80)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_classifier_runs_in_integers_and_is_accepted(tmp_path: Path, colors: Path, layout: str) -> None:
    """Conv and dense both, also behind the Transpose of exports from Keras; accuracy comes from labels."""
    model = write_classifier(tmp_path / "model", layout=layout)  # type: ignore[arg-type]
    labeled = write_class_folders(tmp_path / "labeled", 2)
    accept = {"max_drop": 0.1, "max_accuracy_drop": 5.0, "min_integer_coverage": 1.0}
    recipe = small_recipe(tmp_path / "recipe", **{**FRAMES, "accept": accept})
    result = compress_model(
        load_manifest(model), recipe, str(colors), work=tmp_path / "work", labeled=LabeledChoice(str(labeled))
    )
    assert result.verdict.status == "accepted", result.verdict.reasons
    assert (result.coverage.integer, result.coverage.compute) == (2, 2)
    assert result.verification.agreement.measure == "top-1 agreement"
    accuracy = result.report.accuracy
    assert accuracy is not None
    assert (accuracy.metric, accuracy.figures["accuracy"].baseline.value) == ("accuracy", 1.0)
    text = (result.report_folder / "report.md").read_text()
    assert "| strongest label | frames of the baseline | of the variant | of both |" in text
    assert "| magenta | 6 | 6 | 6 |" in text
    assert "The largest difference of a label's score is" in text


def test_a_variant_that_loses_labels_is_rejected(tmp_path: Path, colors: Path) -> None:
    """A quantization so coarse that hardly any color is left; its images name the labels that changed."""
    model = write_classifier(tmp_path / "model")
    passes = ["upgrade_opset", "simplify", "infer_shapes", {"prune_channels": {"share": 0.6}}]
    recipe = small_recipe(
        tmp_path / "recipe", **{**FRAMES, "passes": passes[:3] + [{"palettize": {"bits": 1}}]}
    )
    result = compress_model(load_manifest(model), recipe, str(colors), work=tmp_path / "work")
    assert result.verdict.status == "rejected"
    assert result.report.worst_frames
    assert (result.report_folder / result.report.worst_frames[0].file).stat().st_size > 1000


def test_a_baseline_that_always_gives_one_label_is_refused(tmp_path: Path, colors: Path) -> None:
    """As with pixels of a wrong scale: agreement with it would be perfect and mean nothing."""
    model = write_classifier(tmp_path / "model", bias_of={"brown": 500.0})
    recipe = small_recipe(tmp_path / "recipe", **FRAMES)
    with pytest.raises(ManifestError, match="all 60 frames have the same label .'brown'.*scale"):
        compress_model(load_manifest(model), recipe, str(colors), work=tmp_path / "work")


def test_a_softmax_too_many_is_refused_before_anything_is_compressed(tmp_path: Path, colors: Path) -> None:
    model = write_classifier(tmp_path / "model", activation="softmax")
    with pytest.raises(OutputError, match="activation: none"):
        compress_model(
            load_manifest(model),
            small_recipe(tmp_path / "recipe", **FRAMES),
            str(colors),
            work=tmp_path / "w",
        )


def test_import_refuses_a_wrong_activation_on_its_sample(tmp_path: Path, colors: Path) -> None:
    file = write_classifier(tmp_path / "source", end="logits") / "fp32.onnx"
    request = ImportRequest(
        task="classification",
        labels=LABELS,
        decoder="classes",
        decoder_options={"activation": "none"},
        input={"scale": 1 / 255, "color": "BGR"},
        sample=str(colors),
    )
    with pytest.raises(ModelFileError, match="activation: softmax"):
        import_model(file, tmp_path / "model", request)
    assert not (tmp_path / "model" / "model.yaml").exists()


def test_evaluate_shows_recall_and_confusion(tmp_path: Path) -> None:
    """Brown is favored so much that some labels become brown on all frames: their recall is 0."""
    model = write_classifier(tmp_path / "model", bias_of={"brown": 4.0})
    data = write_class_folders(tmp_path / "labeled", 3)
    app = typer.Typer()
    app.command()(evaluate_verb.evaluate)
    arguments = [str(model), "--data", str(data), "--per-class"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    document = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    fp32 = document["variants"]["fp32"]
    wrong = [name for name, row in fp32["per_class"].items() if row["recall"] == 0.0]
    assert wrong
    assert fp32["figures"]["accuracy"]["value"] == pytest.approx(1.0 - len(wrong) / 10)
    assert fp32["confusion"][wrong[0]] == {"brown": 3}
    assert "class (row), found as (column)" in " ".join(shown.stdout.split())
