# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""AdamW whose rate is a share of each channel's own size.

Folding normalizations into convolutions leaves layers of very different size (in yolox_nano the layers'
medians lie between 0.004 and 21). Adam moves every number by about the rate whatever its gradient: what is
nothing to one layer destroys another. Here a step is

    w <- w + r_c * (AdamW's step at the rate given)      r_c: root mean square of the channel at first

for the output channels c of a weight; a bias has one r for all its channels. Networks whose channels begin
with zeros (fresh ones) want the plain form.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LEAST_OF_MEAN = 0.01
"""No channel's size counts as less than this share of the layer's mean: dead channels can come back."""
_LEAST_BIAS = 1e-2
_KEY = "size"


def channel_sizes(parameter: Tensor) -> Tensor:
    """Return the sizes r_c of a parameter, of a shape that multiplies it."""
    value = parameter.detach()
    if value.dim() < 2:
        return value.pow(2).mean().sqrt().clamp_min(_LEAST_BIAS)
    sizes = value.pow(2).mean(dim=list(range(1, value.dim())), keepdim=True).sqrt()
    return sizes.clamp_min(_LEAST_OF_MEAN * float(sizes.mean()) + 1e-12)


class RelativeAdamW(torch.optim.AdamW):
    """See the module; sizes are kept with the optimizer's state, so that a resumed run has the same."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step."""
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [p.detach().clone() for p in parameters]
        sizes = [
            self.state[p][_KEY] if _KEY in self.state.get(p, {}) else channel_sizes(p) for p in parameters
        ]
        result = super().step(closure)
        for parameter, old, size in zip(parameters, before, sizes, strict=True):
            self.state[parameter][_KEY] = size
            parameter.copy_(old + (parameter - old) * size)
        return result
