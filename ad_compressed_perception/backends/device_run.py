# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a backend was seen to compute right on this computer's device: a record of a run that agreed.

Backends for devices are tested here against a stand-in of their runtime, which says nothing about the device.
``python -m ad_compressed_perception.backends.device_run BACKEND MODEL.onnx`` runs the model on both, the
backend and ONNX Runtime on the CPU, and writes the record where they agree. It counts for one version and one
device; nothing else writes it.
"""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ad_compressed_perception.backends.local_reference import Reference, concordance
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.model_files import file_sha256, user_cache
from ad_compressed_perception.workspace.atomic_file import write_file

LEAST_COSINE = 0.99
"""Of float outputs against ONNX Runtime on the CPU, for a run that counts; Q/DQ models differ by less."""
_MODULE = "ad_compressed_perception.backends.device_run"


class DeviceRun(StrictModel):
    """A model that ran on a device as it does on the CPU."""

    schema_: Literal["adcp-device-run/1"] = Field("adcp-device-run/1", alias="schema")
    backend: str
    version: str
    device: str
    model_sha256: str
    least_cosine: float = Field(ge=LEAST_COSINE, le=1.001, description="concordance of all outputs, on noise")
    at: str = Field(description="time, UTC")


def record_path(backend: str) -> Path:
    """Return where the record of a backend lies: in the user's cache."""
    return user_cache() / "device_runs" / f"{backend}.json"


def read_device_run(backend: str, version: str, device: str) -> str:
    """Return a remark for the list of backends: when a run agreed, or that none did."""
    try:
        run = DeviceRun.model_validate_json(record_path(backend).read_text("utf-8"))
    except (OSError, ValidationError, ValueError):
        run = None
    if run is None or (run.backend, run.version, run.device) != (backend, version, device):
        return f"not verified on a device: python -m {_MODULE} {backend} MODEL.onnx"
    return f"verified on {run.device} at {run.at}"


def verify_on_device(backend: str, model: Path) -> DeviceRun:
    """Run a model on a backend and on the CPU, and write the record where the outputs agree.

    Raises:
        BackendError: the backend does not run it, or differently, or on another device than asked for.
    """
    from ad_compressed_perception.backends import create_backend

    session = create_backend(backend).load(model, {})
    try:
        info = session.info
        if info.provider != info.requested_provider:
            raise BackendError(f"{backend} ran on {info.provider}, not on {info.requested_provider}")
        reference = Reference.make(model, None, info.inputs)
        if reference is None:
            raise BackendError(f"{model.name} has dynamic sizes: take a model with one image size")
        outputs = session.infer(reference.feeds)
        missing = sorted(reference.outputs.keys() - outputs.keys())
        if missing:
            raise BackendError(f"{backend} gives no output {missing[0]!r} of {model.name}")
        agreed = {name: concordance(ours, outputs[name]) for name, ours in reference.outputs.items()}
        # One by one: the least of several numbers is not NaN where NaN comes second.
        for name, found in agreed.items():
            if not found >= LEAST_COSINE:
                raise BackendError(
                    f"{backend} on {info.provider} does not compute {name!r} of {model.name} as the CPU "
                    f"does: concordance {found:.4f}, least {LEAST_COSINE:g}"
                )
    finally:
        session.close()
    run = DeviceRun(
        backend=backend,
        version=info.version,
        device=info.provider,
        model_sha256=file_sha256(model),
        least_cosine=min(agreed.values()),
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_file(record_path(backend), run.model_dump_json(by_alias=True, indent=1))
    return run


def main(arguments: list[str]) -> int:
    """Verify the named backend on the named file; print the record, or why there is none."""
    if len(arguments) != 2:
        print(f"usage: python -m {_MODULE} BACKEND MODEL.onnx", file=sys.stderr)
        return 2
    try:
        print(verify_on_device(arguments[0], Path(arguments[1])).model_dump_json(by_alias=True))
    except AdcpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
