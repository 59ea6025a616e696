# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``drift_reference`` of a manifest: a reference for each variant that one was learned for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest, describe_validation_error
from ad_compressed_perception.drift.reference import DriftReference

LEARN = "adcp replay --learn"


def find_reference(manifest: Manifest, variant: str) -> tuple[DriftReference | None, str]:
    """Return a variant's reference, or None with the reason why there is none for it.

    The results of one variant say nothing of how another one's should be: each has its own reference, of the
    very file that it is.

    Raises:
        ManifestError: what the manifest holds is no reference; one line.
    """
    found = manifest.drift_reference or {}
    if variant not in found:
        others = f" (there is one for {', '.join(sorted(found))})" if found else ""
        return None, f"no reference for {variant!r}{others}: no drift alarms; {LEARN} makes one"
    try:
        reference = DriftReference.model_validate(found[variant])
    except ValidationError as error:
        raise ManifestError(
            f"drift_reference of {manifest.name}/{variant}: {describe_validation_error(error)}; "
            f"{LEARN} makes a new one"
        ) from error
    sha256 = manifest.variant(variant).sha256
    if reference.model_sha256 != sha256:
        return None, (
            f"the reference for {variant!r} was learned with the file of sha256 "
            f"{reference.model_sha256[:12]}..., this one is {sha256[:12]}...: no drift alarms; {LEARN} again"
        )
    return reference, ""


def join_references(
    manifest: Manifest, learned: Mapping[str, DriftReference], *, keep_longer: bool = False
) -> dict[str, Any] | None:
    """Return ``drift_reference`` of a manifest with references that were learned; None where there is none.

    Those of variants that the manifest has no longer, or whose file is another one now, are left out, and so
    is what is no reference.

    Args:
        manifest: has the variants, and references that were learned before.
        learned: by variant.
        keep_longer: let an earlier reference of the same file stay where its recording is longer.
    """
    sha256 = {name: variant.sha256 for name, variant in manifest.variants.items()}
    joined = {}
    for name in manifest.drift_reference or {}:
        try:
            found, _ = find_reference(manifest, name) if name in sha256 else (None, "")
        except ManifestError:  # what no node can use keeps no new one out
            continue
        if found is not None:
            joined[name] = found.model_dump(mode="json", by_alias=True)
    for name, one in learned.items():
        is_longer = name in joined and joined[name]["duration_s"] > one.duration_s
        if sha256.get(name) == one.model_sha256 and not (keep_longer and is_longer):
            joined[name] = one.model_dump(mode="json", by_alias=True)
    return joined or None
