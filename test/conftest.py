# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Set-up common to all tests: isolated ROS 2 traffic and the folder of the reference data.

The environment is set while this file is imported, before any test module imports rclpy, and is
inherited by every process that a test starts.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import ad_compressed_perception  # noqa: F401  before a test module imports a runtime, so that it reports nothing

REPOSITORY = Path(__file__).resolve().parent.parent
# Fast DDS: discovery of domain d listens on 7400 + 250 d. Kept to a range that leaves the ports of
# all domains below those which the system gives to outgoing connections.
DOMAINS = range(1, 101)
_held: list[socket.socket] = []

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # where the tests run in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _claim_domain() -> int:
    """Return a domain id that no other test session of this machine uses while this one lasts."""
    for domain in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An abstract address: it vanishes with the process, leaving no file behind.
            claim.bind(f"\0ad_compressed_perception-test-domain-{domain}")
        except OSError:
            claim.close()
            continue
        _held.append(claim)
        return domain
    raise RuntimeError("every ROS 2 domain of the tests is in use on this machine")


os.environ["ROS_DOMAIN_ID"] = str(_claim_domain())
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
if os.environ.get("ROS_DISTRO") == "humble":  # knows only the older variable
    os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
# A loaded machine must fail no test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
os.environ["COLUMNS"] = "120"  # tables have one width, whatever the terminal's


def find_shared() -> Path | None:
    """Return the folder of the reference data, or None where there is none."""
    named = os.environ.get("AD_SHARED")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    return folder.resolve() if (folder / "models").is_dir() else None


_shared = find_shared()
if _shared is not None:  # for the manifests that name their models by it
    os.environ["AD_SHARED"] = str(_shared)


HANG_S = 120.0
"""So long beyond a test's timeout, which interrupts Python only, not what hangs in a library below it."""
_stderr_fd = 2


def pytest_configure() -> None:
    """Keep the real standard error, which is not captured yet, for the stacks of a hang."""
    global _stderr_fd
    _stderr_fd = os.dup(2)


def pytest_runtest_protocol(item: pytest.Item) -> None:
    """End the session with the stacks of all threads where a test hangs, before a CI ends it without them."""
    marker = item.get_closest_marker("timeout")
    limit_s = marker.args[0] if marker else float(item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit_s + HANG_S, exit=True, file=_stderr_fd)


def pytest_collection_finish() -> None:
    """Leave what the imports made out of all later garbage collections: each would take half a second."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Arm it no more."""
    faulthandler.cancel_dump_traceback_later()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked `shared` where the reference data is absent; run some marked `ros` once more.

    Fast DDS 2.14 sometimes brings no message at all to a participant that takes the port of an earlier one,
    about once in a thousand tests (docs/guides/transport.md). Where nothing comes in time, and for no other
    reason, such a test runs once more, and pytest reports that.
    """
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if item.get_closest_marker("ros"):
                item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["waited 60 s in vain"]))
    if find_shared() is not None:
        return
    skip = pytest.mark.skip(reason="no reference data: set AD_SHARED to its folder")
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder of the reference data; skips where there is none."""
    folder = find_shared()
    if folder is None:
        pytest.skip("no reference data: set AD_SHARED to its folder")
    return folder


def _remove_ports(domain: int) -> None:
    """Remove the ports of a domain from Fast DDS's shared memory, when nobody of the domain lives any more.

    A process that was killed while it sent leaves a lock behind, and the next receiver there waits for it.
    """
    for number in range(7400 + 250 * domain, 7400 + 250 * (domain + 1)):
        for name in (
            f"fastrtps_port{number}",
            f"fastrtps_port{number}_el",
            f"sem.fastrtps_port{number}_mutex",
        ):
            Path("/dev/shm", name).unlink(missing_ok=True)


@pytest.fixture
def ros_context() -> Iterator[object]:
    """Return an initialized rclpy context of this test's own, shut down afterwards."""
    rclpy = pytest.importorskip("rclpy")
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        yield context
    finally:
        context.try_shutdown()
        # Nodes are parts of cycles, which keep their participants alive: with dozens of them the next ones
        # get numbers beyond those that others look for, and no message ever comes.
        gc.collect()
        _remove_ports(int(os.environ["ROS_DOMAIN_ID"]))


@pytest.fixture(scope="session")
def setup_arguments() -> dict[str, Any]:
    """Return the arguments that setup.py passes to setuptools."""
    from support.packaging import read_setup_arguments

    return read_setup_arguments()
