# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A manifest is refused with one line that names the key, the file or the variant at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, VariantRejectedError
from ad_compressed_perception.core.manifest import Verdict, load_manifest
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import write_detector

REFERENCE_MODELS = Path(__file__).parents[2] / "config" / "reference_models"


def edited(folder: Path, **changes: object) -> Path:
    """Change top-level keys of a folder's model.yaml."""
    path = folder / "model.yaml"
    data = yaml.safe_load(path.read_text())
    data.update(changes)
    path.write_text(yaml.safe_dump(data))
    return folder


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    folder = write_detector(tmp_path)
    manifest = load_manifest(folder)
    save_manifest(manifest, tmp_path / "copy")
    assert load_manifest(tmp_path / "copy").model_dump() == manifest.model_dump()
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["model.yaml"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"color": "BGR"}, "unknown key 'color'"),
        ({"task": "tracking"}, "task"),
        ({"baseline": "fp64"}, "'fp64'"),
        ({"labels": []}, "labels"),
        ({"labels": ["car", "car", "sign"]}, "unique"),
        ({"schema": "adcp-model/9"}, "schema"),
        ({"input": {"width": 64, "height": 64, "size": 3}}, "unknown key 'input.size'"),
        ({"input": {"width": 64, "height": 64, "resize": "crop"}}, "resize_width"),
        ({"input": {"width": 64, "height": 64, "std": [0.0]}}, "std must not be 0"),
        ({"input": {"width": 64, "height": 64, "mean": [1.0, 2.0]}}, "mean needs 1 or 3"),
        ({"input": {"width": 64, "height": 64, "dtype": "uint8", "scale": 0.5}}, "uint8"),
        ({"name": "../escape"}, "name"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    folder = edited(write_detector(tmp_path), **changes)
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "a: [1, 2", "\x00\x01", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.yaml").write_text(content)
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"model\.yaml"):
        load_manifest(tmp_path / "nowhere")


def test_an_altered_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    manifest = load_manifest(write_detector(tmp_path))
    with (tmp_path / "fp32.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelFileError, match="sha256"):
        manifest.checked_path("fp32")
    (tmp_path / "fp32.onnx").unlink()
    with pytest.raises(ModelFileError, match="missing"):
        manifest.checked_path("fp32")


def test_a_rejected_variant_needs_allow_rejected(tmp_path: Path) -> None:
    manifest = load_manifest(write_detector(tmp_path))
    manifest.variants["fp32"].verdict = Verdict(status="rejected", reasons=["drop 0.20 > 0.05"])
    with pytest.raises(VariantRejectedError, match=r"drop 0\.20 > 0\.05.*allow_rejected"):
        manifest.checked_path("fp32")
    assert manifest.checked_path("fp32", allow_rejected=True).is_file()


def test_file_names_may_use_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_detector(tmp_path / "model")
    manifest = load_manifest(folder)
    manifest.variants["fp32"].file = "${TEST_WEIGHTS}/fp32.onnx"
    monkeypatch.delenv("TEST_WEIGHTS", raising=False)
    with pytest.raises(ManifestError, match="TEST_WEIGHTS is not set"):
        manifest.variant_path("fp32")
    monkeypatch.setenv("TEST_WEIGHTS", str(folder))
    assert manifest.variant_path("fp32") == (folder / "fp32.onnx").resolve()
    manifest.variants["fp32"].file = "${TEST_NOTHING:-../model}/fp32.onnx"
    assert manifest.variant_path("fp32") == (folder / "fp32.onnx").resolve()


@pytest.mark.parametrize("name", ["yolox_nano", "road_segmentation_adas_0001", "pulp_dronet_v2"])
def test_the_shipped_manifests_are_valid(name: str) -> None:
    manifest = load_manifest(REFERENCE_MODELS / name)
    assert manifest.name == name
    assert manifest.variant(manifest.baseline).precision == "fp32"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["yolox_nano", "road_segmentation_adas_0001", "pulp_dronet_v2"])
def test_the_shipped_manifests_name_the_reference_files(shared_dir: Path, name: str) -> None:
    manifest = load_manifest(REFERENCE_MODELS / name)
    assert manifest.checked_path("fp32").is_relative_to(shared_dir)


def test_a_variant_may_have_an_input_of_its_own(tmp_path: Path) -> None:
    manifest = load_manifest(write_detector(tmp_path))
    own = manifest.input.model_copy(update={"width": 32, "height": 32})
    manifest.variants["small"] = manifest.variant("fp32").model_copy(update={"input": own})
    save_manifest(manifest, tmp_path)
    loaded = load_manifest(tmp_path)
    assert loaded.for_variant("small").input.width == 32
    assert loaded.for_variant("fp32") is loaded
    assert loaded.for_variant("small").output == loaded.output
    assert loaded.for_variant("small").folder == loaded.folder
