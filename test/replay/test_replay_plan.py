# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plan of a replay before any process starts: frames, nodes, deadlines, environment."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import AdcpError, DataError, ManifestError, VariantRejectedError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.registry import NODES, names
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.nodes.options import SetupOptions, StartOptions
from ad_compressed_perception.replay.collector import sample_indices
from ad_compressed_perception.replay.environment import replay_environment
from ad_compressed_perception.replay.frames import BagSlice, read_stamp_ns, with_stamp_ns
from ad_compressed_perception.replay.plan import (
    make_plan,
    parse_deadlines,
    reference_models,
    write_parameters,
)
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.bags import PERIOD_NS, START_NS, write_bag, write_messages
from support.models import draw_scene, write_planner
from support.replay import add_variant, write_drive, write_models

# Frames --------------------------------------------------------------------------------------------


@given(st.integers(1, 2**31 * 10**9 - 1), st.booleans(), st.binary(max_size=20))
def test_a_stamp_is_read_and_written_in_either_byte_order(stamp_ns: int, little: bool, rest: bytes) -> None:
    cdr = bytes([0, int(little), 0, 0]) + bytes(8) + rest
    changed = with_stamp_ns(cdr, stamp_ns)
    assert read_stamp_ns(changed) == stamp_ns
    assert changed[:4] + changed[12:] == cdr[:4] + cdr[12:]


def test_a_message_too_short_for_a_header_is_an_error() -> None:
    with pytest.raises(DataError, match="too short"):
        read_stamp_ns(b"\0\1\0\0")


def frames_of(path: Path, **options: object) -> tuple[list[int], BagSlice]:
    with BagReader(path) as bag:
        part = BagSlice(bag, bag.resolve_image_topic(), **options)  # type: ignore[arg-type]
        stamps = []
        for index, frame in enumerate(part):
            assert frame.index == index
            assert read_stamp_ns(frame.cdr) == frame.stamp_ns
            stamps.append(frame.stamp_ns)
        return stamps, part


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_whole_drive_is_replayed_with_its_own_stamps(
    tmp_path: Path, storage: str, compressed: bool
) -> None:
    drive = write_drive(tmp_path / "drive", 5, storage=storage, compressed=compressed)
    stamps, part = frames_of(drive)
    assert stamps == [START_NS + index * PERIOD_NS for index in range(5)]
    assert part.restamped == 0


def test_a_part_begins_and_ends_where_requested(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 10)
    # Frames lie 0.05 s apart: from 0.1 s on for 0.15 s are numbers 2, 3 and 4.
    stamps, _ = frames_of(drive, start_s=0.1, duration_s=0.15)
    assert stamps == [START_NS + index * PERIOD_NS for index in (2, 3, 4)]
    assert len(frames_of(drive, limit=4)[0]) == 4


def test_a_part_without_frames_is_an_error(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 3)
    with pytest.raises(DataError, match="no frame on .*start 60 s"):
        frames_of(drive, start_s=60.0)


def test_frames_without_a_stamp_of_their_own_get_the_time_of_recording(tmp_path: Path) -> None:
    # Stamp 0, then a duplicate: pairing by stamp would confuse such frames.
    images = [draw_scene(index) for index in range(3)]
    with BagReader(write_bag(tmp_path / "good", images)) as bag:
        topic = bag.resolve_image_topic()
        cdrs = [cdr for _, _, cdr in bag.messages([topic])]
        kind = bag.topics[topic]
    stamps = [0, 77, 77]
    rows = [(START_NS + i, with_stamp_ns(cdr, stamps[i])) for i, cdr in enumerate(cdrs)]
    stamps, part = frames_of(write_messages(tmp_path / "bad", {topic: (kind, rows)}))
    assert stamps == [START_NS, 77, START_NS + 2]
    assert part.restamped == 2


def test_stamps_and_recording_times_that_no_message_can_hold_are_replaced(tmp_path: Path) -> None:
    """Failed before: "unexpected error: 'i' format requires ...", and the last frame was lost on its way."""
    with BagReader(write_drive(tmp_path / "good", 3)) as bag:
        topic = bag.resolve_image_topic()
        cdrs = [cdr for _, _, cdr in bag.messages([topic])]
        kind = bag.topics[topic]
    beyond = with_stamp_ns(cdrs[2], 2**31 * 10**9 - 1)
    beyond = beyond[:8] + b"\xff" * 4 + beyond[12:]  # 2**32 - 1 nanoseconds
    rows = [(2**62 + i, cdr) for i, cdr in enumerate([with_stamp_ns(cdr, 0) for cdr in cdrs[:2]] + [beyond])]
    stamps, part = frames_of(write_messages(tmp_path / "bad", {topic: (kind, rows)}))
    assert len(set(stamps)) == part.restamped == 3
    assert max(stamps) < 2**31 * 10**9


@pytest.mark.parametrize(("frames", "samples", "expected"), [(400, 2, [100, 300]), (1, 2, [0]), (0, 2, [])])
def test_images_are_spread_over_the_drive(frames: int, samples: int, expected: list[int]) -> None:
    assert sample_indices(frames, samples) == expected


# Nodes ---------------------------------------------------------------------------------------------


def test_the_baseline_and_all_variants_run_by_default(tmp_path: Path) -> None:
    models = write_models(tmp_path)
    plan = make_plan(list(models.values()), work=tmp_path / "work")
    assert plan.variants == {task: ["baseline", "int8"] for task in ("detection", "segmentation", "planning")}
    assert plan.node("detection", "baseline").variant == "fp32"
    assert plan.node("planning", "int8").node == f"{plan.namespace}/int8/planning"
    assert re.fullmatch("/adcp_replay_[0-9a-f]{8}", plan.namespace), "random: no other node has these names"
    assert plan.notes == ()


def test_variants_in_the_work_folder_run_too(tmp_path: Path) -> None:
    model = write_planner(tmp_path / "model")
    pruned = add_variant(write_planner(tmp_path / "work" / load_manifest(model).name), "pruned")
    plan = make_plan([model], work=tmp_path / "work")
    assert plan.variants == {"planning": ["baseline", "pruned"]}
    assert plan.node("planning", "pruned").manifest.folder == pruned.resolve()


def test_a_rejected_variant_is_left_out_with_a_note(tmp_path: Path) -> None:
    model = add_variant(write_planner(tmp_path / "model"), status="rejected")
    plan = make_plan([model], work=tmp_path / "work")
    assert plan.variants == {"planning": ["baseline"]}
    assert any("int8 was rejected" in note for note in plan.notes)
    allowed = make_plan([model], work=tmp_path / "work", allow_rejected=True)
    assert allowed.variants == {"planning": ["baseline", "int8"]}
    with pytest.raises(VariantRejectedError, match="rejected by the test"):
        make_plan([model], work=tmp_path / "work", variants=["int8"])


def test_a_variant_that_only_some_models_have_is_noted(tmp_path: Path) -> None:
    models = write_models(tmp_path)
    plain = write_planner(tmp_path / "plain")
    plan = make_plan([models["detection"], plain], work=tmp_path / "work", variants=["int8"])
    assert plan.variants == {"detection": ["baseline", "int8"], "planning": ["baseline"]}
    assert any("planning" in note and "no variant int8" in note for note in plan.notes)


def test_what_cannot_run_is_a_one_line_error_that_names_it(tmp_path: Path) -> None:
    models = list(write_models(tmp_path).values())
    twice = [*models, write_planner(tmp_path / "other")]
    cases = [
        ({"models": models, "tasks": ["steering"]}, "unknown task 'steering'"),
        ({"models": models, "variants": ["int9"]}, "no model has a variant 'int9'; there are: fp32, int8"),
        ({"models": models[:1], "tasks": ["planning"]}, "no model for task planning"),
        ({"models": twice}, "two models for task planning"),
        ({"models": []}, "no model to run"),
        ({"models": [tmp_path / "absent"]}, "no model at"),
    ]
    for arguments, message in cases:
        with pytest.raises(AdcpError, match=message) as caught:
            make_plan(**arguments, work=tmp_path / "work")  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_an_altered_file_is_found_before_any_process_starts(tmp_path: Path) -> None:
    model = add_variant(write_planner(tmp_path / "model"))
    (model / "int8.onnx").write_bytes(b"something else")
    with pytest.raises(AdcpError, match=r"tiny_planner/int8 has sha256"):
        make_plan([model], work=tmp_path / "work")


def test_names_that_ros_does_not_allow_become_namespaces_it_does(tmp_path: Path) -> None:
    model = add_variant(write_planner(tmp_path / "model"), "8bit-v1.2")
    plan = make_plan([model], work=tmp_path / "work")
    name = plan.node("planning", "8bit-v1.2").node
    assert plan.without_namespace(name) == "/v_8bit_v1_2/planning"
    add_variant(model, "8bit_v1_2")
    with pytest.raises(ManifestError, match="become the same node"):
        make_plan([model], work=tmp_path / "work")


def test_a_variant_called_baseline_that_is_none_is_refused(tmp_path: Path) -> None:
    model = add_variant(write_planner(tmp_path / "model"), "baseline")
    with pytest.raises(ManifestError, match="not its baseline"):
        make_plan([model], work=tmp_path / "work")
    manifest = load_manifest(model)
    manifest.baseline = "baseline"
    save_manifest(manifest, model)
    assert make_plan([model], work=tmp_path / "work").variants == {"planning": ["baseline", "fp32"]}


def test_the_parameter_file_names_what_the_nodes_declare(tmp_path: Path) -> None:
    plan = make_plan(list(write_models(tmp_path).values()), work=tmp_path / "work")
    path = tmp_path / "parameters.yaml"
    write_parameters(plan, path, compressed=True, threads=2, allow_rejected=False)
    document = yaml.safe_load(path.read_text())
    entries = document[f"{plan.namespace}/compose"]["ros__parameters"]["nodes"]
    assert entries[0] == f"detection_node:{plan.namespace}/baseline/detection"
    assert {entry.partition(":")[0] for entry in entries} <= set(names(NODES))
    declared = {*SetupOptions.model_fields, *StartOptions.model_fields}
    for node in plan.nodes:
        given = document[node.node]["ros__parameters"]
        assert set(given) <= declared
        assert (given["variant"], given["transport"], given["threads"]) == (node.variant, "compressed", 2)


def test_deadlines_are_for_all_tasks_or_for_one() -> None:
    tasks = ["detection", "planning"]
    assert parse_deadlines(["50"], tasks) == {"detection": 50.0, "planning": 50.0}
    assert parse_deadlines(["50", "planning=20.5"], tasks) == {"detection": 50.0, "planning": 20.5}
    for wrong in ("soon", "planning=", "0", "-5", "inf", "nan", "steering=3"):
        with pytest.raises(DataError, match="deadline"):
            parse_deadlines([wrong], tasks)


def test_the_reference_models_are_found() -> None:
    tasks = {load_manifest(folder).task for folder in reference_models()}
    assert tasks == {"detection", "segmentation", "planning"}


# Environment ---------------------------------------------------------------------------------------


def test_a_domain_that_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    with replay_environment(message_bytes=10) as domain:
        assert domain == 42
    monkeypatch.setenv("ROS_DOMAIN_ID", "233")
    with pytest.raises(DataError, match="0 to 232"), replay_environment(message_bytes=10):
        pass


def test_two_replays_at_once_take_two_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    domains = []
    for _ in range(2):
        monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
        context = replay_environment(message_bytes=10)
        domains.append((context.__enter__(), context))
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert domains[0][0] != domains[1][0]
    for _, context in domains:
        context.__exit__(None, None, None)


def test_large_images_get_shared_memory_and_the_environment_is_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    before = dict(os.environ)
    with replay_environment(message_bytes=6_220_800):
        profile = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE")
        # Where /dev/shm has no space for two such segments the default transport is used.
        assert profile is None or "<segment_size>67108864</segment_size>" in Path(profile).read_text()
    assert dict(os.environ) == before
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "mine.xml")
    with replay_environment(message_bytes=6_220_800):
        assert os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] == "mine.xml"
