# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation on the device: random affine transforms of images with their labels, photometric jitter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AffineTransform:
    """Transforms from a batch's images to the network's input: output pixel = source pixel * scale + shift.

    Attributes:
        scale: (B, 2) in x and y; negative x mirrors the image.
        shift: (B, 2) pixels of the input.
        width, height: of the input.
    """

    scale: Tensor
    shift: Tensor
    width: int
    height: int

    @property
    def is_mirrored(self) -> Tensor:
        """(B,) bool."""
        return self.scale[:, 0] < 0

    def boxes(self, boxes: Tensor) -> Tensor:
        """Return (B, M, 4) xyxy boxes of the source images in pixels of the input."""
        corners = boxes.reshape(len(boxes), -1, 2, 2) * self.scale[:, None, None] + self.shift[:, None, None]
        low, high = corners.amin(2), corners.amax(2)
        return torch.cat([low, high], -1)

    def warp(self, images: Tensor, pad: float, mode: str = "bilinear") -> Tensor:
        """Return (B, C, height, width) float of (B, C, h, w) images, padded with ``pad``."""
        batch, _, rows, columns = images.shape
        x = torch.arange(self.width, device=images.device, dtype=torch.float32)
        y = torch.arange(self.height, device=images.device, dtype=torch.float32)
        # Pixel centers lie at half-integers, so that resizing by a factor keeps the image's corners.
        sx = (x[None] + 0.5 - self.shift[:, :1]) / self.scale[:, :1]
        sy = (y[None] + 0.5 - self.shift[:, 1:]) / self.scale[:, 1:]
        gx = (2.0 * sx / columns - 1.0)[:, None, :].expand(batch, self.height, self.width)
        gy = (2.0 * sy / rows - 1.0)[:, :, None].expand(batch, self.height, self.width)
        grid = torch.stack([gx, gy], -1)
        moved = F.grid_sample(images.float() - pad, grid, mode, "zeros", align_corners=False)
        return moved + pad


def random_affine(
    batch: int,
    source: tuple[int, int],
    target: tuple[int, int],
    generator: torch.Generator,
    device: torch.device,
    *,
    scale_jitter: tuple[float, float],
    mirror: bool,
    identity_fraction: float,
    upscale: float = 1.0,
    crop_centers: Tensor | None = None,
) -> AffineTransform:
    """Return random transforms; an image that is not jittered lies in the top left corner, as at inference.

    Args:
        batch: number of images.
        source: (width, height) of them.
        target: (width, height) of the input.
        generator: on the CPU, so that the same seed gives the same batch on any device.
        device: of the result.
        scale_jitter: least and greatest factor.
        mirror: whether half of the images are mirrored.
        identity_fraction: share of images that are not jittered.
        upscale: factor from the source to the size at inference.
        crop_centers: (batch, 2) x and y in the source that a jittered image must contain; NaN: any part.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(batch, generator=generator) * (high - low) + low

    jittered = (uniform(0.0, 1.0) >= identity_fraction).float()
    factor = torch.exp(uniform(*(float(torch.tensor(z).log()) for z in scale_jitter)) * jittered) * upscale
    size = torch.tensor(source, dtype=torch.float32)[None] * factor[:, None]
    frame = torch.tensor(target, dtype=torch.float32)[None]
    room = frame - size
    # An image larger than the input is cropped at random, a smaller one lies anywhere inside.
    position = torch.stack([uniform(0.0, 1.0), uniform(0.0, 1.0)], 1)
    shift = position * room
    scale = factor[:, None].repeat(1, 2)
    flipped = (uniform(0.0, 1.0) < 0.5) if mirror else torch.zeros(batch, dtype=torch.bool)
    if crop_centers is not None:
        center = crop_centers * factor[:, None]
        center[:, 0] = torch.where(flipped, size[:, 0] - center[:, 0], center[:, 0])
        limits = torch.minimum(room, torch.zeros(())), torch.maximum(room, torch.zeros(()))
        centered = torch.clamp(position * frame - center, *limits)
        shift = torch.where(torch.isfinite(center), centered, shift)
    shift = shift * jittered[:, None]
    shift[:, 0] = torch.where(flipped, shift[:, 0] + size[:, 0], shift[:, 0])
    scale[:, 0] = torch.where(flipped, -scale[:, 0], scale[:, 0])
    return AffineTransform(scale.to(device), shift.to(device), *target)


def photometric_jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return (B, C, H, W) images of 0..255 with random brightness, contrast, color, sharpness and noise."""
    batch, channels = images.shape[:2]
    device = images.device

    def uniform(low: float, high: float, size: int = 1) -> Tensor:
        drawn = torch.rand(batch, size, 1, 1, generator=generator) * (high - low) + low
        return drawn.to(device)

    x = images.contiguous().clone()
    saturation, gain = uniform(0.3, 1.5), uniform(0.85, 1.15, channels)
    contrast, brightness = uniform(0.6, 1.4), uniform(0.6, 1.4)
    if channels == 1:
        saturation = torch.ones_like(saturation)
    # Gain, saturation, contrast and brightness are linear in the pixel, its gray value and the image's mean:
    # combined, they take three passes over memory.
    gray = x.mean(1, keepdim=True)
    mean = (
        gain
        * (saturation * x.mean((2, 3), keepdim=True) + (1 - saturation) * gray.mean((2, 3), keepdim=True))
    ).mean(1, keepdim=True)
    scale = brightness * contrast * gain
    x.mul_(scale * saturation).addcmul_(scale * (1 - saturation), gray).add_(
        brightness * (1 - contrast) * mean
    )
    x.clamp_(0.0, 255.0).div_(255.0).add_(1e-4).pow_(uniform(0.75, 1.35)).mul_(255.0)
    blur = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x.lerp_(blur, uniform(-0.5, 1.0).clamp_min(0.0))
    strength = uniform(-4.0, 10.0).clamp_min(0.0)
    noise_seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    local = torch.Generator(device=device).manual_seed(noise_seed)
    noise = torch.randn(x.shape, generator=local, device=device, dtype=x.dtype)
    return x.addcmul_(noise, strength).clamp_(0.0, 255.0)
