# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which decoders could fit a model's outputs, by shapes, metadata and ranges of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.registry import DECODERS, find
from ad_compressed_perception.importing.candidates.candidate import Candidate, Evidence
from ad_compressed_perception.importing.candidates.classification import classifiers
from ad_compressed_perception.importing.candidates.detection import detectors
from ad_compressed_perception.importing.candidates.head_maps import heads_of_maps
from ad_compressed_perception.importing.candidates.planning import planners
from ad_compressed_perception.importing.candidates.segmentation import segmenters

__all__ = ["Candidate", "Evidence", "propose"]

_FAMILIES: tuple[Callable[[Evidence], Sequence[Candidate]], ...] = (
    detectors,
    heads_of_maps,
    segmenters,
    planners,
    classifiers,
)


def propose(evidence: Evidence) -> list[Candidate]:
    """Return the candidates of all families, most likely first; only those whose decoder is installed."""
    found: list[Candidate] = []
    for family in _FAMILIES:
        found += [one for one in family(evidence) if _is_installed(one.decoder)]
    return sorted(found, key=lambda one: -one.prior)


def _is_installed(decoder: str) -> bool:
    try:
        find(DECODERS, decoder, ManifestError)
    except ManifestError:
        return False
    return True
