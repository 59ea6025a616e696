# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runtimes report nothing to their vendors unless the environment asks for it.

Each test starts a fresh interpreter with an empty home folder, in which both runtimes keep what they report:
an identifier of the machine and, for ONNX Runtime, the queue of events.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ad_compressed_perception.core.telemetry import opt_out
from support.onnx_files import write_two_convolutions

REPOSITORY = Path(__file__).resolve().parents[2]
OPT_IN = "ADCP_RUNTIME_TELEMETRY"
BACKENDS = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("openvino") is None, reason="the extra [openvino] is not installed"
        ),
    ),
]
# ONNX Runtime's uploader resolves its host nine seconds after the import, OpenVINO at once.
UPLOADED_AFTER_S = {"onnxruntime": 15.0, "openvino": 2.0}
# Neither runtime reports where these are set.
CI_VARIABLES = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", OPT_IN)
LOAD = """
import sys, time
from pathlib import Path
from ad_compressed_perception.backends import create_backend
create_backend(sys.argv[1]).load(Path(sys.argv[2]), {})
time.sleep(float(sys.argv[3]))
"""
IMPORT_ONLY = """
import importlib, sys, time
import ad_compressed_perception
importlib.import_module(sys.argv[1])
time.sleep(float(sys.argv[3]))
"""


def environment(home: Path, **given: str) -> dict[str, str]:
    """Return this process's environment with an empty home folder and no opinion on telemetry."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in CI_VARIABLES and not key.startswith("XDG_")
    }
    return {**kept, "HOME": str(home), "PYTHONPATH": str(REPOSITORY), **given}


def run(
    code: str, backend: str, folder: Path, wait_s: float, prefix: tuple[str, ...] = (), **given: str
) -> set[str]:
    """Run code on a small model; return the files that it left in its home folder."""
    model, home = write_two_convolutions(folder / "model.onnx"), folder / "home"
    home.mkdir()
    command = [*prefix, sys.executable, "-c", code, backend, str(model), str(wait_s)]
    subprocess.run(command, env=environment(home, **given), check=True, timeout=120, capture_output=True)
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def without_network() -> tuple[str, ...]:
    """Return the start of a command that runs without any network; skip where the system forbids it."""
    prefix = ("unshare", "--map-root-user", "--net")
    if shutil.which(prefix[0]) is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces cannot be made by this user")
    return prefix


def recorded(trace: Path) -> tuple[str, ...]:
    """Return the start of a command whose look-ups and connections go to a file; skip without strace."""
    prefix = ("strace", "-f", "-qq", "-e", "trace=network,openat", "-o", str(trace))
    if shutil.which(prefix[0]) is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("strace is not installed or may not trace")
    return prefix


def look_ups(trace: Path) -> list[str]:
    """Return the recorded calls that resolve names or use an internet socket."""
    signs = ("AF_INET", "/etc/resolv.conf", "/etc/hosts", "nscd")
    return [
        line for line in trace.read_text(errors="replace").splitlines() if any(one in line for one in signs)
    ]


@pytest.mark.parametrize("code", [LOAD, IMPORT_ONLY], ids=["load", "import"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_runtime_leaves_nothing_in_the_home_folder(tmp_path: Path, backend: str, code: str) -> None:
    """Failed before: ONNX Runtime left an identifier and a queue of events, OpenVINO one and a count."""
    assert run(code, backend, tmp_path, 0.0) == set()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_environment_can_opt_in(tmp_path: Path, backend: str) -> None:
    """The counterpart of the test above, without which a runtime that moved its files would pass it."""
    assert run(LOAD, backend, tmp_path, 0.0, without_network(), **{OPT_IN: "1"})


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_host_is_resolved_or_connected_to(tmp_path: Path, backend: str) -> None:
    """Failed before: both resolved their vendors' hosts. System calls of all threads are recorded.

    The time for it passes for the counterpart, which opts in, at the same time.
    """
    given: dict[str, dict[str, str]] = {"opted_out": {}, "opted_in": {OPT_IN: "1"}}
    traces = {name: tmp_path / f"trace_{name}" for name in given}
    wait_s = UPLOADED_AFTER_S[backend]
    with ThreadPoolExecutor() as pool:
        running = []
        for name, values in given.items():
            (tmp_path / name).mkdir()
            prefix = (*without_network(), *recorded(traces[name]))
            running.append(pool.submit(run, LOAD, backend, tmp_path / name, wait_s, prefix, **values))
        for each in running:
            each.result()
    for name, trace in traces.items():
        assert "openat" in trace.read_text(errors="replace")
        assert bool(look_ups(trace)) == (name == "opted_in")


@pytest.mark.parametrize(("given", "then"), [(None, "1"), ("", "1"), ("0", "0"), ("1", "1")])
def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch, given: str | None, then: str) -> None:
    """An empty value counts as unset, as it does for ONNX Runtime, which then reports."""
    monkeypatch.delenv(OPT_IN, raising=False)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if given is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
    opt_out()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == then


def test_after_opting_in_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPT_IN, "1")
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    opt_out()
    assert "ORT_DISABLE_TELEMETRY" not in os.environ and "openvino_telemetry" not in sys.modules
