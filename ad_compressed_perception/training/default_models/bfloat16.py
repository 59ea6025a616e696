# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether training in bfloat16 is worth it on a processor."""

from __future__ import annotations

from ad_compressed_perception.core.host import HostInfo


def multiplies_bfloat16(host: HostInfo) -> bool:
    """Whether it has bfloat16 multiply instructions; without them, training in float32 is faster."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(host.isa)
