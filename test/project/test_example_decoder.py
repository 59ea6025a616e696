# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The example of docs/reference/decoders.md: installed as a package of its own, imported, run, compressed."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.core import registry
from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import small_recipe, write_images
from support.decoder_models import planner
from support.nonsense import op

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "custom_decoder"
PLAIN = [op("Identity", "numbers", "inverse_radius")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that a copy of the example is installed to."""
    if not EXAMPLE.is_dir():
        pytest.skip("no examples beside the tests")
    source, target = tmp_path_factory.mktemp("example") / "decoder", tmp_path_factory.mktemp("installed")
    shutil.copytree(EXAMPLE, source)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return target


def request() -> ImportRequest:
    return ImportRequest("planning", decoder="inverse_radius", input={"scale": 1 / 255})


def test_the_example_decodes_from_import_to_verdict(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 / r = -0.02 where the left half alone is white: a left bend of 50 m radius."""
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.delitem(sys.modules, "inverse_radius", raising=False)
    registry._targets.cache_clear()
    try:
        write = planner([-0.02], [0.0], [0.0], PLAIN, {"inverse_radius": [1, 1]})
        manifest = import_model(write(tmp_path / "given"), tmp_path / "model", request()).manifest
        image = np.zeros((64, 64), np.uint8)
        image[:, :32] = 255
        with closing(open_pipeline(load_manifest(manifest.folder))) as pipeline:
            plan, _ = pipeline.run(Frame(image, "GRAY"))
        assert plan.curvature_per_m == pytest.approx(0.02, abs=1e-3)
        assert plan.points_xy_m[-1, 1] == pytest.approx(50.0 * (1.0 - math.cos(30.0 / 50.0)), rel=0.05)

        images = write_images(tmp_path / "images", 40)
        recipe = small_recipe(tmp_path / "recipe")
        result = compress_model(manifest, recipe, str(images), work=tmp_path / "work")
        verdict = load_manifest(result.manifest.folder).variant("small").verdict
        assert verdict is not None and verdict.status != "rejected", verdict

        too_much = planner([4.0], [1.0], [0.0], PLAIN, {"inverse_radius": [1, 1]})
        with pytest.raises(AdcpError, match="a bend that no car drives"):
            import_model(too_much(tmp_path / "other"), tmp_path / "none", request())
    finally:
        registry._targets.cache_clear()
        sys.modules.pop("inverse_radius", None)


def test_the_page_names_the_files_of_an_example_in_under_60_lines() -> None:
    page = REPOSITORY / "docs" / "reference" / "decoders.md"
    if not EXAMPLE.is_dir() or not page.is_file():
        pytest.skip("no documents beside the tests")
    for name in ("inverse_radius.py", "pyproject.toml"):
        assert len((EXAMPLE / name).read_text("utf-8").splitlines()) < 60
        assert f"../../examples/custom_decoder/{name}" in page.read_text("utf-8"), name


def test_the_page_names_every_decoder_with_its_options() -> None:
    page = REPOSITORY / "docs" / "reference" / "decoders.md"
    if not page.is_file():
        pytest.skip("no documents beside the tests")
    rows = {
        line.split("`")[1]: line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")
    }
    for name in registry.own_plugins(registry.DECODERS):
        options = registry.find(registry.DECODERS, name, ManifestError).options_type.model_fields
        assert not [option for option in options if f"`{option}`" not in rows[name]], name
