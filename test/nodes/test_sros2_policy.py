# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy names what the nodes really create: running nodes are asked, not their source."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from support.bags import write_bag
from support.classifiers import write_classifier
from support.models import WRITERS as MODEL_WRITERS
from support.models import draw_scene
from support.packaging import REPOSITORY
from support.ros import Recorder, node_process

POLICY = REPOSITORY / "config" / "sros2" / "policy.xml"
TASKS = ("detection", "segmentation", "planning", "classification")
WRITERS = {**MODEL_WRITERS, "classification": write_classifier}
SIDES = ("/baseline", "/compressed")
# Allowed, and there only with another parameter than this test's, or while ~/side_by_side is watched.
BY_PARAMETER = {"/clock", "/image", "/image/compressed", *(f"{side}/image/compressed" for side in SIDES)}
# Of a shadow, which these nodes do not have; shadow/figures exists without one.
OF_A_SHADOW = (
    *("timing", "model_info"),
    *("detections", "mask", "trajectory", "command", "classification"),
)
Rules = dict[str, set[str]]


def is_by_parameter(name: str) -> bool:
    return name in BY_PARAMETER or name.endswith(tuple(f"/shadow/{each}" for each in OF_A_SHADOW))


def policy() -> dict[str, Rules]:
    """Return what each enclave allows: full names by publish, subscribe, reply and request."""
    found: dict[str, Rules] = {}
    for enclave in ElementTree.parse(POLICY).getroot().iter("enclave"):
        rules: Rules = defaultdict(set)
        for profile in enclave.iter("profile"):
            namespace, node = profile.attrib["ns"].rstrip("/"), profile.attrib["node"]
            assert enclave.attrib["path"] == f"{namespace}/{node}"
            for names in profile:
                for kind, decision in names.attrib.items():
                    assert decision == "ALLOW"
                    for each in names:
                        name = (each.text or "").replace("~", f"{namespace}/{node}")
                        rules[kind].add(name if name.startswith("/") else f"{namespace}/{name}")
        found[enclave.attrib["path"]] = rules
    return found


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def created(recorder: Recorder, path: str) -> dict[str, set[str]]:
    """Return the names that a node has now; a node that is not found yet has none."""
    namespace, _, node = path.rpartition("/")
    graph = recorder.node
    calls = {
        "publish": graph.get_publisher_names_and_types_by_node,
        "subscribe": graph.get_subscriber_names_and_types_by_node,
        "reply": graph.get_service_names_and_types_by_node,
        "request": graph.get_client_names_and_types_by_node,
    }
    try:
        return {kind: {name for name, _ in ask(node, namespace or "/")} for kind, ask in calls.items()}
    except Exception:  # rclpy's error of an unknown node is private in some distributions
        return dict.fromkeys(calls, set())


def expected(rules: Rules) -> dict[str, set[str]]:
    kinds = ("publish", "subscribe")
    return {kind: {name for name in rules[kind] if not is_by_parameter(name)} for kind in kinds}


def topics(recorder: Recorder, path: str) -> dict[str, set[str]]:
    return expected(defaultdict(set, created(recorder, path)))


@pytest.mark.ros
def test_every_topic_and_service_of_the_nodes_is_in_the_policy(tmp_path: Path, recorder: Recorder) -> None:
    """And none that they do not have; a topic that is added without its rule would be denied on the car."""
    nodes = [f"{side}/{task}" for side in SIDES for task in TASKS]
    entries = [f"{path.rpartition('/')[2]}_node:{path}" for path in nodes]
    monitor: dict[str, object] = {}
    parameters: dict[str, object] = {
        "/compose": {"ros__parameters": {"nodes": [*entries, "latency_monitor_node:/latency_monitor"]}},
        "/latency_monitor": {"ros__parameters": monitor},
    }
    for task in TASKS:
        monitor |= {f"{task}.baseline": f"/baseline/{task}", f"{task}.compressed": [f"/compressed/{task}"]}
        model = str(WRITERS[task](tmp_path / task))
        for side in SIDES:
            parameters[f"{side}/{task}"] = {"ros__parameters": {"model": model}}
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    bag = write_bag(tmp_path / "drive", [draw_scene(0)] * 3)
    playing = ["-p", f"bag:={bag}", "-p", "loop:=true", "-p", "publish_clock:=true"]
    arguments = ["--params-file", str(tmp_path / "parameters.yaml")]
    allowed = policy()
    paths = [*nodes, "/latency_monitor", "/bag_player"]
    with (
        node_process("compose", *arguments, log=tmp_path / "log"),
        node_process("bag_player", *playing, log=tmp_path / "player.log"),
    ):
        with contextlib.suppress(AssertionError):  # the comparison below shows what differs
            recorder.wait_for(lambda: all(topics(recorder, p) == expected(allowed[p]) for p in paths))
        for path in paths:
            assert topics(recorder, path) == expected(allowed[path]), path
        services = {path: created(recorder, path)["reply"] for path in paths}
        for path in paths:
            assert created(recorder, path)["request"] == set(), path
            assert allowed[path]["reply"] == {f"{path}/*"}
            assert all(name.startswith(f"{path}/") for name in services[path])
        offered = set().union(*services.values())
        requested = {name for name in allowed["/operator"]["request"] if not name.startswith(tuple(
            f"/{task}/" for task in TASKS))}  # fmt: skip
        assert requested <= offered
        assert {f"{path}/change_state" for path in nodes} <= requested
        assert {f"{path}/set_parameters" for path in paths} <= requested


def test_only_the_operator_changes_states_and_parameters() -> None:
    """And only a node itself publishes its timing, which the monitor's verdict rests on."""
    allowed = policy()
    assert [path for path, rules in allowed.items() if rules["request"]] == ["/operator"]
    for path, rules in allowed.items():
        for name in rules["publish"]:
            assert not name.endswith("/timing") or name in (f"{path}/timing", f"{path}/shadow/timing")
            assert "*" not in name


def test_nodes_without_a_side_have_the_same_rules() -> None:
    """The nodes of perception.launch.py, which have no namespace of their own."""
    allowed = policy()
    for task in TASKS:
        for side in SIDES:
            moved = {
                kind: {name.removeprefix(side) for name in names}
                for kind, names in allowed[f"{side}/{task}"].items()
            }
            assert moved == allowed[f"/{task}"]
    requests = allowed["/operator"]["request"]
    for task in TASKS:
        own = {name for name in requests if name.startswith(f"/{task}/")}
        assert own == {n.removeprefix("/baseline") for n in requests if n.startswith(f"/baseline/{task}/")}
