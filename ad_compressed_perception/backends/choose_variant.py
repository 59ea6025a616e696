# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which compressed variant of a model is to run on this machine, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import BackendError, ManifestError, VariantRejectedError
from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.one_line import shorten_list

ACCEPTED: Final = "accepted"
"""What may be given instead of a variant's name: the first accepted one whose runtime is installed here."""
_RANK = {"accepted": 0, "rejected": 2}


def status_of(variant: Variant) -> str:
    """Return the verdict of a variant's accept gate; empty where it has none."""
    return variant.verdict.status if variant.verdict else ""


def missing_runtime(backend: str) -> str:
    """Return why a backend cannot run here, with what pip installs of it; empty where it can."""
    try:
        found = create_backend(backend)
    except BackendError as error:
        return str(error)
    status = found.status()
    if status.available:
        return ""
    return f"pip install {found.distribution}" if found.distribution else status.detail or "not installed"


def compressed_variant(manifest: Manifest, backend: str | None = None) -> str | None:
    """Return the first accepted variant, other than the baseline, whose runtime is installed here.

    Where none was accepted it is the first that was not rejected, else the first; None where no compressed
    variant runs here.

    Args:
        manifest: the model.
        backend: only variants for this one, on which they were verified; None: for any.
    """
    statuses = {
        name: status_of(one)
        for name, one in manifest.variants.items()
        if name != manifest.baseline and backend in (None, one.backend)
    }
    ranked = sorted(statuses, key=lambda name: _RANK.get(statuses[name], 1))
    return next((name for name in ranked if not missing_runtime(manifest.variant(name).backend)), None)


def find_variant(manifest: Manifest, given: str | None, backend: str | None = None) -> str:
    """Return the name of the variant that ``given`` asks for.

    Args:
        manifest: the model.
        given: a variant's name; ACCEPTED, unless a variant has that name; None or empty: the baseline.
        backend: the only one that an accepted variant may be for; None: any.

    Raises:
        ManifestError: there is no such variant, or no accepted one runs here; the line names those there are.
    """
    if given != ACCEPTED or ACCEPTED in manifest.variants:
        name = given or manifest.baseline
        manifest.variant(name)
        return name
    chosen = compressed_variant(manifest, backend)
    where = f" on {backend}" if backend else ""
    if chosen is None or status_of(manifest.variant(chosen)) != ACCEPTED:
        raise ManifestError(
            f"model {manifest.name!r} has no accepted variant that runs here{where}; "
            + (describe_others(manifest, manifest.baseline) or "it has only its baseline: see adcp compress")
        )
    return chosen


def describe_others(manifest: Manifest, name: str) -> str:
    """Return all variants but one and the baseline, each with its verdict and what it lacks to run here."""
    lines = []
    for other, variant in manifest.variants.items():
        if other in (name, manifest.baseline):
            continue
        missing = missing_runtime(variant.backend)
        lacks = f", not installed: {missing}" if missing else ""
        lines.append(f"{other} ({status_of(variant) or 'no verdict'}, on {variant.backend}{lacks})")
    return f"other variants: {shorten_list(lines)}" if lines else ""


@contextmanager
def naming_others(manifest: Manifest, name: str, backend: str) -> Iterator[None]:
    """Add to the refusal of a variant what its runtime lacks, and which other variants there are.

    A variant is refused where its accept gate rejected it or its runtime is not installed; other errors are
    passed on.
    """
    try:
        yield
    except (VariantRejectedError, BackendError) as error:
        missing = missing_runtime(backend)
        if isinstance(error, BackendError) and not missing:
            raise
        pip = missing if missing.startswith("pip ") else ""
        raise type(error)(
            "; ".join(filter(None, [str(error), pip, describe_others(manifest, name)]))
        ) from error
