# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime is asked for on devices that are not here, and that no fallback is silent."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.backends import create_backend, onnxruntime_providers
from ad_compressed_perception.backends.onnxruntime_options import OnnxRuntimeOptions
from ad_compressed_perception.backends.onnxruntime_providers import (
    CPU,
    EMULATED,
    PROVIDERS,
    QNN,
    actual_providers,
    provider_chain,
)
from ad_compressed_perception.backends.strict import refuse_fallback
from ad_compressed_perception.core.errors import BackendError
from support.onnx_files import feed, write_int8, write_two_convolutions

CUDA, TENSORRT = PROVIDERS["cuda"], PROVIDERS["tensorrt"]


def build(*providers: str) -> Any:
    """Return what the module onnxruntime says of a build; nothing else of it is needed here."""
    return SimpleNamespace(get_available_providers=lambda: list(providers))


@pytest.mark.parametrize(
    ("options", "available", "chain"),
    [
        ({}, [CPU], [(CPU, {})]),
        ({"provider": "cuda"}, [CUDA, CPU], [(CUDA, {"device_id": "0", "use_tf32": "0"}), (CPU, {})]),
        (
            {"provider": "cuda", "cuda_tf32": True},
            [CUDA, CPU],
            [(CUDA, {"device_id": "0", "use_tf32": "1"}), (CPU, {})],
        ),
        (
            {"provider": "cuda", "device_id": 1, "strict": True},
            [CUDA, CPU],
            [(CUDA, {"device_id": "1", "use_tf32": "0"})],
        ),
        ({"provider": "cuda"}, [CPU], [(CPU, {})]),
        (
            {"provider": "tensorrt", "trt_fp16": True},
            [TENSORRT, CUDA, CPU],
            [
                (TENSORRT, {"device_id": "0", "trt_fp16_enable": "True"}),
                (CUDA, {"device_id": "0", "use_tf32": "0"}),
                (CPU, {}),
            ],
        ),
        ({"provider": "qnn", "qnn_backend": "gpu"}, [QNN, CPU], [(QNN, {"backend_type": "gpu"}), (CPU, {})]),
        ({"provider": "qnn"}, [CPU], []),  # a plug-in: not by name
    ],
)
def test_the_providers_asked_for(
    options: dict[str, Any], available: list[str], chain: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime_providers, "_has_plug_in", lambda: False)
    assert provider_chain(build(*available), OnnxRuntimeOptions(**options), None) == chain


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_strict_names_what_the_build_lacks(provider: str) -> None:
    options = OnnxRuntimeOptions(provider=provider, strict=True)
    with pytest.raises(
        BackendError, match=r"strict mode, this build has only CPUExecutionProvider; .*\[gpu\]"
    ):
        provider_chain(build(CPU), options, None)


def part(provider: str, nodes: int) -> Any:
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: [None] * nodes)


@pytest.mark.parametrize(
    ("registered", "parts", "found"),
    [
        ([CPU], [], CPU),
        ([CUDA, CPU], [part(CUDA, 9)], CUDA),
        ([CUDA, CPU], [part(CPU, 3), part(CUDA, 9), part(CPU, 2)], f"{CUDA}, {CPU}"),
        ([QNN, CPU], [part(CPU, 9)], CPU),  # registered, and does nothing
    ],
)
def test_the_actual_providers_are_those_with_operators(registered: Any, parts: Any, found: str) -> None:
    """Failed before: a session whose operators all ran on the CPU was reported under its first provider."""
    session = SimpleNamespace(
        get_providers=lambda: registered, get_provider_graph_assignment_info=lambda: parts
    )
    assert actual_providers(session) == found
    older = SimpleNamespace(get_providers=lambda: registered)
    assert actual_providers(older) == registered[0]


def test_a_partial_fallback_is_refused_by_strict(tmp_path: Path) -> None:
    info = create_backend("onnxruntime").load(write_two_convolutions(tmp_path / "m.onnx"), {}).info
    refuse_fallback(info, "fp32")
    from dataclasses import replace

    with pytest.raises(BackendError, match=f"on {CUDA}, {CPU}, {CUDA} was asked for"):
        refuse_fallback(replace(info, requested_provider=CUDA, provider=f"{CUDA}, {CPU}"), None)
    refuse_fallback(replace(info, requested_provider="GPU", provider="GPU.0"), None)
    with pytest.raises(BackendError, match="on GPUX"):
        refuse_fallback(replace(info, requested_provider="GPU", provider="GPUX"), None)
    # The option precision is of float operators: of a quantized file it says nothing of what is integer.
    refuse_fallback(info, None, "fp32")
    refuse_fallback(replace(info, precision="int8"), None, "bf16")
    with pytest.raises(BackendError, match="in fp32 here, the option precision says bf16"):
        refuse_fallback(info, None, "bf16")


def test_strict_operators_on_the_cpu_are_refused_by_the_runtime_itself(tmp_path: Path) -> None:
    """The session's own check, on this build: it has only the CPU to leave an operator to."""
    import onnxruntime

    from ad_compressed_perception.backends.onnxruntime_providers import refuse_cpu

    path = write_two_convolutions(tmp_path / "m.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    refuse_cpu(options)
    with pytest.raises(Exception, match="(?i)fallback|CPU EP"):
        onnxruntime.InferenceSession(str(path), options, providers=[CPU], enable_fallback=0)


def test_qnn_without_its_package_falls_back_aloud_or_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("onnxruntime_qnn") is not None:
        pytest.skip("onnxruntime-qnn is installed")
    path = write_two_convolutions(tmp_path / "m.onnx")
    backend = create_backend("onnxruntime")
    session = backend.load(path, {"provider": "qnn"})
    assert (session.info.requested_provider, session.info.provider) == (QNN, CPU)
    assert session.info.precision == "fp32"
    assert session.infer({"x": feed()})["y"].shape == (1, 4, 16, 16)
    assert "onnxruntime-qnn is not installed" in caplog.text
    with pytest.raises(BackendError, match=r"onnxruntime-qnn is not installed: see the extra \[qnn\]"):
        backend.load(path, {"provider": "qnn", "strict": True})
    assert capfd.readouterr().out == "", "ONNX Runtime prints a fallback, which would break --json"


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason="the extra [qnn] is not installed"
)
@pytest.mark.parametrize("quantized", [False, True], ids=["fp32", "int8"])
def test_qnn_s_emulation_computes_and_is_not_called_the_device(tmp_path: Path, quantized: bool) -> None:
    """The package for x86-64 has an emulation of Qualcomm's HTP, which finds a device of its own: the CPU."""
    path = write_two_convolutions(tmp_path / "m.onnx")
    if quantized:
        path = write_int8(path, tmp_path / "int8.onnx")
    backend = create_backend("onnxruntime")
    session = backend.load(path, {"provider": "qnn"})
    if EMULATED not in session.info.provider:
        pytest.skip(f"QNN runs on {session.info.provider} here")
    assert session.info.provider.startswith(QNN)
    # The pairs at input and output are left to the CPU.
    assert (CPU in session.info.provider) is quantized
    assert (session.info.precision, session.info.integer_coverage) == ("unknown", None)
    reference = backend.load(path, {}).infer({"x": feed()})["y"]
    assert np.abs(session.infer({"x": feed()})["y"] - reference).max() < 0.05 * np.ptp(reference)
    with pytest.raises(BackendError, match="cannot be listed"):
        session.layers()
    with pytest.raises(BackendError, match="emulated on the CPU"):
        backend.load(path, {"provider": "qnn", "strict": True})


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason="the extra [qnn] is not installed"
)
def test_a_processor_of_qnn_that_does_not_start_is_no_provider(tmp_path: Path) -> None:
    """Failed before: all operators ran on the CPU, and the first registered provider was named."""
    path = write_two_convolutions(tmp_path / "m.onnx")
    info = create_backend("onnxruntime").load(path, {"provider": "qnn", "qnn_backend": "gpu"}).info
    if QNN in info.provider:
        pytest.skip("Qualcomm's GPU runs here")
    assert (info.provider, info.precision) == (CPU, "fp32")
    with pytest.raises(BackendError):
        create_backend("onnxruntime").load(path, {"provider": "qnn", "qnn_backend": "gpu", "strict": True})
