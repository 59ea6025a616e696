# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every backend of this package passes the conformance suite, but for what its table declares."""

from __future__ import annotations

import pytest

from ad_compressed_perception.core.registry import BACKENDS, own_plugins
from conformance.suite import BackendConformance
from conformance.table import LACKS, RUNTIMES, Lack

NOT_ALONE = ("remote", "tensorrt")
"""Backends that need more than a file: test_servers_and_devices.py runs the suite on them."""

for _name in (name for name in own_plugins(BACKENDS) if name not in NOT_ALONE):
    _title = f"Test_{_name}"
    globals()[_title] = type(
        _title,
        (BackendConformance,),
        {
            "__module__": __name__,
            "backend_name": _name,
            "runtime_module": RUNTIMES.get(_name) or None,
            "lacks": LACKS.get(_name, {}),
        },
    )


def test_every_backend_is_in_the_tables() -> None:
    assert set(RUNTIMES) == set(own_plugins(BACKENDS))
    assert set(LACKS) <= set(RUNTIMES)


def test_a_lack_that_is_no_longer_true_fails() -> None:
    """Otherwise a table of excuses would only grow."""

    class Able(BackendConformance):
        backend_name = "onnxruntime"
        lacks = {"layers": Lack("nothing is listed", "no layers")}

        def load(self, kind: str, **options: object) -> object:  # type: ignore[override]
            return Listing(2)

    class Listing:
        def __init__(self, count: int) -> None:
            self._count = count

        def layers(self) -> list[object]:
            return [type("Layer", (), {"is_compute": True, "operator": "Conv"})] * self._count

    with pytest.raises(pytest.fail.Exception, match="declared not to pass layers, and passes"):
        Able().test_layers()

    # Another failure than the declared one is a failure.
    Able.load = lambda self, kind, **options: Listing(1)  # type: ignore[assignment, method-assign]
    with pytest.raises(AssertionError, match="Conv"):
        Able().test_layers()

    with pytest.raises(TypeError, match="no check 'telepathy'"):
        type("Odd", (BackendConformance,), {"lacks": {"telepathy": Lack("no", "no")}})
