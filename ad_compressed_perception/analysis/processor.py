# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What matters for compression about a processor: how it multiplies numbers of low precision."""

from __future__ import annotations

from dataclasses import asdict

from ad_compressed_perception.core.host import HostInfo


def host_record(host: HostInfo) -> dict[str, object]:
    """Return the fields for a manifest."""
    return {**asdict(host), "isa": list(host.isa)}


def saturates_u8s8(host: HostInfo) -> bool:
    """Whether sums of unsigned times signed 8-bit products may overflow 16 bits on a processor.

    x86 without VNNI multiplies with VPMADDUBSW, which adds pairs of products with saturation at
    16 bits; 7-bit weights avoid it. VNNI and ARM's dot products add in 32 bits. True for an x86
    whose instruction sets are unknown.
    """
    is_x86 = host.machine.lower() in ("x86_64", "amd64", "i386", "i686", "x86")
    return is_x86 and not any("vnni" in name or name == "amx_int8" for name in host.isa)


def multiplies_bfloat16(host: HostInfo) -> bool:
    """Whether it has bfloat16 multiply instructions; without them, training in float32 is faster."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(host.isa)
