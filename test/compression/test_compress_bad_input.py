# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Invalid input of a compression: an error in one line each, and no incomplete files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression import compress as module
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.core.errors import (
    AdcpError,
    DataError,
    ManifestError,
    ModelFileError,
    RecipeError,
)
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.store import staging
from support.bags import road_frames, write_bag
from support.compression import small_recipe, write_images
from support.models import write_detector, write_planner, write_segmenter
from support.onnx_files import write_int8, write_two_convolutions

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 40)


def enter_hash(model: Path) -> None:
    """Enter the present hashes of the file and of its weights, where they lie outside, in the manifest."""
    manifest = load_manifest(model)
    variant = manifest.variant("fp32")
    variant.sha256 = file_sha256(model / "fp32.onnx")
    variant.files = {path.name: file_sha256(path) for path in model.glob("weights.bin")}
    save_manifest(manifest, model)


def edit(change: Callable[[onnx.ModelProto], None]) -> Damage:
    def damage(path: Path) -> None:
        model = onnx.load(path)
        change(model)
        onnx.save(model, path)

    return damage


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def put_nan(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "smooth_w")
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, "smooth_w"))


def forget_weights(path: Path) -> None:
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_off, "fp32.onnx"),
        (lambda path: path.write_text("not a model", encoding="utf-8"), "fp32.onnx"),
        (lambda path: path.write_bytes(b""), "fp32.onnx"),
        (edit(put_nan), "NaN in weight 'smooth_w'"),
        (forget_weights, "weights.bin"),
    ],
    ids=["cut off", "text", "empty", "nan", "external data"],
)
def test_a_damaged_model_is_one_line_and_leaves_nothing(
    tmp_path: Path, images: Path, damage: Damage, words: str
) -> None:
    model = write_detector(tmp_path / "model")
    damage(model / "fp32.onnx")
    enter_hash(model)
    with pytest.raises(AdcpError, match=words) as caught:
        compress_model(
            load_manifest(model), small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work"
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_a_file_of_another_size_than_the_manifest_s_is_refused(tmp_path: Path, images: Path) -> None:
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    manifest.input.width = 96
    with pytest.raises(ModelFileError, match=r"48, 96\].*48, 64\]"):
        compress_model(manifest, small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_an_altered_file_is_refused_by_its_hash(tmp_path: Path, images: Path) -> None:
    model = write_detector(tmp_path / "model")
    edit(lambda proto: setattr(proto, "doc_string", "changed"))(model / "fp32.onnx")
    with pytest.raises(ModelFileError, match="sha256"):
        compress_model(
            load_manifest(model), small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work"
        )


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    source = write_two_convolutions(tmp_path / "float.onnx")
    quantized = read_model(write_int8(source, tmp_path / "int8.onnx"))
    recipe = small_recipe(tmp_path / "r", passes=["quantize_int8"])
    with pytest.raises(ModelFileError, match="quantized already"):
        recipe.passes[0].apply(quantized, None)  # type: ignore[arg-type]  # refused before the context is used


def test_sources_without_enough_frames(tmp_path: Path, images: Path) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    recipe, work = small_recipe(tmp_path / "r"), tmp_path / "work"
    (tmp_path / "empty").mkdir()
    bag = write_bag(tmp_path / "bag", road_frames(3))
    cases = {
        str(tmp_path / "nowhere"): "no such bag or folder",
        str(tmp_path / "empty"): "no images",
        f"{bag}:/no/such/topic": "/no/such/topic",
        str(bag): "3 frames are too few",
    }
    for source, words in cases.items():
        with pytest.raises(DataError, match=words) as caught:
            compress_model(manifest, recipe, source, work=work)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="ask for fewer"):
        compress_model(manifest, recipe, str(images), frames=1000, work=work)
    assert not work.exists()


def test_a_broken_image_leaves_nothing(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 40)
    for path in sorted(folder.iterdir())[20:]:
        path.write_bytes(b"no image")
    manifest = load_manifest(write_planner(tmp_path / "model"))
    with pytest.raises(DataError, match="not a readable image"):
        compress_model(manifest, small_recipe(tmp_path / "r"), str(folder), work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_the_baseline_s_name_is_not_for_a_variant(tmp_path: Path, images: Path) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    with pytest.raises(ManifestError, match="is the baseline"):
        compress_model(manifest, small_recipe(tmp_path / "r"), str(images), name="fp32")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "x" * 129, "accepted"])
def test_a_name_that_no_manifest_takes_is_refused_before_the_work(
    tmp_path: Path, images: Path, name: str
) -> None:
    """``../x`` was stored beside the model's folder, whose model.yaml no command could then read."""
    model, work = load_manifest(write_detector(tmp_path / "model")), tmp_path / "deep" / "work"
    with pytest.raises(AdcpError, match=r"cannot be named|'accepted' asks for") as caught:
        compress_model(model, small_recipe(tmp_path / "r"), str(images), work=work, name=name)
    assert "\n" not in str(caught.value)
    assert not work.parent.exists()


def test_a_work_folder_that_is_a_file_is_an_error(tmp_path: Path, images: Path) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    (tmp_path / "work").write_text("in the way", encoding="utf-8")
    with pytest.raises(ManifestError, match="cannot write to .*another work folder"):
        compress_model(manifest, small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work")


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may write anywhere")
def test_an_unwritable_work_folder_is_an_error(tmp_path: Path, images: Path) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    (tmp_path / "work").mkdir(mode=0o500)
    with pytest.raises(ManifestError, match="cannot write to .*another work folder"):
        compress_model(manifest, small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work")


def test_a_failure_after_the_work_keeps_the_earlier_variant(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the second run wants to write: the first one's variant is untouched."""
    manifest, work = load_manifest(write_planner(tmp_path / "model")), tmp_path / "work"
    recipe = small_recipe(tmp_path / "r")
    first = compress_model(manifest, recipe, str(images), work=work)

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(ManifestError, match="No space left"):
        compress_model(manifest, recipe, str(images), frames=4, work=work)
    stored = load_manifest(first.manifest.folder)
    assert stored.variant("small") == first.variant
    assert file_sha256(stored.variant_path("small")) == first.variant.sha256
    kept = ["fp32.files", "model.yaml", "small.onnx", "small.report"]
    assert sorted(path.name for path in stored.folder.iterdir()) == kept


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    """A killed process leaves its hidden folder, which is recognized by the process id."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from ad_compressed_perception.workspace.store import staging\n"
        "with staging(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half.onnx').write_bytes(b'half'); print('ready', flush=True); time.sleep(60)\n"
    )
    work = tmp_path / "work"
    command = [sys.executable, "-c", code, str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        running = list(work.iterdir())
        with staging(work) as mine:  # the folder of a running process is kept
            assert set(work.iterdir()) == {*running, mine}
        process.kill()
        process.wait()
    time.sleep(0.05)
    with staging(work) as mine:
        assert list(work.iterdir()) == [mine]


def suppress_boxes(model: onnx.ModelProto) -> None:
    """Append the nodes of exporters: boxes and scores split, and suppression that returns indices."""
    graph, raw = model.graph, model.graph.output[0].name
    numbers = {"from": [0], "four": [4], "five": [5], "end": [2**31], "axis": [2], "most": 100}
    for name, value in numbers.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"nms_{name}"))
    graph.node.extend(
        [
            helper.make_node("Slice", [raw, "nms_from", "nms_four", "nms_axis"], ["nms_boxes"]),
            helper.make_node("Slice", [raw, "nms_five", "nms_end", "nms_axis"], ["nms_columns"]),
            helper.make_node("Transpose", ["nms_columns"], ["nms_scores"], perm=[0, 2, 1]),
            helper.make_node(
                "NonMaxSuppression", ["nms_boxes", "nms_scores", "nms_most"], ["selected"], "keep_best"
            ),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("selected", onnx.TensorProto.INT64, ["n", 3]))


def test_suppression_inside_the_model_is_named_with_the_remedy(tmp_path: Path, images: Path) -> None:
    model = write_detector(tmp_path / "model")
    edit(suppress_boxes)(model / "fp32.onnx")
    enter_hash(model)
    with pytest.raises(
        ModelFileError, match="NonMaxSuppression 'keep_best'; its outputs are for decoder end_to_end"
    ):
        compress_model(
            load_manifest(model), small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work"
        )
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_an_old_opset_is_upgraded_or_the_pass_that_upgrades_it_is_named(
    tmp_path: Path, images: Path, opset: int
) -> None:
    manifest = load_manifest(write_segmenter(tmp_path / "model", opset=opset))
    recipe = small_recipe(tmp_path / "r", passes=["quantize_int8"])
    with pytest.raises(RecipeError, match=f"the model has {opset}: put upgrade_opset before it"):
        compress_model(manifest, recipe, str(images), work=tmp_path / "work")
    assert not (tmp_path / "work").exists()
    if opset == 9:
        result = compress_model(manifest, small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work")
        assert result.verdict.status == "accepted"


@pytest.mark.parametrize("step", ["distill", "prune_channels", "prune_unstructured"])
def test_an_operator_that_training_does_not_support_is_named(tmp_path: Path, images: Path, step: str) -> None:
    for name in ("torch", "torch_pruning", "safetensors"):
        pytest.importorskip(name, reason=f"{name} is not installed: make setup-train")

    def celu(model: onnx.ModelProto) -> None:
        # Before weights; behind the last ones it would stay as it is, outside of the part that is trained.
        node = model.graph.node[0]
        name, node.output[0] = node.output[0], "before"
        model.graph.node.insert(1, helper.make_node("Celu", ["before"], [name], "odd_one"))

    model = write_segmenter(tmp_path / "model")
    edit(celu)(model / "fp32.onnx")
    enter_hash(model)
    options = {"epochs": 1, "threads": 1, **({"min_size": 9} if step == "prune_unstructured" else {})}
    recipe = small_recipe(tmp_path / "r", passes=["upgrade_opset", "simplify", {step: options}])
    with pytest.raises(
        ModelFileError,
        match="training cannot run operator Celu of node 'odd_one', which Conv 'head' depends on: leave",
    ):
        compress_model(load_manifest(model), recipe, str(images), work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_images_of_other_sizes_are_prepared_like_any_other(tmp_path: Path, images: Path) -> None:
    """A folder may mix sizes: each is resized to the model's input as the manifest says."""
    import cv2

    folder = tmp_path / "mixed"
    folder.mkdir()
    for index, path in enumerate(sorted(images.iterdir())):
        image = cv2.imread(str(path))
        cv2.imwrite(str(folder / path.name), cv2.resize(image, (100 + 7 * index, 80 + 3 * index)))
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    result = compress_model(manifest, small_recipe(tmp_path / "r"), str(folder), work=tmp_path / "work")
    assert result.verification.agreement.frames == 24


def free_sizes(model: onnx.ModelProto) -> None:
    """Make batch, height and width dynamic, as exporters with dynamic axes do."""
    for value in (*model.graph.input, *model.graph.output):
        for index, word in ((0, "batch"), (2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[index].dim_param = word
    del model.graph.value_info[:]


def store_weights_outside(path: Path) -> None:
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)


@pytest.mark.parametrize(
    "change", [edit(free_sizes), store_weights_outside], ids=["dynamic shapes", "external data"]
)
def test_dynamic_shapes_and_external_weights_are_compressed(
    tmp_path: Path, images: Path, change: Damage
) -> None:
    """The manifest gives the sizes, and the variant is a single file."""
    model = write_segmenter(tmp_path / "model")
    change(model / "fp32.onnx")
    enter_hash(model)
    compress_model(load_manifest(model), small_recipe(tmp_path / "r"), str(images), work=tmp_path / "work")
    made = onnx.load(tmp_path / "work" / "tiny_segmenter" / "small.onnx", load_external_data=False)
    sizes = [size.dim_value for size in made.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [1, 3, 48, 64]
    assert not any(tensor.external_data for tensor in made.graph.initializer)
