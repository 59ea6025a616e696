# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing says OK while nothing useful comes out: real nodes whose runtime hangs, dies, is slow."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image

from ad_compressed_perception.messages.timing import from_message, reports_of
from ad_compressed_perception.nodes.qos import TIMING_QOS
from ad_compressed_perception.nodes.watchdog import EXIT_HUNG
from support.faulty_backend import install_faulty_backend
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message, node_process

pytestmark = pytest.mark.ros
NODE, NEIGHBOR = "/detection", "/neighbor/detection"
YEAR_NS = 31_557_600 * 10**9
NO_STAMP = -1
FAST_STATUS = ("-p", "diagnostics_period_s:=0.2", "-p", "backend:=faulty")


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    listener.listen("/diagnostics", DiagnosticArray)
    for node in (NODE, NEIGHBOR):
        listener.listen(f"{node}/timing", DiagnosticArray, TIMING_QOS)
    yield listener
    listener.close()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a detector; what its backend does is written to files in it."""
    install_faulty_backend(tmp_path / "site", monkeypatch)
    return write_detector(tmp_path / "model")


class Camera:
    """Publishes frames of the present, or of ``behind_ns`` before."""

    def __init__(self, recorder: Recorder, topic: str = "/image", behind_ns: int = 0) -> None:
        self._publisher = recorder.node.create_publisher(Image, topic, 1)
        self._behind_ns = behind_ns

    def send(self) -> None:
        stamp_ns = 0 if self._behind_ns == NO_STAMP else time.time_ns() - self._behind_ns
        self._publisher.publish(image_message(draw_scene(0), stamp_ns))


def statuses(recorder: Recorder, name: str) -> list[DiagnosticStatus]:
    return [s for m in recorder.received["/diagnostics"] for s in m.status if s.name == name]


def last(recorder: Recorder, name: str) -> DiagnosticStatus | None:
    found = statuses(recorder, name)
    return found[-1] if found else None


def is_bad(status: DiagnosticStatus | None, text: str) -> bool:
    return status is not None and status.level >= DiagnosticStatus.WARN and text in status.message


def outcomes(recorder: Recorder, node: str) -> list[str]:
    return [each.timing.outcome for m in recorder.received[f"{node}/timing"] for each in reports_of(m)]


def change(recorder: Recorder, number: int, node: str = NODE) -> bool:
    request = ChangeState.Request(transition=Transition(id=number))
    return bool(recorder.call(ChangeState, f"{node}/change_state", request).success)


def state(recorder: Recorder, node: str = NODE) -> int:
    return int(recorder.call(GetState, f"{node}/get_state", GetState.Request()).current_state.id)


@dataclass(frozen=True)
class Case:
    """A state in which nothing useful comes out, and what node and monitor have to say about it."""

    node: str
    monitor: str
    infer: str = ""
    behind_ns: int = 0
    arguments: tuple[str, ...] = ()
    monitor_arguments: tuple[str, ...] = ()
    publishes: bool = True
    sends: bool = True


CASES = {
    "runtime hangs": Case("was given up", "no result for", infer="hang"),
    "thread ends": Case("SystemExit", "no result for", infer="exit"),
    "most frames dropped": Case("frames dropped", "frames dropped", infer="sleep 0.6"),
    "rate not met": Case(
        "results a second", "results a second",
        arguments=("-p", "min_rate_hz:=300.0"),
        monitor_arguments=("-p", "detection.min_rate_hz:=300.0"),
    ),
    "ages of years": Case("stamps are wrong", "stamps are wrong", behind_ns=50 * YEAR_NS),
    "all stale": Case(
        "too old", "no result for", behind_ns=50 * YEAR_NS, arguments=("-p", "max_age_ms:=500.0")
    ),
    "all fail": Case("the accelerator is gone", "no result for", infer="raise"),
    "nobody publishes": Case("nobody publishes", "no message yet", publishes=False, sends=False),
    "no stamps": Case("have no stamp", "have no stamp", behind_ns=NO_STAMP),
    "publisher is silent": Case("no new frame", "no message yet", sends=False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_nothing_useful_is_never_ok(name: str, model: Path, tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: node and monitor were OK ("running", "0.0 Hz, ...") or took days to say otherwise."""
    case = CASES[name]
    if case.infer:
        (model / "infer").write_text(case.infer)
    camera = Camera(recorder, behind_ns=case.behind_ns) if case.publishes else None
    send = camera.send if camera is not None and case.sends else None
    arguments = [*FAST_STATUS, "-p", f"model:={model}", "-p", "watchdog_error_s:=1.0", *case.arguments]
    monitoring = ["-p", f"detection.baseline:={NODE}", "-p", "publish_period_s:=0.2", *case.monitor_arguments]
    with (
        node_process("latency_monitor_node", *monitoring, log=tmp_path / "monitor.log"),
        node_process("detection_node", *arguments, log=tmp_path / "log") as node,
    ):
        recorder.wait_for(lambda: is_bad(last(recorder, NODE), case.node), send)
        monitored = f"/latency_monitor: detection/detection {NODE}"
        recorder.wait_for(lambda: is_bad(last(recorder, monitored), case.monitor), send)
        assert node.process.poll() is None, node.log


def test_a_node_that_works_is_ok(model: Path, tmp_path: Path, recorder: Recorder) -> None:
    """The counterpart of the cases: the same frames, limits and monitor, and no fault."""
    camera = Camera(recorder)
    arguments = [*FAST_STATUS, "-p", f"model:={model}", "-p", "max_age_ms:=10000.0"]
    monitoring = ["-p", f"detection.baseline:={NODE}", "-p", "publish_period_s:=0.2"]
    limits = ["-p", "detection.max_age_warn_ms:=10000.0", "-p", "stale_after_s:=10.0"]
    with (
        node_process("latency_monitor_node", *monitoring, *limits, log=tmp_path / "monitor.log"),
        node_process("detection_node", *arguments, "-p", "max_age_warn_ms:=1e4", log=tmp_path / "log"),
    ):
        for name in (NODE, f"/latency_monitor: detection/detection {NODE}"):
            recorder.wait_for(
                lambda name=name: (
                    (status := last(recorder, name)) is not None
                    and status.level == DiagnosticStatus.OK
                    and any(v.key == "processed" and int(v.value) > 10 for v in status.values)
                ),
                camera.send,
            )


def composed(tmp_path: Path, **nodes: dict[str, object]) -> list[str]:
    """Return arguments for ``compose`` with NODE and NEIGHBOR."""
    document: dict[str, object] = {
        "/compose": {"ros__parameters": {"nodes": [f"detection_node:{n}" for n in (NODE, NEIGHBOR)]}}
    }
    for name, node in (("node", NODE), ("neighbor", NEIGHBOR)):
        document[node] = {
            "ros__parameters": {"backend": "faulty", "diagnostics_period_s": 0.2, **nodes[name]}
        }
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(document))
    return ["--params-file", str(tmp_path / "parameters.yaml")]


def test_a_hung_worker_is_replaced_while_its_neighbor_works(
    model: Path, tmp_path: Path, recorder: Recorder
) -> None:
    """Failed before: nothing noticed, and the first deactivate froze both nodes of the process."""
    other = write_detector(tmp_path / "other")
    arguments = composed(
        tmp_path, node={"model": str(model), "watchdog_error_s": 1.0}, neighbor={"model": str(other)}
    )
    camera, second = Camera(recorder), Camera(recorder, "/neighbor/image")

    def send() -> None:
        camera.send()
        second.send()

    with node_process("compose", *arguments, log=tmp_path / "log") as process:
        recorder.wait_for(lambda: "processed" in outcomes(recorder, NODE), send)
        (model / "infer").write_text("hang")
        recorder.wait_for(lambda: is_bad(last(recorder, NODE), "was given up"), send)
        before = len(outcomes(recorder, NEIGHBOR))
        recorder.wait_for(lambda: outcomes(recorder, NEIGHBOR)[before:].count("processed") > 10, send)
        (model / "infer").unlink()  # the replacement works; the old thread returns and must not publish
        before = len(outcomes(recorder, NODE))
        recorder.wait_for(lambda: outcomes(recorder, NODE)[before:].count("processed") > 10, send)
        abandoned = [
            report.timing.reason
            for report in chain.from_iterable(map(reports_of, recorder.received[f"{NODE}/timing"]))
            if report.timing.outcome == "failed"
        ]
        assert abandoned
        assert all(reason.startswith("abandoned after") for reason in abandoned)
        # Every frame is accounted for, over the replacement too.
        recorder.wait_for(
            lambda: (
                (report := from_message(recorder.received[f"{NODE}/timing"][-1])).received
                == sum(report.counts.values())
            )
        )
        assert process.stop() == 0, process.log
        assert "a session in use was closed" not in process.log
        assert "Traceback" not in process.log


@pytest.mark.parametrize("is_composed", [False, True])
def test_a_node_that_hangs_again_ends_the_process_with_its_own_status(
    is_composed: bool, model: Path, tmp_path: Path, recorder: Recorder
) -> None:
    (model / "infer").write_text("hang")
    camera = Camera(recorder)
    limits = {"watchdog_error_s": 0.5, "watchdog_exit_s": 1.0}
    if is_composed:
        own = {"model": str(model), **limits}
        executable, arguments = "compose", composed(tmp_path, node=own, neighbor={"model": str(model)})
    else:
        given = [word for key, value in limits.items() for word in ("-p", f"{key}:={value}")]
        executable, arguments = "detection_node", [*FAST_STATUS, "-p", f"model:={model}", *given]
    with node_process(executable, *arguments, log=tmp_path / "log") as process:
        recorder.wait_for(lambda: process.process.poll() is not None, camera.send)
        assert process.wait() == EXIT_HUNG
        assert "replacement 1 runs" in process.log
        assert "[FATAL]" in process.log and "ends with status 75" in process.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_hung_runtime_stops_neither_deactivate_nor_the_end_of_the_process(
    number: signal.Signals, model: Path, tmp_path: Path, recorder: Recorder
) -> None:
    """Failed before: deactivate never returned, and the process survived SIGTERM."""
    (model / "infer").write_text("hang")
    camera = Camera(recorder)
    with node_process("detection_node", *FAST_STATUS, "-p", f"model:={model}", log=tmp_path / "log") as node:
        recorder.wait_for(
            lambda: (
                (status := last(recorder, NODE)) is not None
                and any(v.key == "pending" and v.value != "0" for v in status.values)
            ),
            camera.send,
        )
        assert change(recorder, Transition.TRANSITION_DEACTIVATE)
        assert state(recorder) == State.PRIMARY_STATE_INACTIVE
        reports = [each for m in recorder.received[f"{NODE}/timing"] for each in reports_of(m)]
        assert "abandoned after" in "".join(report.timing.reason for report in reports)
        assert reports[-1].received == sum(reports[-1].counts.values())
        assert "abandoned" in node.log
        # Activated again it loads anew: the hung thread has kept its model.
        assert change(recorder, Transition.TRANSITION_ACTIVATE)
        (model / "infer").unlink()
        before = len(outcomes(recorder, NODE))
        recorder.wait_for(lambda: "processed" in outcomes(recorder, NODE)[before:], camera.send)
        (model / "infer").write_text("hang")
        time.sleep(0.2)
        camera.send()
        assert node.stop(number) == 0, node.log
        assert "Traceback" not in node.log


def test_loading_delays_no_neighbor_and_says_how_long(
    model: Path, tmp_path: Path, recorder: Recorder
) -> None:
    """Failed before: the neighbor was started after the load, and answered nothing during a later one."""
    (model / "load").write_text("hang")
    other = write_detector(tmp_path / "other")
    arguments = composed(tmp_path, node={"model": str(model)}, neighbor={"model": str(other)})
    camera = Camera(recorder, "/neighbor/image")
    with node_process("compose", *arguments, log=tmp_path / "log") as process:
        recorder.wait_for(lambda: is_bad(last(recorder, NODE), "loading for"), camera.send)
        before = len(outcomes(recorder, NEIGHBOR))
        recorder.wait_for(lambda: outcomes(recorder, NEIGHBOR)[before:].count("processed") > 10, camera.send)
        assert state(recorder, NEIGHBOR) == State.PRIMARY_STATE_ACTIVE
        (model / "load").unlink()
        assert state(recorder) == State.PRIMARY_STATE_ACTIVE
        assert process.stop(signal.SIGTERM) == 0, process.log


def test_a_signal_ends_a_node_that_is_loading(model: Path, tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: the process survived SIGTERM for as long as the runtime took."""
    (model / "load").write_text("hang")
    with node_process("detection_node", *FAST_STATUS, "-p", f"model:={model}", log=tmp_path / "log") as node:
        recorder.wait_for(lambda: is_bad(last(recorder, NODE), "loading for"))
        assert node.stop(signal.SIGTERM) == 0, node.log
        assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("load", "named"),
    [
        ("raise", "RuntimeError: the accelerator is gone"),
        ("exit", "SystemExit: 3"),
        ("hang", "load_timeout_s is 1"),
    ],
)
def test_any_error_of_a_load_is_one_line_and_status_1(
    load: str, named: str, model: Path, tmp_path: Path
) -> None:
    """Failed before: exit code 1 without any output, or no end at all."""
    (model / "load").write_text(load)
    arguments = [*FAST_STATUS, "-p", f"model:={model}", "-p", "load_timeout_s:=1.0"]
    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        assert node.wait() == 1
        refused = [line for line in node.log.splitlines() if "configure refused" in line]
        assert len(refused) == 1, node.log
        assert named in refused[0]
        assert "Traceback" not in node.log


def test_diagnostics_give_the_present_reason(model: Path, tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: an error that was not the package's own left the previous reason on /diagnostics."""
    arguments = [*FAST_STATUS, "-p", "model:=/no/such/model", "-p", "autostart:=false"]
    with node_process("detection_node", *arguments, log=tmp_path / "log"):
        assert not change(recorder, Transition.TRANSITION_CONFIGURE)
        recorder.wait_for(lambda: is_bad(last(recorder, NODE), "/no/such/model"))
        value = ParameterValue(type=4, string_value=str(model))
        request = SetParameters.Request(parameters=[Parameter(name="model", value=value)])
        assert recorder.call(SetParameters, f"{NODE}/set_parameters", request).results[0].successful
        (model / "load").write_text("raise")
        assert not change(recorder, Transition.TRANSITION_CONFIGURE)
        assert state(recorder) == State.PRIMARY_STATE_UNCONFIGURED
        recorder.wait_for(
            lambda: (
                is_bad(status := last(recorder, NODE), "RuntimeError: the accelerator is gone")
                and "/no/such/model" not in status.message
            )
        )
        (model / "load").unlink()
        assert change(recorder, Transition.TRANSITION_CONFIGURE)
        recorder.wait_for(
            lambda: (status := last(recorder, NODE)) is not None and status.message == "not active"
        )


def test_a_parameter_of_an_unknown_type_is_answered(model: Path, tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: rclpy raised, and the client waited for its answer forever."""
    with node_process("detection_node", *FAST_STATUS, "-p", f"model:={model}", log=tmp_path / "log"):
        impossible = Parameter(name="max_age_ms", value=ParameterValue(type=77))
        sound = Parameter(name="max_age_ms", value=ParameterValue(type=3, double_value=7.0))
        request = SetParameters.Request(parameters=[sound, impossible, sound])
        results = recorder.call(SetParameters, f"{NODE}/set_parameters", request).results
        assert [result.successful for result in results] == [True, False, True]
        assert "77" in results[1].reason
