# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""References in a manifest: one for each variant, of the very file that the variant is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest, Variant, load_manifest
from ad_compressed_perception.drift.manifest_references import find_reference, join_references
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.store_references import store_references
from support.drift import learn
from support.models import write_planner
from support.replay import add_variant

NAMES = ("fp32", "int8", "fp16")


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_variant(write_planner(tmp_path_factory.mktemp("model") / "model"))


@pytest.fixture(scope="module")
def reference(planner: Path) -> DriftReference:
    return learn(planner)


def test_a_stored_reference_is_read_as_it_was_learned(planner: Path, reference: DriftReference) -> None:
    stored = store_references(planner, {"fp32": reference, "unknown": reference})

    assert stored == ["fp32"]
    read, reason = find_reference(load_manifest(planner), "fp32")
    assert (read, reason) == (reference, "")
    assert "there is one for fp32" in find_reference(load_manifest(planner), "int8")[1]


def test_a_manifest_without_references_says_that_there_are_no_alarms(tmp_path: Path) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    reference, reason = find_reference(manifest, "fp32")
    assert reference is None
    assert reason.startswith("no reference for 'fp32': no drift alarms")


def test_a_reference_of_another_file_is_refused_with_both_hashes(
    tmp_path: Path, reference: DriftReference
) -> None:
    """The variant was made anew by other means than adcp compress, and the reference stayed."""
    manifest = load_manifest(write_planner(tmp_path / "model"))
    other = reference.model_copy(update={"model_sha256": "0" * 64})
    manifest.drift_reference = {"fp32": other.model_dump(mode="json", by_alias=True)}
    save_manifest(manifest, manifest.folder)

    found, reason = find_reference(load_manifest(manifest.folder), "fp32")

    assert found is None
    assert "000000000000..." in reason
    assert manifest.variant("fp32").sha256[:12] in reason
    assert store_references(manifest.folder, {"fp32": other}) == []


@pytest.mark.parametrize("broken", [{"schema": "adcp-drift/9"}, {"spread": [0.0]}, 7, [1], None])
def test_what_is_no_reference_is_one_line_with_the_way_out(
    tmp_path: Path, reference: DriftReference, broken: object
) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    whole = reference.model_dump(mode="json", by_alias=True)
    entry = {**whole, **broken} if isinstance(broken, dict) else broken
    manifest.drift_reference = {"fp32": entry}
    with pytest.raises(ManifestError, match="adcp replay --learn") as error:
        find_reference(manifest, "fp32")
    assert "\n" not in str(error.value)


@given(data=st.data())
def test_joining_keeps_references_of_present_files_only(
    data: st.DataObject, reference: DriftReference
) -> None:
    """Whatever was there: never one of another file, never fewer than those that fit."""
    hashes = st.sampled_from(["a" * 64, "b" * 64])
    variants = data.draw(st.dictionaries(st.sampled_from(NAMES), hashes, min_size=1))
    entry = st.builds(
        lambda sha256, seconds: reference.model_copy(update={"model_sha256": sha256, "duration_s": seconds}),
        hashes,
        st.sampled_from([60.0, 600.0]),
    )
    earlier = data.draw(st.dictionaries(st.sampled_from(NAMES), entry))
    learned = data.draw(st.dictionaries(st.sampled_from(NAMES), entry))
    keep_longer = data.draw(st.booleans())
    manifest = Manifest.model_construct(
        variants={name: Variant(file="x.onnx", sha256=sha256) for name, sha256 in variants.items()},
        drift_reference={name: one.model_dump(mode="json", by_alias=True) for name, one in earlier.items()},
    )

    joined = join_references(manifest, learned, keep_longer=keep_longer) or {}

    fitting = {
        name: [one for one in (earlier.get(name), learned.get(name)) if one and one.model_sha256 == sha256]
        for name, sha256 in variants.items()
    }
    assert set(joined) == {name for name, found in fitting.items() if found}
    for name, document in joined.items():
        assert document["model_sha256"] == variants[name]
        seconds = [one.duration_s for one in fitting[name]]
        assert document["duration_s"] == (max(seconds) if keep_longer else seconds[-1])
