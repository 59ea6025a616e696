# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the drift reference of a model says of how far neighboring results differ, before any frame came."""

from __future__ import annotations

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.drift.manifest_references import find_reference
from ad_compressed_perception.serving.served_model import ServedModel

_NAMES = {"curvature_change": "curvature_per_m", "changed_labels": "changed_share"}
"""Figures of drift/result_statistics.py, and what the guard calls them."""
_OF_MEAN = 5.0
"""99th percentile to mean: 4.6 where changes are exponentially distributed, 2 to 4 on recorded drives."""


def expected_changes(model: ServedModel | None) -> dict[str, float]:
    """Return the 99th percentile of changes by name; empty without a usable reference."""
    if model is None:
        return {}
    try:
        reference, _ = find_reference(model.pipeline.task.manifest, model.identity.variant)
    except ManifestError:
        return {}  # reported by the comparison with it
    if reference is None:
        return {}
    means = dict(zip(reference.names, reference.center, strict=True))
    return {ours: _OF_MEAN * means[name] for name, ours in _NAMES.items() if name in means}
