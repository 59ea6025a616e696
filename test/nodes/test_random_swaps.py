# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters that name the model are changed at random on a running node: they always name what runs.

``ADCP_RANDOM_SWAPS`` and ``ADCP_RANDOM_SEED`` choose how many changes and which; what ran is printed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ad_compressed_perception.core.timing import NodeReport
from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.drift_part import DriftOptions
from ad_compressed_perception.nodes.guard_options import GuardOptions
from ad_compressed_perception.nodes.memory_part import MemoryOptions
from ad_compressed_perception.nodes.options import HealthOptions
from ad_compressed_perception.nodes.qos import TIMING_QOS
from ad_compressed_perception.nodes.running_shadow import ShadowOptions
from ad_compressed_perception.nodes.swap_host import SwapOptions
from support.models import draw_scene, write_detector
from support.ros import NodeProcess, Recorder, image_message, node_process
from support.variants import GATE, add_variant

pytestmark = pytest.mark.ros
COUNT = int(os.environ.get("ADCP_RANDOM_SWAPS", "100"))
SEED = int(os.environ.get("ADCP_RANDOM_SEED", "15"))
NODE = "/detection"
OUTCOME = ("processed",)
NAMED = ("model", "variant", "backend", "threads")
HARMLESS = {
    SetParameters: SetParameters.Request(),
    ChangeState: ChangeState.Request(transition=Transition(id=77)),
    Trigger: Trigger.Request(),
}
TRANSITIONS = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
)


def value(of: object) -> ParameterValue:
    if isinstance(of, bool):
        return ParameterValue(type=1, bool_value=of)
    if isinstance(of, float):
        return ParameterValue(type=3, double_value=of)
    if isinstance(of, list):
        return ParameterValue(type=9, string_array_value=of)
    if isinstance(of, int):
        return ParameterValue(type=2, integer_value=of)
    return ParameterValue(type=4, string_value=str(of))


class Client(Recorder):
    """A camera and an operator of one node."""

    def __init__(self, context: Any) -> None:
        super().__init__(context, "test_random_swaps")
        self._camera = self.node.create_publisher(Image, "/image", 10)
        self.listen(f"{NODE}/timing", DiagnosticArray, TIMING_QOS)
        self._stamp_ns = time.time_ns()

    def answer_to_a_frame(self, *outcomes: str) -> NodeReport:
        """Send frames until one of them is reported, as processed by default; return its report."""
        first_ns = self._stamp_ns + 1

        def send() -> None:
            self._stamp_ns = max(self._stamp_ns + 1, time.time_ns())
            self._camera.publish(image_message(draw_scene(0), self._stamp_ns))

        def found() -> NodeReport | None:
            for message in reversed(self.received[f"{NODE}/timing"]):
                for report in reports_of(message):
                    if report.timing.stamp_ns >= first_ns and report.timing.outcome in (outcomes or OUTCOME):
                        return report
            return None

        report: NodeReport = self.wait_for(found, send)
        self.received[f"{NODE}/timing"].clear()
        return report

    def send_parameters(self, values: dict[str, object]) -> Any:
        given = [Parameter(name=name, value=value(each)) for name, each in values.items()]
        return self.send(SetParameters, f"{NODE}/set_parameters", SetParameters.Request(parameters=given))

    def send(self, kind: type, service: str, request: Any) -> Any:
        """Call a service without waiting; return the future."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
            assert self._clients[service].wait_for_service(timeout_sec=60.0)
            # The client sees the server first, and an answer sent before the server sees it is lost: ask for
            # what changes nothing until there is an answer.
            asked: list[Any] = []

            def ask() -> None:
                if not asked or time.monotonic() > asked[-1][1] + 1.0:
                    asked.append((self._clients[service].call_async(HARMLESS[kind]), time.monotonic()))

            self.wait_for(lambda: any(future.done() for future, _ in asked), ask)
        return self._clients[service].call_async(request)

    def answered(self, future: Any) -> Any:
        self.wait_for(future.done)
        return future.result()

    def parameters(self) -> dict[str, object]:
        request = GetParameters.Request(names=list(NAMED))
        found = self.call(GetParameters, f"{NODE}/get_parameters", request).values
        return {
            name: each.integer_value if each.type == 2 else each.string_value
            for name, each in zip(NAMED, found, strict=True)
        }

    def change(self, number: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=number))
        return bool(self.call(ChangeState, f"{NODE}/change_state", request).success)

    def state(self) -> int:
        return int(self.call(GetState, f"{NODE}/get_state", GetState.Request()).current_state.id)


@pytest.fixture
def client(ros_context: object) -> Iterator[Client]:
    made = Client(ros_context)
    yield made
    made.close()


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Return two models: variants that work, that are refused by a check, and that are broken."""
    made = []
    for name in ("first", "second"):
        folder = write_detector(tmp_path / name)
        manifest = folder / "model.yaml"
        manifest.write_text(manifest.read_text().replace("tiny_detector", name))
        add_variant(folder, "int8", lambda values: values * 1.0001)
        add_variant(folder, "blind", lambda values: values * 0.0 - 9.0, provenance=GATE)
        add_variant(folder, "nan", lambda values: values * np.nan)
        add_variant(folder, "cut")
        (folder / "cut.onnx").write_bytes(b"onnx")
        made.append(folder)
    return made


@pytest.fixture
def process(folders: list[Path], tmp_path: Path) -> Iterator[NodeProcess]:
    arguments = ["-p", f"model:={folders[0]}", "-p", "timing_period_s:=0.0", "-p", "load_timeout_s:=30.0"]
    arguments += ["-p", "swap_check_frames:=1"]  # a check waits for so many frames, and few are sent here
    with node_process("detection_node", *arguments, log=tmp_path / "log") as running:
        yield running


def changes(pick: random.Random, folders: list[Path]) -> dict[str, object]:
    """Return one to three random values."""
    choices: dict[str, tuple[object, ...]] = {
        "model": (*map(str, folders), *map(str, folders), "/no/such/model", ""),
        "variant": ("fp32", "int8", "int8", "", "accepted", "blind", "nan", "cut", "absent"),
        "backend": ("", "onnxruntime", "onnxruntime", "no such runtime"),
        "threads": (1, 2, 1, 0, -1),
        "load_timeout_s": ("no number",),
    }
    names = pick.sample(tuple(choices), pick.choice((1, 1, 1, 2, 3)))
    return {name: pick.choice(choices[name]) for name in names}


def test_the_parameters_name_what_runs_after_any_change(
    client: Client, folders: list[Path], process: NodeProcess
) -> None:
    """Failed before: the model was exchanged by an inactive node only."""
    print(f"{COUNT} changes, seed {SEED}")
    pick, outcomes = random.Random(SEED), Counter[str]()
    assert client.answer_to_a_frame().variant == "fp32"
    for number in range(COUNT):
        before, asked = client.parameters(), changes(pick, folders)

        results = client.answered(client.send_parameters(asked)).results

        assert process.process.poll() is None, process.log
        now, report = client.parameters(), client.answer_to_a_frame()
        line = f"change {number}: {asked} of {before} to {now}: {[each.reason for each in results]}"
        assert (report.model, report.variant) == (Path(str(now["model"])).name, now["variant"]), line
        for (name, requested), result in zip(asked.items(), results, strict=True):
            outcomes["set" if result.successful else "refused"] += 1
            assert bool(result.reason) != result.successful, line
            if name in NAMED and result.successful and requested not in ("", "accepted", *asked_twice(asked)):
                assert now[name] == requested, line
        if not any(result.successful for result in results):
            assert now == before, line
        if pick.random() < 0.1:
            answer = client.call(Trigger, f"{NODE}/{pick.choice(('rollback', 'load'))}", Trigger.Request())
            outcomes[f"service {answer.success}"] += 1
            now, report = client.parameters(), client.answer_to_a_frame()
            assert (report.model, report.variant) == (Path(str(now["model"])).name, now["variant"]), line
    print(dict(outcomes))
    assert outcomes["set"] > COUNT / 10 and outcomes["refused"] > COUNT / 10
    assert process.stop() == 0, process.log
    assert "Traceback" not in process.log


def asked_twice(asked: dict[str, object]) -> set[object]:
    """Return the values of a request of several parameters: a later one may change an earlier one again."""
    return set(asked.values()) if len(asked) > 1 else set()


def test_lifecycle_transitions_while_models_are_exchanged_leave_a_node_that_works(
    client: Client, folders: list[Path], process: NodeProcess
) -> None:
    """Requests are sent without waiting for the one before; each is answered."""
    pick, outcomes = random.Random(SEED + 1), Counter[str]()
    for _ in range(COUNT // 5):
        futures = []
        for _ in range(pick.randint(1, 4)):
            if pick.random() < 0.5:
                request = ChangeState.Request(transition=Transition(id=pick.choice(TRANSITIONS)))
                futures.append(client.send(ChangeState, f"{NODE}/change_state", request))
            elif pick.random() < 0.8:
                futures.append(client.send_parameters(changes(pick, folders)))
            else:
                name = pick.choice(("rollback", "load", "promote"))
                futures.append(client.send(Trigger, f"{NODE}/{name}", Trigger.Request()))
        for future in futures:
            outcomes[type(client.answered(future)).__name__] += 1
        assert process.process.poll() is None, process.log
        if client.state() == State.PRIMARY_STATE_ACTIVE:
            # Configuring checks no outputs: the model may be one whose frames fail.
            now, report = client.parameters(), client.answer_to_a_frame("processed", "failed")
            assert (report.model, report.variant) == (Path(str(now["model"])).name, now["variant"])
            assert report.received >= sum(report.counts.values())
    print(dict(outcomes))

    for number in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        client.change(number)
    values = {"model": str(folders[0]), "variant": "int8", "backend": "", "threads": 1}
    assert all(each.successful for each in client.answered(client.send_parameters(values)).results)
    assert client.change(Transition.TRANSITION_CONFIGURE)
    assert client.change(Transition.TRANSITION_ACTIVATE)
    assert client.answer_to_a_frame().variant == "int8"
    assert process.stop() == 0, process.log
    assert "Traceback" not in process.log


OTHERS = {
    name: field
    for options in (GuardOptions, ShadowOptions, SwapOptions, DriftOptions, MemoryOptions, HealthOptions)
    for name, field in options.model_fields.items()
    if not name.startswith("watchdog_")  # short ones would rightly end the process or the worker
}


def any_value(pick: random.Random, name: str, folders: list[Path]) -> object:
    """Return a value of a parameter's type, often one that is refused."""
    default = OTHERS[name].get_default(call_default_factory=True)
    if name.endswith("_variant"):
        return pick.choice(("", "fp32", "int8", "baseline", "nan", "absent"))
    if name.endswith("_model"):
        return pick.choice(("", *map(str, folders), "/no/such/model"))
    if name == "frame_timeout_ms":  # short ones would rightly end every model
        return pick.choice((0.0, 5000.0, -1.0, float("nan"), float("inf")))
    if isinstance(default, bool):
        return pick.random() < 0.5
    if isinstance(default, int):
        return pick.choice((default, 0, 1, 2, 7, -1, 2**40))
    if isinstance(default, float):
        return pick.choice((default, 0.0, 0.01, 0.5, 1.0, 5.0, 300.0, -1.0, float("nan"), float("inf")))
    if isinstance(default, list):
        return pick.choice(([], ["infer=20"], ["nonsense"]))
    return pick.choice((default, *get_args(OTHERS[name].annotation), "no such choice"))


def test_any_live_parameters_of_a_guarded_and_shadowed_node_leave_one_that_works(
    client: Client, folders: list[Path], tmp_path: Path
) -> None:
    """Models are exchanged meanwhile; a frame of the primary is one of the model that is named."""
    pick, outcomes = random.Random(SEED + 2), Counter[str]()
    given = {"model": folders[0], "timing_period_s": 0.0, "fallback_variant": "fp32", "hold_last_ms": 500.0}
    given |= {
        "swap_check_frames": 1,
        "shadow_variant": "int8",
        "shadow_schedule": "every_nth",
        "frame_timeout_ms": 5000.0,
    }
    arguments = [word for key, each in given.items() for word in ("-p", f"{key}:={each}")]
    with node_process("detection_node", *arguments, log=tmp_path / "log") as process:
        assert client.answer_to_a_frame().variant == "fp32"
        for number in range(COUNT):
            if pick.random() < 0.3:
                asked = changes(pick, folders)
            else:
                names = pick.sample(tuple(OTHERS), pick.choice((1, 1, 3)))
                asked = {name: any_value(pick, name, folders) for name in names}
            results = client.answered(client.send_parameters(asked)).results
            outcomes.update("set" if each.successful else "refused" for each in results)
            assert process.process.poll() is None, process.log
            now, report = client.parameters(), client.answer_to_a_frame("processed", "failed")
            outcomes[f"{report.timing.outcome} {report.level}"] += 1
            line = f"change {number}: {asked}: {[each.reason for each in results]}"
            if report.timing.outcome == "processed" and report.level == "primary":
                assert (report.model, report.variant) == (Path(str(now["model"])).name, now["variant"]), line
            assert report.received >= sum(report.counts.values()), line
        print(dict(outcomes))

        defaults = {name: OTHERS[name].get_default(call_default_factory=True) for name in OTHERS}
        live = {name: each for name, each in defaults.items() if not name.startswith("fallback_")}
        results = client.answered(client.send_parameters({**live, "variant": "fp32"})).results
        refused = [(name, each.reason) for name, each in zip(live, results, strict=False) if each.reason]
        assert not refused
        assert client.change(Transition.TRANSITION_DEACTIVATE)
        assert client.change(Transition.TRANSITION_ACTIVATE)
        report = client.answer_to_a_frame()
        assert (report.variant, report.level) == ("fp32", "primary")
        assert process.stop() == 0, process.log
        assert "Traceback" not in process.log


@pytest.mark.parametrize("when", ["during an exchange", "after it"])
def test_a_killed_node_leaves_its_models_intact_and_starts_with_what_its_parameters_name(
    when: str, client: Client, folders: list[Path], process: NodeProcess, tmp_path: Path
) -> None:
    assert client.answer_to_a_frame().variant == "fp32"
    before = {path: path.read_bytes() for path in sorted(tmp_path.glob("*/*")) if path.is_file()}
    future = client.send_parameters({"model": str(folders[1]), "variant": "int8"})
    if when == "after it":
        assert all(each.successful for each in client.answered(future).results)
        assert client.answer_to_a_frame().model == "second"

    process.process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    assert {path: path.read_bytes() for path in sorted(tmp_path.glob("*/*")) if path.is_file()} == before
    arguments = ["-p", f"model:={folders[0]}", "-p", "variant:=int8", "-p", "timing_period_s:=0.0"]
    with node_process("detection_node", *arguments, log=tmp_path / "second.log") as again:
        report = client.answer_to_a_frame()
        assert (report.model, report.variant) == ("first", "int8")
        assert again.stop() == 0
