# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An installed package of a third party: a backend that hangs, ends threads, fails or is slow on request."""

from __future__ import annotations

from pathlib import Path

import pytest

# What to do is read from files beside the model: "load" at loading, "infer" at every inference.
MODULE = """
import ctypes
import time

from ad_compressed_perception.backends.onnxruntime_backend import OnnxRuntimeBackend

eaten = []


def obey(file):
    while file.exists():
        word, _, number = file.read_text().partition(" ")
        if word == "hang":
            time.sleep(0.05)
            continue
        if word == "exit":
            raise SystemExit(3)
        if word == "raise":
            raise RuntimeError("the accelerator\\nis gone")
        if word == "hold":  # with Python's interpreter lock: no other thread runs
            ctypes.PyDLL(None).sleep(int(number))
        if word == "eat":  # so many MB at every call, as a runtime that leaks
            eaten.append(b"x" * (int(number) * 1_000_000))
        if word == "sleep":
            time.sleep(float(number))
        return


class FaultyBackend(OnnxRuntimeBackend):
    name = "faulty"

    def load(self, model, options):
        obey(model.with_name("load"))
        session = super().load(model, options)
        infer, close = session.infer, session.close

        def obeying(feeds):
            session.in_use = True
            obey(model.with_name("infer"))
            result = infer(feeds)
            session.in_use = False
            return result

        def closing():
            assert not getattr(session, "in_use", False), "a session in use was closed"
            close()

        session.infer, session.close = obeying, closing
        return session
"""


def install_faulty_backend(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the backend ``faulty`` known to the processes that the test starts, as pip would."""
    info = folder / "faulty_backend-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty_backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ad_compressed_perception.backends]\nfaulty = faulty_backend:FaultyBackend\n"
    )
    (folder / "faulty_backend.py").write_text(MODULE)
    patch.setenv("PYTHONPATH", str(folder), prepend=":")
