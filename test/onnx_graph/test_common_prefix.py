# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two graphs that begin alike become one that computes the beginning once, and the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
import yaml
from onnx import numpy_helper
from typer.testing import CliRunner

import ad_compressed_perception as adcp
from ad_compressed_perception.cli.join import join
from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256, load_manifest
from ad_compressed_perception.importing.join_encoders import join_encoders
from ad_compressed_perception.onnx_graph.common_prefix import find_common_prefix
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import SEGMENTER_LABELS, draw_scene, write_detector, write_segmenter
from support.several_heads import add_mask_head


def write_pair(folder: Path, *, weight: float = 0.0, renamed: bool = True) -> tuple[Manifest, Manifest]:
    """Write the tiny detector, and a segmenter on its encoder with other names; ``weight`` changes it."""
    detector = load_manifest(write_detector(folder / "detector"))
    path = write_detector(folder / "segmenter") / "fp32.onnx"
    add_mask_head(path)
    model = onnx.load(path)
    extractor = onnx.utils.Extractor(model)
    model = extractor.extract_model(["images"], ["mask_scores"])
    if weight:
        tensor = next(one for one in model.graph.initializer if one.name == "smooth_w")
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] += weight
        tensor.CopyFrom(numpy_helper.from_array(values, "smooth_w"))
    if renamed:
        from ad_compressed_perception.onnx_graph.subgraphs import rename_tensors

        rename_tensors(model.graph, {"images": "camera", "features": "head_8", "smooth_w": "w"})
    onnx.save(model, path)
    manifest = Manifest(
        name="mask_model",
        task="segmentation",
        labels=SEGMENTER_LABELS,
        input=detector.input,
        output={"decoder": "argmax", "options": {"layout": "NCHW"}},
        baseline="fp32",
        variants={"fp32": Variant(file="fp32.onnx", sha256=file_sha256(path))},
    )  # type: ignore[call-arg]
    save_manifest(manifest, folder / "segmenter")
    return detector, load_manifest(folder / "segmenter")


def test_the_joined_model_gives_what_both_give(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    joined = join_encoders(pair, tmp_path / "joined", heads=["objects", "surface"])
    assert joined.largest_difference == 0.0
    assert joined.nodes == 2  # Conv and Relu
    assert joined.macs == 3 * 3 * 3 * 3 * 64 * 64
    model = onnx.load(tmp_path / "joined" / "fp32.onnx")
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 1 + 3 + 2
    both = adcp.load(tmp_path / "joined")(draw_scene(3))
    one, other = (adcp.load(manifest.folder)(draw_scene(3)) for manifest in pair)
    np.testing.assert_array_equal(both["objects"].boxes_xyxy, one.boxes_xyxy)  # type: ignore[index,union-attr]
    np.testing.assert_array_equal(both["surface"].label_ids, other.label_ids)  # type: ignore[index,union-attr]


def test_another_bit_of_a_weight_shares_nothing(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, weight=1e-7)
    with pytest.raises(ModelFileError, match="share no layer"):
        join_encoders(pair, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_too_little_and_other_preparations_are_refused(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    with pytest.raises(ModelFileError, match="at least 100% is asked for"):
        join_encoders(pair, tmp_path / "joined", min_share=1.0)
    path = tmp_path / "segmenter" / "model.yaml"
    data = yaml.safe_load(path.read_text())
    data["input"]["color"] = "RGB"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ManifestError, match=r"prepare images in different ways \(color: BGR and RGB\)"):
        join_encoders((pair[0], load_manifest(tmp_path / "segmenter")), tmp_path / "joined")
    other = load_manifest(write_segmenter(tmp_path / "other"))
    with pytest.raises(ManifestError, match="prepare images in different ways"):
        join_encoders((pair[0], other), tmp_path / "joined")


def test_a_model_joined_with_itself_keeps_one_copy_and_two_names(tmp_path: Path) -> None:
    detector = load_manifest(write_detector(tmp_path / "detector"))
    joined = join_encoders((detector, detector), tmp_path / "joined", heads=["a", "b"])
    assert joined.share == 1.0
    model = onnx.load(tmp_path / "joined" / "fp32.onnx")
    assert [value.name for value in model.graph.output] == ["output", "output_of_second"]
    found = adcp.load(tmp_path / "joined")(draw_scene(3))
    np.testing.assert_array_equal(found["a"].boxes_xyxy, found["b"].boxes_xyxy)  # type: ignore[index,union-attr]
    with pytest.raises(ManifestError, match="both models have a head 'detection'"):
        join_encoders((detector, detector), tmp_path / "again")


def test_a_joined_model_takes_a_third_head_and_keeps_its_own(tmp_path: Path) -> None:
    """Each head goes on to read its own output, though two of the three have another name in the new file."""
    detector, segmenter = write_pair(tmp_path)
    both = join_encoders((detector, segmenter), tmp_path / "both", heads=["objects", "surface"]).manifest
    for order, models in (("after", (both, detector)), ("before", (detector, both))):
        joined = join_encoders(models, tmp_path / order, heads=["third", "third"])
        assert set(joined.manifest.outputs or ()) == {"objects", "surface", "third"}
        found = adcp.load(tmp_path / order)(draw_scene(3))
        one, other = (adcp.load(manifest.folder)(draw_scene(3)) for manifest in (detector, segmenter))
        for head in ("objects", "third"):
            np.testing.assert_array_equal(found[head].boxes_xyxy, one.boxes_xyxy)  # type: ignore[index,union-attr]
        np.testing.assert_array_equal(found["surface"].label_ids, other.label_ids)  # type: ignore[index,union-attr]
    with pytest.raises(ManifestError, match="both models have a head 'objects': rename it in one model.yaml"):
        join_encoders((both, both), tmp_path / "again", heads=["a", "b"])


def test_names_mean_nothing_and_random_numbers_are_never_the_same(tmp_path: Path) -> None:
    first, second = write_pair(tmp_path)
    graphs = [read_model(one.variant_path("fp32")) for one in (first, second)]
    common = find_common_prefix(graphs[0], graphs[1], ("images", "camera"))
    assert common.shared["head_8"] == "features"
    assert "hidden" not in common.shared
    assert common.from_image == 2


def test_the_command_says_what_is_common(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(join)
    first, second = write_pair(tmp_path)
    folders = [str(first.folder), str(second.folder), str(tmp_path / "joined")]
    result = CliRunner().invoke(app, [*folders, "--heads", "objects,surface", "--name", "both"])
    assert result.exit_code == 0, result.output
    assert "common: 2 operators of" in result.output
    assert "0.3 of 0.6 and 0.4 million multiply-accumulates" in result.output
    assert "largest difference from the original outputs: 0" in result.output
    assert load_manifest(tmp_path / "joined").name == "both"
