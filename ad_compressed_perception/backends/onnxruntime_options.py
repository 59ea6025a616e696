# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options of the backend ``onnxruntime``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.backends.base import BackendOptions


class OnnxRuntimeOptions(BackendOptions):
    """Options of the backend ``onnxruntime``."""

    provider: Literal["cpu", "cuda", "tensorrt", "qnn"] = Field("cpu", description="where the model runs")
    device_id: int = Field(0, ge=0, description="which GPU; not used by provider cpu")
    threads: int = Field(1, ge=0, le=1024, description="inside one operator; 0: the runtime's choice")
    inter_op_threads: int = Field(
        1, ge=0, le=1024, description="operators at the same time; other than 1 runs branches in parallel"
    )
    spinning: bool = Field(
        False,
        description="idle threads busy-wait: faster for one model alone, slower for all that share cores",
    )
    graph_optimization: Literal["all", "extended", "basic", "none"] = "all"
    flush_denormals: bool = Field(
        True, description="load denormal weights (below 1.2e-38) as zero: same results, can be much faster"
    )
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")
    strict: bool = Field(
        False,
        description="refuse to run a model, or an operator of it, on another provider than the asked one",
    )
    cuda_tf32: bool = Field(
        False, description="cuda: round the factors of float products to 10 bits (TensorFloat-32): faster"
    )
    trt_fp16: bool = Field(False, description="tensorrt: allow half precision")
    trt_engine_cache: str | None = Field(
        None,
        description="tensorrt: folder that keeps built engines, relative: in the user's cache; "
        "without it every load builds them again",
    )
    qnn_backend: Literal["htp", "gpu", "cpu"] = Field(
        "htp", description="qnn: which of Qualcomm's processors"
    )
