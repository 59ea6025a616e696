# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conformance suite of backends: what every runtime must do, also those of other packages.

An author of a backend puts this folder's parent on the path and subclasses ``suite.BackendConformance``;
``examples/custom_backend`` shows it.
"""
