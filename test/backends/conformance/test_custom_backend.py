# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backend of a third party, examples/custom_backend, passes the suite as its README runs it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from support.examples import EXAMPLES, registered

_FILE = EXAMPLES / "custom_backend" / "test_onnx_reference_backend.py"
if not _FILE.is_file():
    pytest.skip("no examples beside the tests", allow_module_level=True)
_spec = spec_from_file_location("conformance_of_the_example", _FILE)
assert _spec is not None and _spec.loader is not None
_module = module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture(autouse=True, scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install the example beside the package, for this process and for those the suite starts."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    with pytest.MonkeyPatch.context() as patch, registered("custom_backend", folder, patch):
        yield


class TestExample(_module.TestOnnxReference):  # type: ignore[name-defined, misc]
    """The example's own class."""
