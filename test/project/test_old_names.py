# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Old names still work for one version, with a warning; both names at once are an error."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.compression.recipe import LoadedRecipe, load_recipe, shipped_recipes
from ad_compressed_perception.core.errors import AdcpError, ManifestError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, StrictModel, load_manifest
from ad_compressed_perception.core.old_paths import renamed_paths
from ad_compressed_perception.core.registry import PASSES, find, own_plugins, renamed_plugins
from ad_compressed_perception.core.renamed import RenamedWarning
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.pass_api.passes import Pass
from ad_compressed_perception.report.schemas.compression import Agreement, FrameSeries, Gate, Latency
from ad_compressed_perception.report.schemas.pairs import AccuracyReport, ComparisonReport
from ad_compressed_perception.report.schemas.variant import VariantReport
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import model_and_context
from support.models import write_segmenter

ROOT = Path(__file__).resolve().parents[2]


def all_models(base: type[StrictModel] = StrictModel) -> Iterator[type[StrictModel]]:
    """Yield every strict model that has been imported."""
    for child in base.__subclasses__():
        yield child
        yield from all_models(child)


def test_every_old_key_names_a_present_field() -> None:
    for path in (ROOT / "ad_compressed_perception").rglob("*.py"):
        if "renamed = {" in path.read_text("utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            import_module(name)
    checked = 0
    for model in all_models():
        for old, new in model.old_keys().items():
            fields = model.model_fields
            assert new in fields and old not in fields, f"{model.__name__}: {old} -> {new}"
            checked += 1
    assert checked > 20


def test_a_manifest_with_the_old_spelling_loads_and_is_written_with_the_new(tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "m")
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("color:", "colour:"))

    with pytest.warns(RenamedWarning, match="'colour' is now called 'color'"):
        manifest = load_manifest(folder)
    save_manifest(manifest, folder)

    assert manifest.input.color == "BGR"
    assert "colour" not in (folder / "model.yaml").read_text()


def test_both_spellings_at_once_are_an_error(tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "m")
    document = yaml.safe_load((folder / "model.yaml").read_text())
    document["input"]["colour"] = "RGB"
    (folder / "model.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ManifestError, match="both 'color' and its old name 'colour' are given"):
        load_manifest(folder)


@pytest.mark.parametrize(("old", "new"), sorted(renamed_plugins(PASSES).items()))
def test_old_pass_names_are_the_present_passes(old: str, new: str) -> None:
    with pytest.warns(RenamedWarning, match=f"pass '{old}' is now called '{new}'"):
        found = find(PASSES, old, RecipeError)
    assert found is find(PASSES, new, RecipeError)
    assert found.name == new
    assert old not in own_plugins(PASSES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("palettise4", "palettize4"),
        ("palettise6", "palettize6"),
        ("prune_distil", "prune_distill"),
    ],
)
def test_old_recipe_names_are_the_present_recipes(old: str, new: str) -> None:
    with pytest.warns(RenamedWarning, match=new):
        assert load_recipe(old).path == load_recipe(new).path


def test_an_old_recipe_text_reads_as_the_present_one(tmp_path: Path) -> None:
    """Such texts are embedded in the manifests of shipped and of users' variants."""
    recipe = {
        "schema": "adcp-recipe/1",
        "name": "old",
        "passes": [
            "simplify",
            {"equalise": {"least_spread": 2.0}},
            {"distil": {"hold_out": 0.2, "features": 0.5}},
            {"quantize_int8_mixed": {"give_backs": 3}},
            "compact",
        ],
        "accept": {"timed": "whole"},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))

    with pytest.warns(RenamedWarning):
        loaded = LoadedRecipe(tmp_path / "r.yaml")

    equalize, distill, mixed = loaded.passes[1:4]
    assert [one.name for one in loaded.passes] == [
        "simplify", "equalize_channels", "distill", "quantize_int8_mixed", "deduplicate_initializers",
    ]  # fmt: skip
    assert equalize.options.min_spread == 2.0
    assert (distill.options.val_fraction, distill.options.feature_weight) == (0.2, 0.5)
    assert mixed.options.requantization_trials == 3
    assert loaded.recipe.accept.timed == "end_to_end"


def test_an_old_value_of_an_option_reads_as_the_present_one() -> None:
    with pytest.warns(RenamedWarning, match="value 'products' is now called 'compute_ops'"):
        assert QuantizeInt8({"placement": "products"}).options.placement == "compute_ops"


@pytest.mark.parametrize(
    ("model", "old", "new", "value"),
    [
        (Gate, "words", "verdict_text", "accepted"),
        (Latency, "whole", "end_to_end", None),
        (Agreement, "telling_frames", "informative_frames", 3),
        (FrameSeries, "crowding", "object_density", [1.0]),
        (FrameSeries, "turning", "steering_magnitude", [0.5]),
        (VariantReport, "turn_timeouts", "frame_timeouts", 2),
        (ComparisonReport, "candidate_missing", "variant_missing", 1),
        (AccuracyReport, "truth_missing", "ground_truth_missing", 1),
    ],
)
def test_old_keys_of_reports_are_read(model: type[StrictModel], old: str, new: str, value: Any) -> None:
    """The old key reaches the present field: a wrong value is refused under the present name."""
    with pytest.warns(RenamedWarning, match=f"'{old}' is now called '{new}'"):
        accepted = model._accept_old_keys({old: value})
    assert accepted == {new: value}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config" / "training").glob("*.yaml")), ids=lambda path: path.stem
)
def test_trainings_with_old_keys_load_alike(path: Path, tmp_path: Path) -> None:
    from ad_compressed_perception.training.default_models.config import load_training

    old = {
        "inference_width:": "used_width:", "inference_height:": "used_height:", "random_crop:": "pieces:",
        "scale_jitter:": "zoom:", "object_crop_fraction:": "aim:", "synthetic:": "road_camera:",
        "initialize_from:": "start:", "cached_augmentations:": "kept_copies:", "color:": "colour:",
    }  # fmt: skip
    text = path.read_text()
    for present, former in old.items():
        text = text.replace(present, former)
    (tmp_path / path.name).write_text(text)
    with pytest.warns(RenamedWarning):
        assert load_training(tmp_path / path.name) == load_training(path)


def test_an_old_parameter_reaches_the_present_one(ros_context: Any) -> None:
    rclpy = pytest.importorskip("rclpy")
    from ad_compressed_perception.nodes.monitor_options import TaskOptions
    from ad_compressed_perception.nodes.parameters import declare, undeclared_overrides, values

    given = [rclpy.Parameter("detection.truth_topic", value="/road/boxes")]
    node = rclpy.create_node("monitor", context=ros_context, parameter_overrides=given)
    declare(node, TaskOptions, "detection.")
    assert values(node, TaskOptions, "detection.")["ground_truth_topic"] == "/road/boxes"
    assert not undeclared_overrides(node)

    given.append(rclpy.Parameter("detection.ground_truth_topic", value="/other"))
    both = rclpy.create_node("both", context=ros_context, parameter_overrides=given)
    with pytest.raises(AdcpError, match=r"both 'detection.ground_truth_topic' and its old name"):
        declare(both, TaskOptions, "detection.")
    for one in (node, both):
        one.destroy_node()


@pytest.mark.parametrize("old", sorted(renamed_paths()["modules"]))
def test_old_import_paths_give_the_present_objects(old: str) -> None:
    """Every name that the module has today, and every name that it had before."""
    present_name = f"ad_compressed_perception.{renamed_paths()['modules'][old]}"
    try:
        present = import_module(present_name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    name = f"ad_compressed_perception.{old}"
    sys.modules.pop(name, None)
    with pytest.warns(RenamedWarning, match="is now called"):
        module = import_module(name)
    public = [key for key, value in vars(present).items() if getattr(value, "__module__", "") == present_name]
    assert all(vars(module)[key] is vars(present)[key] for key in public)
    for key, place in renamed_paths()["names"].get(old, {}).items():
        home, _, attribute = place.partition(":")
        assert vars(module)[key] is vars(import_module(f"ad_compressed_perception.{home}"))[attribute]


def test_names_of_the_former_module_image() -> None:
    with pytest.warns(RenamedWarning, match=r"image\.decode\.Frame"):
        from ad_compressed_perception.image import Frame as Old
    with pytest.warns(RenamedWarning, match=r"image\.encode\.encode_jpeg"):
        from ad_compressed_perception.image import encode_jpeg as old_encode

    assert Old is Frame
    assert old_encode is encode_jpeg


def test_old_attributes_and_arguments_of_public_classes(tmp_path: Path) -> None:
    with pytest.warns(RenamedWarning, match="yield_probability"):
        trajectory = Trajectory(np.zeros((1, 2)), np.zeros(1), 0.0, 1.0, yield_probability=0.25)
    assert trajectory.proceed_after_stop_probability == 0.25
    with pytest.warns(RenamedWarning):
        assert trajectory.yield_probability == 0.25
    assert math.isnan(
        replace(trajectory, proceed_after_stop_probability=math.nan).proceed_after_stop_probability
    )

    with pytest.warns(RenamedWarning, match="colour"):
        assert InputSpec(width=8, height=8, color="BGR").colour == "BGR"
    with pytest.warns(RenamedWarning, match="colour"):
        assert Frame(np.zeros((2, 2, 3), np.uint8), colour="RGB").colour == "RGB"
    with pytest.raises(AttributeError, match="hue"):
        _ = InputSpec(width=8, height=8).hue

    _, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.warns(RenamedWarning, match="pictures"):
        assert context.pictures is context.images


def test_an_old_key_of_a_copy_reaches_the_present_field() -> None:
    """Pydantic does not validate updates: the old key would become an attribute that nothing reads."""
    spec = InputSpec(width=8, height=8, color="BGR")
    with pytest.warns(RenamedWarning, match="'colour' is now called 'color'"):
        copy = spec.model_copy(update={"colour": "RGB"})
    assert copy.color == "RGB"
    assert "colour" not in copy.model_dump()


def test_old_flags_of_a_third_party_pass_are_understood() -> None:
    with pytest.warns(RenamedWarning, match="preserves_outputs"):

        class Old(Pass):
            name = "old"
            cleans = True
            rounds = True

            def apply(self, model: Any, context: Any) -> Any:
                return model

    assert (Old.preserves_outputs, Old.lowers_precision) == (True, True)


def test_the_old_option_is_one_warning_line() -> None:
    command = [sys.executable, "-m", "ad_compressed_perception.cli.main", "import", "none.onnx", "out"]
    done = subprocess.run(
        [*command, "--task", "detection", "--input-colour", "RGB"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("warning: option '--input-colour' is now called '--input-color'")
    both = subprocess.run(
        [*command, "--task", "detection", "--input-colour=RGB", "--input-color", "BGR"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert both.returncode == 2
    assert "both --input-color and its old name --input-colour are given" in both.stderr


def test_the_command_still_shows_warnings_of_other_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    from ad_compressed_perception.cli.main import _one_line_for_old_names

    shown: list[str] = []
    show = _one_line_for_old_names(lambda message, *_: shown.append(str(message)))
    show("old name", RenamedWarning, "file.py", 1)
    show("out of date", DeprecationWarning, "file.py", 1)

    assert shown == ["out of date"]
    assert capsys.readouterr().err == "warning: old name\n"


def test_arrays_of_an_earlier_version_are_removed(tmp_path: Path) -> None:
    """A dataset's images are gigabytes; under their old names nothing would ever read or remove them."""
    pytest.importorskip("torch")
    from ad_compressed_perception.training.default_models.synthetic_dataset import (
        SyntheticDatasetSpec,
        render_dataset,
    )

    for name in ("corpus.json", "detection_pictures.npy", "notes.txt"):
        (tmp_path / name).write_text("{}")

    render_dataset(tmp_path, SyntheticDatasetSpec("road", 0, 0, {"detection": (8, 8)}), 1, lambda *_: None)

    assert {path.name for path in tmp_path.iterdir()} == {"dataset.json", "notes.txt"}


def test_present_names_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenamedWarning)
        InputSpec(width=8, height=8, color="RGB")
        for name in shipped_recipes():
            load_recipe(name)
