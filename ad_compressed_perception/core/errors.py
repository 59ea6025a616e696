# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Errors shown to users; every message is one line that names the cause and the remedy."""

from __future__ import annotations


class AdcpError(Exception):
    """Base of all errors that the user can fix; shown without a traceback."""


class ImageError(AdcpError):
    """An image message whose bytes do not make an image (size, encoding, truncation)."""


class ManifestError(AdcpError):
    """A model.yaml that is missing, malformed or contradicts the files it names."""


class ModelFileError(AdcpError):
    """A model file that is missing, corrupt, of a wrong hash or of an unexpected shape."""


class BackendError(AdcpError):
    """A runtime that is not installed, not able to load the model, or failed while running it."""


class VariantRejectedError(AdcpError):
    """A variant that its accept gate rejected and that was not allowed explicitly."""


class DataError(AdcpError):
    """Bags, folders, topics or label files that are missing, empty or malformed."""


class RecipeError(AdcpError):
    """A compression recipe with an unknown key, a wrong value or an impossible pass."""


class RuleFileError(AdcpError):
    """Rules of a target that are unknown, malformed or of another target."""


class ResultError(AdcpError):
    """A frame without a valid result: the frame fails, the node keeps running."""


class OutputError(ResultError):
    """A model output that its decoder cannot mean: not finite, of a wrong shape or out of range."""
