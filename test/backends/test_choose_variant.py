# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The variant that runs where none is named, and what a refusal says of the others."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ad_compressed_perception.backends import openvino_backend
from ad_compressed_perception.backends.choose_variant import compressed_variant, find_variant
from ad_compressed_perception.core.errors import BackendError, ManifestError, VariantRejectedError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.resources import models_folder
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.default_models import DEFAULT_MODELS
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import write_segmenter
from support.replay import add_variant


def change(model: Path, name: str, **fields: str) -> None:
    manifest = load_manifest(model)
    manifest.variants[name] = manifest.variant(name).model_copy(update=fields)
    save_manifest(manifest, model)


def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise BackendError("backend 'openvino' needs the extra [openvino]: No module named 'openvino'")

    monkeypatch.setattr(openvino_backend, "_import_runtime", missing)


def test_the_compressed_variant_is_the_first_accepted_one(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path)
    assert compressed_variant(load_manifest(model)) is None
    # In order of preference: accepted, without a verdict, rejected; then the order in the file.
    for name, status in (("bad", "rejected"), ("new", None), ("good", "accepted"), ("later", "accepted")):
        add_variant(model, name, status)
        chosen = compressed_variant(load_manifest(model))
        assert chosen == ("good" if name == "later" else name)


def test_an_accepted_variant_whose_runtime_is_missing_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_segmenter(tmp_path)
    for name in ("fast", "portable"):
        add_variant(model, name, "accepted")
    change(model, "fast", backend="openvino")
    without_openvino(monkeypatch)

    assert find_variant(load_manifest(model), "accepted") == "portable"
    with closing(open_pipeline(load_manifest(model), "accepted")) as pipeline:
        assert pipeline.variant == "portable"


def test_with_a_backend_the_variant_is_one_that_was_verified_on_it(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path)
    for name in ("fast", "portable"):
        add_variant(model, name, "accepted")
    change(model, "fast", backend="openvino")

    assert find_variant(load_manifest(model), "accepted", "onnxruntime") == "portable"
    with pytest.raises(ManifestError, match="runs here on litert; other variants: fast"):
        find_variant(load_manifest(model), "accepted", "litert")


def test_a_variant_that_was_rejected_is_never_taken_for_an_accepted_one(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path)
    add_variant(model, "bad", "rejected")
    add_variant(model, "new", None)

    with pytest.raises(ManifestError, match=r"no accepted variant.*bad \(rejected, .*new \(no verdict"):
        find_variant(load_manifest(model), "accepted")


def test_a_variant_that_is_called_accepted_keeps_its_name(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path)
    add_variant(model, "first", "accepted")
    add_variant(model, "accepted", None)

    assert find_variant(load_manifest(model), "accepted") == "accepted"


def test_a_refusal_names_the_other_variants_and_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_segmenter(tmp_path)
    for name, status in (("fast", "accepted"), ("portable", "accepted"), ("bad", "rejected")):
        add_variant(model, name, status)
    change(model, "fast", backend="openvino")
    without_openvino(monkeypatch)

    with pytest.raises(BackendError, match=r"pip install openvino; other variants: portable \(accepted, on"):
        open_pipeline(load_manifest(model), "fast")
    with pytest.raises(
        VariantRejectedError, match=r"fast \(accepted, on openvino, not installed: pip install openvino\)"
    ):
        open_pipeline(load_manifest(model), "bad")


@pytest.mark.parametrize("name", DEFAULT_MODELS)
def test_every_default_model_has_an_accepted_variant_on_onnx_runtime(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A car has no other runtime at first."""
    folder = models_folder()
    if folder is None:
        pytest.skip("the default models are not there")
    without_openvino(monkeypatch)
    manifest = load_manifest(folder / name)

    with closing(open_pipeline(manifest, "accepted")) as pipeline:
        variant = manifest.variant(pipeline.variant)
        assert pipeline.session.info.backend == "onnxruntime"
        assert pipeline.variant != manifest.baseline
        assert variant.verdict is not None and variant.verdict.status == "accepted"
