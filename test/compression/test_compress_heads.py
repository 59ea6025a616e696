# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compression of a model with two heads: each is judged by itself, and one that fails rejects the variant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ad_compressed_perception as adcp
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.search.budget import Budget
from ad_compressed_perception.compression.search.search import Request, search
from ad_compressed_perception.compression.verification.head_labels import split_by_head
from ad_compressed_perception.core.errors import DataError, ManifestError, RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.monitor.gate import gate_of
from support.compression import small_recipe, write_images
from support.several_heads import write_two_heads


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_images(tmp_path_factory.mktemp("scene"), 48))


def test_a_variant_is_accepted_where_every_head_is(tmp_path: Path, images: str) -> None:
    model = write_two_heads(tmp_path / "model")
    accept = {"max_drop": 0.2, "heads": {"surface": {"max_drop": 0.15}}}
    recipe = small_recipe(tmp_path / "recipe", accept=accept)
    result = compress_model(load_manifest(model), recipe, images, work=tmp_path / "work")
    assert result.verdict.status == "accepted", result.verdict.reasons
    text = "\n".join(result.verdict.reasons)
    assert "head 'objects': agreement drops by" in text
    assert "head 'surface': agreement drops by" in text
    assert "within the allowed 0.15" in text
    heads = result.report.heads
    assert heads is not None
    assert [one.task for one in heads.values()] == ["detection", "segmentation"]
    assert heads["surface"].terms["max_drop"] == 0.15
    markdown = (result.report_folder / "report.md").read_text()
    assert "## Heads: each is judged by itself" in markdown
    assert "## Head surface: agreement with the baseline" in markdown
    entry = load_manifest(tmp_path / "work" / "two_heads").variant("small")
    assert set(entry.figures["agreement"]["heads"]) == {"objects", "surface"}
    # The node's terms are those of the head.
    manifest = load_manifest(tmp_path / "work" / "two_heads")
    gates = [gate_of(manifest, "small", head) for head in ("objects", "surface")]
    assert [None if gate is None else gate.max_drop for gate in gates] == [0.2, 0.15]
    compared = adcp.compare(model, images, "small", work=tmp_path / "work", limit=10)
    assert set(compared.agreement.heads) == {"objects", "surface"}


def test_one_broken_head_rejects_the_whole_and_is_named(tmp_path: Path, images: str) -> None:
    """Eight bits cannot hold the mask head's hidden layer; the boxes are as good as before."""
    model = write_two_heads(tmp_path / "model", fragile=True)
    recipe = small_recipe(tmp_path / "recipe")
    result = compress_model(load_manifest(model), recipe, images, work=tmp_path / "work")
    assert result.verdict.status == "rejected"
    assert all("head 'objects'" not in reason for reason in result.verdict.reasons)
    assert any(reason.startswith("head 'surface': ") for reason in result.verdict.reasons)
    heads = result.report.heads
    assert heads is not None
    assert (heads["objects"].agreement.score or 0.0) > 0.9
    assert (heads["surface"].agreement.score or 0.0) < 0.85
    # The figures of the whole are those of the worst head, never a mean that hides it.
    assert result.report.agreement.score == heads["surface"].agreement.score
    assert result.report.agreement.measure.startswith("head surface: ")


def test_a_report_of_one_task_has_no_heads(tmp_path: Path, images: str) -> None:
    from support.models import write_segmenter

    recipe = small_recipe(tmp_path / "recipe")
    model = load_manifest(write_segmenter(tmp_path / "model"))
    result = compress_model(model, recipe, images, work=tmp_path / "work")
    assert "heads" not in json.loads((result.report_folder / "report.json").read_text())
    assert "heads" not in result.variant.figures["agreement"]


@pytest.mark.parametrize(
    ("accept", "line"),
    [
        ({"heads": {"lanes": {"max_drop": 0.1}}}, "accept.heads: model 'two_heads' has no head 'lanes'"),
        ({"heads": {"surface": {"by_size": {"small": 0.1}}}}, "accept.heads.surface: accept.by_size"),
        ({"min_cosine": 0.9}, "accept.min_cosine is of task raw"),
        ({"max_accuracy_drop": 1.0}, "needs labeled data"),
    ],
)
def test_terms_that_no_head_has_are_refused(tmp_path: Path, images: str, accept: object, line: str) -> None:
    model = load_manifest(write_two_heads(tmp_path / "model"))
    with pytest.raises(RecipeError, match=line):
        compress_model(
            model, small_recipe(tmp_path / "recipe", accept=accept), images, work=tmp_path / "work"
        )


def test_passes_and_verbs_that_know_one_task_only_say_so(tmp_path: Path, images: str) -> None:
    model = load_manifest(write_two_heads(tmp_path / "model"))
    recipe = small_recipe(tmp_path / "recipe", passes=[{"select_classes": {"labels": ["car"]}}])
    with pytest.raises(RecipeError, match="pass select_classes takes models with one task"):
        compress_model(model, recipe, images, work=tmp_path / "work")
    with pytest.raises(ManifestError, match="several heads, which a search does not know yet"):
        search(model, Request(images, Budget(0.01)))


def test_labeled_data_names_its_head(tmp_path: Path) -> None:
    heads = ["objects", "surface"]
    assert split_by_head("objects=/a,b/c,surface=/d=e", heads, "m") == {
        "objects": "/a,b/c",
        "surface": "/d=e",
    }
    for text in ("/a", "lanes=/a", "objects=", "objects=/a,objects=/b"):
        with pytest.raises(DataError):
            split_by_head(text, heads, "m")


def test_each_head_has_labels_of_its_own(tmp_path: Path, images: str) -> None:
    """Both heads are exact on their data in float; eight bits make the fragile one guess."""
    from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
    from support.labeled import LABEL_MAP, SCENES, write_boxes, write_masks

    model = load_manifest(write_two_heads(tmp_path / "model", fragile=True))
    boxes = write_boxes(tmp_path / "boxes", SCENES * 6)
    masks = write_masks(tmp_path / "masks", 24)
    accept = {"max_drop": 1.0, "heads": {"surface": {"max_accuracy_drop": 5.0}}}
    recipe = small_recipe(tmp_path / "recipe", accept=accept)
    with pytest.raises(RecipeError, match="max_accuracy_drop, which needs labeled data"):
        compress_model(
            model, recipe, images, work=tmp_path / "work", labeled=LabeledChoice(f"objects={boxes}")
        )
    assert LABEL_MAP["classes"]
    choice = LabeledChoice(f"objects={boxes},surface={masks}", f"surface={masks / 'label_map.yaml'}")
    result = compress_model(model, recipe, images, work=tmp_path / "work", labeled=choice)
    heads = result.report.heads
    assert heads is not None
    found = {name: one.accuracy for name, one in heads.items()}
    assert found["objects"] is not None
    assert found["surface"] is not None
    assert found["objects"].figures["map"].baseline.value == pytest.approx(1.0)
    assert found["surface"].figures["miou"].baseline.value > 0.95
    assert result.verdict.status == "rejected"
    assert any(text.startswith("head 'surface': miou is worse by") for text in result.verdict.reasons)
    evaluated = adcp.evaluate(model.folder, boxes, head="objects")
    assert evaluated.results["fp32"].figures["map"].value == pytest.approx(1.0)
    with pytest.raises(ManifestError, match="has several heads: name one with head: objects, surface"):
        adcp.evaluate(model.folder, boxes)


def test_calibration_reads_the_inputs_from_the_bag(tmp_path: Path) -> None:
    """A planner with four inputs: all are fed while ranges are measured; the hash has the speed, too."""
    from support.bags import stamps_of
    from support.several_heads import write_drive, write_inputs_planner

    stamps = stamps_of(60)
    verdicts, hashes = [], []
    for number, speed in enumerate((0.5, 1.0)):
        odometry = [(stamp, speed + 0.01 * place) for place, stamp in enumerate(stamps)]
        bag = write_drive(tmp_path / f"bag{number}", stamps, odometry)
        model = load_manifest(write_inputs_planner(tmp_path / f"model{number}"))
        recipe = small_recipe(tmp_path / f"recipe{number}", accept={"max_drop": 1.0})
        result = compress_model(model, recipe, str(bag), work=tmp_path / f"work{number}")
        assert result.variant.calibration is not None
        verdicts.append(result.verdict.status)
        hashes.append(result.variant.calibration.sha256)
        account = result.report.provenance.frames
        assert account is not None
        assert "2 earlier images are needed" in " ".join(account.sentences()) or account.checked == 32
    assert verdicts == ["accepted", "accepted"], result.verdict.reasons
    assert hashes[0] != hashes[1]
    recipe = small_recipe(tmp_path / "sized", passes=[{"input_size": {"factor": 0.5}}])
    with pytest.raises(RecipeError, match="pass input_size takes models with one input, the image"):
        compress_model(model, recipe, str(bag), work=tmp_path / "work2")
