# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp replay --learn``: references of the variants that were replayed, in the manifests that have them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ad_compressed_perception.cli.main import app
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.progress import no_progress
from ad_compressed_perception.core.signature import StaleSignatureWarning
from ad_compressed_perception.drift.manifest_references import find_reference
from ad_compressed_perception.replay.learn import learn_references
from ad_compressed_perception.replay.session import ReplayOptions
from ad_compressed_perception.workspace import store_references
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.sign import make_keys, sign_model, verify_model
from support.bags import write_bag
from support.drift import LONG_ENOUGH, PERIOD_NS, START_NS, driving_image
from support.models import write_planner
from support.replay import add_variant

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [driving_image(index) for index in range(LONG_ENOUGH)]
    stamps = [START_NS + index * PERIOD_NS for index in range(LONG_ENOUGH)]
    return write_bag(tmp_path_factory.mktemp("bags") / "drive", images, stamps_ns=stamps)


def test_a_replay_enters_a_reference_of_every_variant_and_json_stays_one_document(
    tmp_path: Path, drive: Path
) -> None:
    model = add_variant(write_planner(tmp_path / "model"))
    command = [
        "replay",
        str(drive),
        "--models",
        str(model),
        "--out",
        str(tmp_path / "out"),
        "--learn",
        "--json",
    ]

    done = CliRunner().invoke(app, [*command, "--work", str(tmp_path / "work")])

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tasks"]["planning"]["variants"].keys() == {"baseline", "int8"}
    assert done.stderr.count("drift reference of planning/") == 2
    manifest = load_manifest(model)
    for name in ("fp32", "int8"):
        reference, reason = find_reference(manifest, name)
        assert reference is not None, reason
        assert reference.frames == LONG_ENOUGH
        assert reference.camera == "drive:/camera/image_raw/compressed"


def test_a_part_that_is_too_short_leaves_the_manifest_and_says_so(tmp_path: Path, drive: Path) -> None:
    model = add_variant(write_planner(tmp_path / "model"))
    before = (model / "model.yaml").read_bytes()
    options = ReplayOptions(
        bag=drive, out=tmp_path / "out", models=(model,), work=tmp_path / "work", duration_s=20.0
    )

    learned = learn_references(options, no_progress)

    assert learned.lines == []
    assert [line.partition(":")[0] for line in learned.problems] == [
        "no drift reference for planning/baseline",
        "no drift reference for planning/int8",
    ]
    assert (model / "model.yaml").read_bytes() == before


def test_a_signed_model_has_to_be_signed_again_and_is_then_right(tmp_path: Path, drive: Path) -> None:
    model = write_planner(tmp_path / "model")
    public_key = make_keys(tmp_path / "key.pem")
    sign_model(model, tmp_path / "key.pem")
    options = ReplayOptions(bag=drive, out=tmp_path / "out", models=(model,), work=tmp_path / "work")

    with pytest.warns(StaleSignatureWarning, match="sign again"):
        learn_references(options, no_progress)

    sign_model(model, tmp_path / "key.pem")
    assert find_reference(verify_model(model, public_key), "fp32")[0] is not None


def test_a_folder_that_cannot_be_written_is_named_and_the_others_get_their_reference(
    tmp_path: Path, drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work folder has the model too, on a read-only file system (root may write anywhere)."""
    model = write_planner(tmp_path / "model")
    copy = write_planner(tmp_path / "work" / load_manifest(model).name)

    def refuse(manifest: Manifest, folder: Path) -> Path:
        if folder.resolve() == copy.resolve():
            raise OSError(errno.EROFS, "Read-only file system")
        return save_manifest(manifest, folder)

    monkeypatch.setattr(store_references, "save_manifest", refuse)
    options = ReplayOptions(bag=drive, out=tmp_path / "out", models=(model,), work=tmp_path / "work")

    learned = learn_references(options, no_progress)

    assert [line.rpartition(", in ")[2] for line in learned.lines] == [str(model / "model.yaml")]
    (problem,) = learned.problems
    assert f"in {copy}" in problem
    assert "Read-only file system" in problem
