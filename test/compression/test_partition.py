# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pass ``partition``, from a recipe to a variant of several files with a verdict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import typer
from typer.testing import CliRunner

from ad_compressed_perception.analysis.throughput import Flow
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.stage_file import StageFile, read_stage_file
from ad_compressed_perception.cli import benchmark, inspect
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.parallelism.measured_stages import (
    SAME_THREADS,
    SINGLE,
    STAGED,
    StagedFlow,
)
from ad_compressed_perception.compression.parallelism.node_costs import NodeCosts
from ad_compressed_perception.compression.passes.graph import partition
from ad_compressed_perception.compression.passes.graph.partition import Partition
from ad_compressed_perception.compression.recipe import load_recipe
from ad_compressed_perception.compression.verification.coverage import measure_coverage
from ad_compressed_perception.core.errors import AdcpError, ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import Variant, file_sha256, load_manifest
from ad_compressed_perception.core.model_files import further_files
from ad_compressed_perception.onnx_graph.cuts import CutGraph
from ad_compressed_perception.onnx_graph.stages import StageModel
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.training.pruning.channel_timing import Runtime
from ad_compressed_perception.workspace.sign import check_files
from ad_compressed_perception.workspace.store import open_target, staging, store_variant, stored_name
from support.compression import model_and_context, small_recipe, write_images
from support.models import write_detector, write_segmenter
from support.qdq import quantize
from support.stages import branching_network, frame, write_stages

app = typer.Typer()
app.command("benchmark")(benchmark.benchmark)
app.command("inspect")(inspect.inspect)
PARTITION: list[Any] = ["optimize", {"partition": {"stages": 2}}]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 40)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_recipe_makes_a_variant_of_stages_with_a_verdict(tmp_path: Path, images: Path) -> None:
    model, work = write_detector(tmp_path / "model"), tmp_path / "work"
    recipe = small_recipe(tmp_path / "recipe", passes=PARTITION)

    result = compress_model(load_manifest(model), recipe, str(images), work=work)

    assert result.verdict.status == "accepted"
    assert result.verification.agreement.score == 1.0
    stored = load_manifest(result.manifest.folder)
    entry = stored.variant("small")
    assert (entry.backend, entry.options, entry.file) == ("staged", {}, "small.files/stages.yaml")
    folder = stored.folder / "small.files"
    assert names(folder) == ["stage_1.onnx", "stage_2.onnx", "stages.yaml"]
    assert entry.files == {name: file_sha256(folder / name) for name in ("stage_1.onnx", "stage_2.onnx")}
    described = read_stage_file(folder / "stages.yaml", entry.sha256)
    assert [stage.backend for stage in described.stages] == ["onnxruntime"] * 2
    assert all(stage.cost_ms for stage in described.stages)
    # What crosses is the detector's feature map of 3 x 64 x 64 floats.
    notes = result.passes[-1].notes
    assert notes["cuts"] == [{"tensors": ["features"], "bytes": 3 * 64 * 64 * 4}]
    assert described.stages[1].bytes_in == 3 * 64 * 64 * 4
    assert notes["largest_difference"] <= 1e-5
    # The report says what was predicted and measured, and whether it pays.
    report = json.loads((stored.folder / "small.report" / "report.json").read_text())
    (sentence,) = [note for note in report["notes"] if note.startswith("2 stages with 2 threads together")]
    assert ("do not pay" in sentence) is not notes["pays"]
    assert f"(predicted {notes['predicted_hz']:.1f})" in sentence
    assert sentence in (stored.folder / "small.report" / "report.md").read_text().replace("\n", " ")
    assert report["costs"]["macs"]["ratio"] == 1.0
    # Sizes are those of all files.
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert report["costs"]["stored_bytes"]["variant"] == total
    assert not [path for path in stored.folder.iterdir() if path.name.startswith(".")]

    # The other verbs take it.
    table = CliRunner().invoke(app, ["benchmark", str(stored.folder), "--iterations", "3", "--json"])
    assert table.exit_code == 0, table.output
    load = {name: one["under_load"] for name, one in json.loads(table.output)["variants"].items()}
    assert {name: one["depth"] for name, one in load.items()} == {"fp32": 1, "small": 2}
    assert all(one["throughput_hz"] > 0 and one["latency_ms"] > 0 for one in load.values())
    shown = CliRunner().invoke(app, ["inspect", str(stored.folder), "--variant", "small", "--json"])
    assert shown.exit_code == 0, shown.output

    # An altered stage is refused, as an altered file of one variant is.
    check_files(stored)
    stage = folder / "stage_2.onnx"
    stage.write_bytes(stage.read_bytes() + b"\0")
    with pytest.raises(ModelFileError, match="stage_2.onnx"):
        open_pipeline(stored, "small")


def test_stages_are_replaced_by_one_file_of_their_name_and_back(tmp_path: Path) -> None:
    model = load_manifest(write_segmenter(tmp_path / "model"))
    whole, in_stages = "small.onnx", "small.files/stages.yaml"
    stages = ["small.files/stage_1.onnx", "small.files/stage_2.onnx", in_stages]
    for place, files in ((in_stages, stages), (whole, [whole]), (in_stages, stages), (in_stages, stages)):
        target = open_target(model, tmp_path / "work", False, "small")
        with staging(target.folder) as scratch:
            if place == whole:
                built = Path(shutil.copy(model.variant_path("fp32"), scratch / "variant.onnx"))
            else:
                built = write_stages(model.variant_path("fp32"), scratch / "stages")
            assert stored_name("small", built) == place
            further = {name: file_sha256(built.parent / name) for name in further_files(built)}
            entry = Variant(file=place, sha256=file_sha256(built), files=further)
            store_variant(target, "small", entry, built)
        assert [name for name in names(target.folder) if name.startswith("small")] == files
        check_files(load_manifest(target.folder))


def test_int8_in_stages_keeps_its_integer_kernels(tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "model")
    _, context = model_and_context(folder, tmp_path / "scratch")
    quantized, _ = quantize(folder, tmp_path / "quantized")
    path = Partition({"stages": 2}).cut(quantized.quantized, context)
    assert context.notes["cuts"][0]["bytes"] == 3 * 48 * 64  # one byte each
    assert context.notes["largest_difference"] == 0.0
    session = create_backend("staged").load(path, {})
    assert (session.info.precision, session.info.integer_coverage) == ("int8", 1.0)
    assert measure_coverage(session).share == 1.0
    session.close()


def test_stages_can_be_cut_and_run_as_the_options_say(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model, context = model_and_context(write_segmenter(tmp_path / "model"), tmp_path / "scratch")
    options = {"stages": 2, "cuts": ["features"], "runtimes": [{"backend": "openvino"}, {}]}
    path = Partition(options).cut(model, context)
    assert [stage.backend for stage in read_stage_file(path).stages] == ["openvino", "onnxruntime"]
    session = create_backend("staged").load(path, {})
    assert session.info.provider.startswith("openvino ")
    session.close()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"passes": [*PARTITION, "flush_denormals"]}, "backend 'staged': it must be the last"),
        ({"passes": PARTITION, "store": "packed"}, "store: packed holds ONNX files only"),
    ],
)
def test_what_the_file_would_not_hold_is_refused(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """A pass after it would change a graph that nobody writes any more."""
    with pytest.raises(RecipeError, match=message):
        small_recipe(tmp_path / "recipe", **fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 3, "cuts": ["features"]}, "3 stages need 2 cuts, not 1"),
        ({"stages": 2, "runtimes": [{}]}, "2 stages need as many runtimes"),
        ({"stages": 17}, "stages"),
        ({"runtimes": [{"backend": "staged"}, {}]}, "cannot consist of stages"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Partition(options)


def test_network_with_too_few_places_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "model"), tmp_path / "scratch")
    with pytest.raises(AdcpError, match="can be cut at 1 places, 5 stages need 4"):
        Partition({"stages": 5}).apply(model, context)


def test_backend_of_the_recipe_is_that_of_a_stage(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "model"), tmp_path / "scratch")
    context.runtime = ("staged", {})
    with pytest.raises(RecipeError, match="is that of each stage, such as onnxruntime"):
        Partition({"stages": 2}).apply(model, context)


def test_stages_that_compute_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the cutting, as a seeded one: the second stage's weights are others."""
    model, context = model_and_context(write_segmenter(tmp_path / "model"), tmp_path / "scratch")
    right = partition.split

    def wrong(*arguments: Any) -> list[StageModel]:
        stages = right(*arguments)
        values = stages[1].model.graph.initializer[0]
        array = onnx.numpy_helper.to_array(values) * 1.001
        values.CopyFrom(onnx.numpy_helper.from_array(array, values.name))
        return stages

    monkeypatch.setattr(partition, "split", wrong)
    with pytest.raises(ModelFileError, match="outputs differ by 0.00.* of an output's range"):
        Partition({"stages": 2}).apply(model, context)


def test_cuts_follow_the_measured_times_of_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that is wrong, as on a loaded machine: all time in the first layer, which gets its own stage.

    The stages' times, here as many milliseconds as nodes, move the cut to the middle of nine convolutions.
    """
    _, context = model_and_context(write_segmenter(tmp_path / "model"), tmp_path / "scratch")
    context.feeds = lambda: iter([frame()])
    model = branching_network([("conv", 0, 0)] * 8)

    def wrong_costs(graph: CutGraph, runtime: Runtime, path: Path) -> NodeCosts:
        path.write_bytes(model.SerializeToString())
        return NodeCosts([1.0, *[0.0] * 8], "profile", 1.0)

    def nodes(described: StageFile, folder: Path, feeds: Any) -> list[float]:
        return [float(len(onnx.load(folder / stage.file).graph.node)) for stage in described.stages]

    monkeypatch.setattr(partition, "node_costs", wrong_costs)
    monkeypatch.setattr(partition, "stage_times_ms", nodes)
    Partition({"stages": 2}).cut(model, context)
    assert sorted(context.notes["stages_ms"]) == [4.0, 5.0]


@pytest.mark.parametrize("name", ["partition_2", "partition_2_int8"])
def test_shipped_recipes_end_with_the_partition(name: str) -> None:
    assert load_recipe(name).passes[-1].options.stages == 2


@pytest.mark.parametrize(
    ("single_hz", "same_threads_hz", "pays", "verdict"),
    [
        (200.0, 250.0, True, "the stages pay where frames come faster"),
        (200.0, 310.0, False, "do not pay here: take one session with threads: 2"),
        # A second thread inside of small layers only costs: the session to beat is that with one.
        (317.0, 268.0, False, "do not pay here: take one session with threads: 1"),
    ],
)
def test_stages_pay_only_against_the_better_one_of_both_single_sessions(
    single_hz: float, same_threads_hz: float, pays: bool, verdict: str
) -> None:
    def flow(throughput_hz: float) -> Flow:
        rounds = 8
        return Flow([1e3 / throughput_hz] * rounds, [1e3 / throughput_hz] * rounds, [throughput_hz] * rounds)

    flows = {STAGED: flow(306.0), SINGLE: flow(single_hz), SAME_THREADS: flow(same_threads_hz)}
    found = StagedFlow(2, flows, predicted_latency_ms=3.0, predicted_hz=612.0)
    assert found.pays is pays
    assert verdict in found.sentence(2)
