# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A guarded detection node in the test's process, its scripted backend and what listens to it.

ROS is imported by the fixtures only: where it is missing, the tests are skipped by their own files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.scripted_backend import Script, scripted_backend


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_backend(monkeypatch) as made:
        yield made


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Any]:
    from support.guarded_node import listening

    listener = listening(ros_context)
    yield listener
    listener.close()


@pytest.fixture
def start(ros_context: Any, tmp_path: Path, script: Script) -> Iterator[Any]:
    from support.guarded_node import start_node

    made: list[Any] = []

    def make(**values: Any) -> Any:
        made.append(start_node(ros_context, tmp_path / "model", values))
        script.number = 0
        return made[-1]

    yield make
    script.released.set()
    for node in made:
        node.close()
        node.destroy_node()
