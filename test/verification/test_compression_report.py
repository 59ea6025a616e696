# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a compression: its content, its correctness, and rendering it again."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import onnx
import pytest
import typer
from typer.testing import CliRunner

from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, evaluate, use_settings
from ad_compressed_perception.analysis.inspect import inspect_file, inspect_variant
from ad_compressed_perception.cli import report as verb
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.compression.verification.rerender import (
    render_again,
)
from ad_compressed_perception.core.errors import AdcpError, DataError, RecipeError
from ad_compressed_perception.core.manifest import Verdict, load_manifest
from ad_compressed_perception.core.renamed import RenamedWarning
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.packing.packed_file import expand
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.compression import CompressionReport, verdict_text
from ad_compressed_perception.tasks.pipeline import open_pipeline
from dev.check_html import faults
from support.compression import INT8_PASSES, small_recipe, write_images
from support.labeled import SCENES, write_boxes
from support.models import write_detector, write_planner

app = typer.Typer()
app.command("report")(verb.report)


def _growing_darker(folder: Path) -> Path:
    """Darken each image, later ones more."""
    for index, path in enumerate(sorted(folder.iterdir())):
        cv2.imwrite(str(path), cv2.subtract(cv2.imread(str(path)), (index // 2,) * 4))
    return folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    """Return a tiny detector in int8 except one head, verified without and with labels."""
    folder = tmp_path_factory.mktemp("detector")
    recipe = small_recipe(
        folder,
        # Convolutions only: one scale for boxes and scores would leave nothing to compare.
        passes=[
            *INT8_PASSES[:-1],
            {"quantize_int8": {"exclude": ["head_32"], "operators": ["Conv"]}},
            "deduplicate_initializers",
        ],
        accept={"max_drop": 1.0, "max_accuracy_drop": 100.0},
    )
    return compress_model(
        load_manifest(write_detector(folder / "model")),
        recipe,
        str(_growing_darker(write_images(folder / "images", 40))),
        work=folder / "work",
        labeled=LabeledChoice(str(write_boxes(folder / "coco", SCENES * 5))),
    )


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    """Return a tiny planner with 8-bit weights in a packed file."""
    folder = tmp_path_factory.mktemp("planner")
    recipe = small_recipe(
        folder,
        passes=["upgrade_opset", "simplify", {"quantize_weights": {"min_elements": 8}}],
        store="packed",
        options={"threads": 2},
        accept={"max_drop": 1.0, "max_size_ratio": 0.001},
    )
    return compress_model(
        load_manifest(write_planner(folder / "model")),
        recipe,
        str(write_images(folder / "images", 40)),
        work=folder / "work",
    )


def test_the_folder_holds_what_the_report_names(detector: CompressionResult) -> None:
    folder, report = detector.report_folder, detector.report
    assert folder.name == "small.report"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["report.json", *report.files])
    assert CompressionReport.read(folder / "report.json").to_json() == report.to_json()
    text = (folder / "report.md").read_text(encoding="utf-8")
    for name in report.files:
        if name not in ("report.md", "report.html"):
            assert f"]({name})" in text
            image = cv2.imread(str(folder / name))
            assert image is not None and image.std() > 5.0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert faults(page) == []
    assert page.count("<img") == len(report.files) - 2
    assert page.index("accepted") < page.index("<table")


def test_every_figure_is_correct(detector: CompressionResult) -> None:
    report, stored = detector.report, load_manifest(detector.manifest.folder)
    path = stored.variant_path("small")
    costs = report.costs
    assert costs.stored_bytes.variant == path.stat().st_size
    assert costs.stored_bytes.baseline == stored.variant_path("fp32").stat().st_size
    # 3x3 of 3 channels at every pixel, then the three heads, each seeing every pixel once.
    macs = 64 * 64 * 3 * 27 + 3 * 64 * 64 * 3 * 8
    assert (costs.macs.baseline, costs.macs.variant, costs.macs.ratio) == (macs, macs, 1.0)
    assert costs.parameters.baseline and costs.parameters.variant
    assert costs.peak_bytes.baseline is not None and costs.running_bytes.baseline is not None
    assert costs.peak_bytes.baseline >= costs.running_bytes.baseline
    assert (report.coverage.integer, report.coverage.compute) == (3, 4)
    infer = report.latency.infer
    assert infer.baseline_p50_ms and infer.variant_p50_ms
    assert infer.speedup_p50.value == pytest.approx(infer.baseline_p50_ms / infer.variant_p50_ms)
    for interval in (infer.speedup_p50, infer.speedup_p99, report.latency.end_to_end.speedup_p50):
        assert interval is not None and interval.low <= interval.high
    assert report.baseline.threads == report.variant.threads == 1
    assert report.agreement.frames == len(report.frames.stamp_ns) == len(report.frames.variant_ms) == 24
    assert report.graph_optimization is not None
    assert report.graph_optimization.passes == INT8_PASSES[:3]
    assert report.graph_optimization.speedup.is_known


def test_slices_are_tenths_of_the_frames(detector: CompressionResult) -> None:
    agreement, brightness = detector.report.agreement, detector.report.frames.brightness
    # The last of the drive are the darkest, see above.
    assert brightness == sorted(brightness, key=lambda value: -(value or 0.0))
    assert {one.name: one.frames for one in agreement.slices} == {"darkest": 3, "most_crowded": 3}
    drops = {one.name: one.drop.value for one in agreement.slices}
    assert agreement.worst_slice is not None
    assert drops[agreement.worst_slice] == max(drops.values())


def test_labeled_figures_are_those_of_evaluate(detector: CompressionResult) -> None:
    """The same data evaluated as by ``adcp evaluate``, and the loss in points of mAP."""
    accuracy = detector.report.accuracy
    assert accuracy is not None
    assert (accuracy.metric, accuracy.frames, accuracy.settings) == ("map", 20, DETECTION_SETTINGS)
    values = {}
    for name in ("fp32", "small"):
        pipeline = open_pipeline(detector.manifest, name, allow_rejected=True)
        try:
            use_settings(pipeline, **DETECTION_SETTINGS)
            labeled = open_labeled(str(detector.manifest.folder.parents[1] / "coco"), detector.manifest)
            values[name] = evaluate(pipeline, labeled).figures["map"].value
        finally:
            pipeline.close()
    compared = accuracy.figures["map"]
    assert compared.baseline.value == pytest.approx(values["fp32"])
    assert compared.variant.value == pytest.approx(values["small"])
    assert compared.drop.value == pytest.approx(100.0 * (values["fp32"] - values["small"]))
    assert compared.unit == "points"
    assert compared.drop.low <= compared.drop.value <= compared.drop.high
    # A tenth of 20 is 2. The darkest have nothing on them: no average precision, and no worst slice.
    assert {one.name: one.frames for one in accuracy.slices} == {"darkest": 2, "most_crowded": 2}
    assert not accuracy.slices[0].figures["map"].drop.is_known
    assert accuracy.worst_slice == "most_crowded"
    assert any("map is worse by" in reason for reason in detector.verdict.reasons)


def test_layers_are_listed_in_order_with_the_one_in_float(detector: CompressionResult) -> None:
    layers = detector.report.layers
    assert [layer.name for layer in layers] == ["smooth", "head_8", "head_16", "head_32"]
    assert [layer.kind for layer in layers] == ["quantized"] * 3 + ["float"]
    assert layers[-1].why_float == "excluded by the recipe"
    assert all(layer.sqnr_db is not None for layer in layers)
    # The metadata of the file agrees, although the last pass shortened the names in it.
    model = onnx.load(detector.manifest.variant_path("small"))
    listed = json.loads({entry.key: entry.value for entry in model.metadata_props}["adcp.float_layers"])
    assert (listed["layers"], listed["why"], listed["places"]) == (
        ["head_32"],
        ["excluded by the recipe"],
        [3],
    )


def test_inspect_agrees_on_the_stored_file(detector: CompressionResult) -> None:
    found = inspect_variant(detector.manifest, "small", measure_memory=True)
    assert [(layer.name, layer.why) for layer in found.float_layers] == [
        ("head_32", "excluded by the recipe")
    ]
    assert (found.integer_layers, found.compute_layers) == (3, 4)
    assert found.costs.macs == detector.report.costs.macs.variant
    # Layers with shortened names are matched to their costs.
    macs = [layer.macs for layer in found.layers if layer.record.is_compute]
    assert sum(value or 0 for value in macs) == found.costs.macs
    assert found.memory is not None and found.memory.measured_here
    assert (found.memory.peak_bytes or 0) >= found.memory.running_bytes
    # Not measured, the manifest's own figure is taken.
    known = inspect_variant(detector.manifest, "small").memory
    assert known is not None and not known.measured_here
    assert known.peak_bytes == detector.report.costs.peak_bytes.variant
    # The reasons are also in the file alone.
    alone = inspect_file(detector.manifest.variant_path("small"))
    assert alone.float_layers == found.float_layers
    assert alone.memory is None


def test_a_planner_has_slices_of_turns_and_a_packed_file_its_provenance(planner: CompressionResult) -> None:
    report = planner.report
    assert {one.name for one in report.agreement.slices} <= {"darkest", "sharpest_turns"}
    assert "sharpest_turns" in {one.name for one in report.agreement.slices}
    assert report.gate.verdict_text.startswith("rejected(size as stored is ")
    # The recipe gives the variant two threads, so the baseline runs with two.
    assert (report.baseline.threads, report.variant.threads) == (2, 2)
    assert [layer.kind for layer in report.layers] == ["weights only", "weights only"]
    path = planner.manifest.variant_path("small")
    assert path.suffix == ".adcpz"
    metadata = {entry.key: entry.value for entry in expand(path).metadata_props}
    entry = planner.variant
    for key in ("source_sha256", "recipe_sha256", "recipe_text", "calibration_sha256"):
        assert metadata[f"adcp.{key}"] == entry.provenance[key]
    for key in ("versions", "host"):
        assert json.loads(metadata[f"adcp.{key}"]) == entry.provenance[key]
    assert {"isa", "cpu", "machine"} <= entry.provenance["host"].keys()
    assert {"onnx", "onnxruntime", "ad_compressed_perception"} <= entry.provenance["versions"].keys()


def test_provenance_is_in_the_report_as_in_the_manifest(detector: CompressionResult) -> None:
    origin, entry = detector.report.provenance, detector.variant
    assert origin.source_sha256 == entry.provenance["source_sha256"]
    assert origin.recipe_text == entry.provenance["recipe_text"]
    assert origin.recipe_sha256 == entry.provenance["recipe_sha256"]
    assert origin.calibration == entry.calibration
    assert origin.calibration.sha256 == entry.provenance["calibration_sha256"]
    assert detector.report.host.packages == entry.provenance["versions"]
    text = (detector.report_folder / "report.md").read_text(encoding="utf-8")
    for word in (origin.source_sha256, origin.recipe_sha256, origin.calibration.sha256, entry.sha256):
        assert word in text
    assert origin.recipe_text.strip() in text


def test_report_renders_again_from_its_json_alone(detector: CompressionResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    source = detector.report_folder
    (copy / "report.json").write_bytes((source / "report.json").read_bytes())
    outcome = CliRunner().invoke(app, [str(copy)])
    assert outcome.exit_code == 0, outcome.output
    written = {Path(line).name for line in outcome.stdout.split()}
    assert written == {name for name in detector.report.files if not name.endswith(".jpg")}
    assert (copy / "report.md").read_bytes() == (source / "report.md").read_bytes()
    assert sorted(path.name for path in copy.iterdir()) == sorted([*written, "report.json"])


def test_a_replays_report_renders_its_markdown_again(tmp_path: Path) -> None:
    Report().write(tmp_path / "report.json")
    assert render_again(tmp_path / "report.json") == [tmp_path / "report.md", tmp_path / "report.html"]
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# Baseline and compressed")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "names no schema"),
        ('{"schema": "adcp-compression/2"}', "adcp-compression/2"),
        ('{"schema": "adcp-compression/1", "color": 1}', "unknown key 'color'"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        render_again(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_no_report_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read report"):
        render_again(tmp_path)


def test_a_full_disk_or_an_interrupt_in_the_report_leaves_the_earlier_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ad_compressed_perception.compression import compress as module

    manifest, work = load_manifest(write_planner(tmp_path / "model")), tmp_path / "work"
    images = write_images(tmp_path / "images", 12)
    recipe = small_recipe(
        tmp_path / "r", passes=["simplify"], calibration={"frames": 2}, verify={"frames": 4}
    )
    first = compress_model(manifest, recipe, str(images), work=work)
    before = {path: path.read_bytes() for path in first.manifest.folder.rglob("*") if path.is_file()}
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(*_: object, failure: BaseException = failure) -> None:
            raise failure

        monkeypatch.setattr(module, "write_report_folder", fail)
        with pytest.raises((AdcpError, KeyboardInterrupt)):
            compress_model(manifest, recipe, str(images), frames=3, work=work)
        after = {path: path.read_bytes() for path in first.manifest.folder.rglob("*") if path.is_file()}
        assert after == before


def test_a_term_on_labels_needs_labels(tmp_path: Path) -> None:
    """Refused before any work is done, not after minutes of training."""
    recipe = small_recipe(tmp_path / "r", accept={"max_accuracy_drop": 1.0})
    manifest = load_manifest(write_detector(tmp_path / "model"))
    with pytest.raises(RecipeError, match="max_accuracy_drop, which needs labeled data: give it"):
        compress_model(manifest, recipe, str(tmp_path / "no images"), work=tmp_path / "work")
    wrong = small_recipe(tmp_path / "w", accept={"max_accuracy_drop": 1.0, "accuracy_metric": "miou"})
    data = LabeledChoice(str(write_boxes(tmp_path / "coco", SCENES)))
    with pytest.raises(RecipeError, match="no figure 'miou'; it has: map, ap50"):
        compress_model(manifest, wrong, "nowhere", work=tmp_path / "work", labeled=data)
    assert not (tmp_path / "work").exists()


def test_the_verdict_has_three_texts() -> None:
    assert verdict_text(Verdict(status="accepted", reasons=["within"])) == "accepted"
    assert verdict_text(Verdict(status="rejected", reasons=["too slow", "too large"])) == (
        "rejected(too slow; too large)"
    )
    assert verdict_text(Verdict(status="inconclusive", reasons=["wide"])) == "inconclusive(need more frames)"


def test_a_report_with_old_keys_and_values_renders(tmp_path: Path) -> None:
    """Written by the version before the renames: an int8 segmenter, with its slices and layers."""
    old = Path(__file__).parent / "data" / "report_before_renames.json"
    (tmp_path / "report.json").write_bytes(old.read_bytes())

    with pytest.warns(RenamedWarning):
        render_again(tmp_path)
        report = CompressionReport.parse(old.read_bytes())

    assert {layer.kind for layer in report.layers} <= {"quantized", "weights only", "float"}
    assert report.agreement.slices[0].attribute in ("brightness", "object_density")
    assert len(report.frames.object_density) == report.agreement.frames
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert report.gate.verdict_text in text
