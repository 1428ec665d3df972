"""The networks written as their papers define them, in plain torch: per-sample weights, no fusion, any dtype.

Used as the reference that the product is measured against, in float64 and, for torch's own error, in float32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def cast(tensors, dtype):
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def mapping(t, z, c=None, multiplier=0.01):
    def layer(x, name, m):
        weight = t[f"mapping.{name}.weight"]
        return x @ weight.T * (m / math.sqrt(weight.shape[1])) + t[f"mapping.{name}.bias"] * m

    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    if c is not None:
        y = layer(c, "embed", 1.0)
        x = torch.cat([x, y * torch.rsqrt(y.square().mean(1, keepdim=True) + 1e-8)], 1)
    k = 0
    while f"mapping.fc{k}.weight" in t:
        x = F.leaky_relu(layer(x, f"fc{k}", multiplier), 0.2) * math.sqrt(2)
        k += 1
    return x


def folded_mapping(t, z):
    """The mapping network of MobileStyleGAN, whose weights have their gains multiplied in."""
    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    k = 0
    while f"mapping.fc{k}.weight" in t:
        x = F.leaky_relu(x @ t[f"mapping.fc{k}.weight"].T + t[f"mapping.fc{k}.bias"], 0.2) * math.sqrt(2)
        k += 1
    return x


def fir(x, taps, up, padding, gain):
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, h * up, w * up)
    wide[:, :, ::up, ::up] = x
    kernel = (taps.to(x.dtype) * gain).flip((0, 1)).expand(c, 1, -1, -1)
    return F.conv2d(F.pad(wide, padding), kernel, groups=c)


def stylegan2(
    t,
    ws,
    resolution,
    noise_mode="const",
    clamp=None,
    architecture="skip",
    activation="lrelu",
    equalised=False,
    features_at=None,
):
    """StyleGAN2 in the parametrisation of its checkpoints; differentiable in all of `t` any number of times.

    With `features_at` the activations of the block of that resolution, instead of the image.
    """
    t = {name.removeprefix("synthesis."): tensor for name, tensor in t.items()}
    taps = t["resample_filter"]
    k = taps.shape[0]
    slope, act_gain = {"lrelu": (0.2, math.sqrt(2)), "relu": (0.0, math.sqrt(2)), "linear": (1.0, 1.0)}[activation]

    def style(name, slot):
        weight = t[f"{name}.affine.weight"]
        return ws[:, slot] @ weight.T / math.sqrt(weight.shape[1]) + t[f"{name}.affine.bias"]

    def limit(x, gain=1.0):
        return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)

    def upsample(x):
        return fir(x, taps, 2, ((k + 1) // 2, (k - 2) // 2, (k + 1) // 2, (k - 2) // 2), 4)

    def layer(x, name, slot, up, gain=1.0):
        weight = t[f"{name}.weight"]
        if equalised:
            weight = weight / math.sqrt(weight[0].numel())
        weight = weight[None] * style(name, slot)[:, None, :, None, None]  # [N, O, C, 3, 3]
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        outputs = []
        for sample, kernel in zip(x, weight, strict=True):
            if up:
                y = F.conv_transpose2d(sample[None], kernel.transpose(0, 1), stride=2)
                outputs.append(fir(y, taps, 1, ((k - 1) // 2, (k - 2) // 2, (k - 1) // 2, (k - 2) // 2), 4))
            else:
                outputs.append(F.conv2d(sample[None], kernel, padding=1))
        y = torch.cat(outputs)
        if noise_mode == "const":
            y = y + t[f"{name}.noise_const"] * t[f"{name}.noise_strength"]
        y = F.leaky_relu(y + t[f"{name}.bias"][:, None, None], slope) * (act_gain * gain)
        return limit(y, gain)

    def torgb(x, name, slot):
        weight = t[f"{name}.weight"]
        gain = 1 / math.sqrt(weight.shape[1])
        weight = weight[None, :, :, 0, 0] * (style(name, slot) * gain)[:, None, :]  # [N, 3, C]
        return limit(torch.einsum("noc,nchw->nohw", weight, x) + t[f"{name}.bias"][:, None, None])

    x = layer(t["b4.const"].expand(ws.shape[0], -1, -1, -1), "b4.conv1", 0, up=False)
    image = torgb(x, "b4.torgb", 1) if architecture == "skip" else None
    slot, size = 1, 8
    half = math.sqrt(0.5) if architecture == "resnet" else 1.0
    while size <= (features_at or resolution):
        before = x
        x = layer(x, f"b{size}.conv0", slot, up=True)
        x = layer(x, f"b{size}.conv1", slot + 1, up=False, gain=half)
        if architecture == "resnet":
            weight = t[f"b{size}.skip.weight"]
            x = x + upsample(F.conv2d(before, weight / math.sqrt(weight.shape[1]))) * half
        if architecture == "skip" or size == resolution:
            colour = torgb(x, f"b{size}.torgb", slot + 2)
            image = colour if image is None else upsample(image) + colour
        slot, size = slot + 2, size * 2
    return image if features_at is None else x


def mobilestylegan(t, ws, noise_mode="const", features_at=None):
    """MobileStyleGAN; with `features_at` the activations of the block of that resolution, instead of the image."""
    t = {name.removeprefix("synthesis."): tensor for name, tensor in t.items()}

    def style(name, slot):
        return (ws[:, slot] @ t[f"{name}.affine.weight"].T + t[f"{name}.affine.bias"])[:, :, None, None]

    def layer(x, name, slot):
        x = x * style(name, slot)
        if f"{name}.weight" in t:
            x = F.conv2d(x, t[f"{name}.weight"], padding=1)
        else:
            x = F.conv2d(x, t[f"{name}.depthwise"], padding=1, groups=x.shape[1])
            x = F.conv2d(x, t[f"{name}.pointwise"])
        if noise_mode == "const":
            x = x + t[f"{name}.noise_const"]
        return F.leaky_relu(x + t[f"{name}.bias"][:, None, None], 0.2)

    def wavelet(x):
        low, vertical, horizontal, diagonal = x.chunk(4, 1)
        out = x.new_empty(x.shape[0], x.shape[1] // 4, 2 * x.shape[2], 2 * x.shape[3])
        for i in (0, 1):
            for j in (0, 1):
                s, d = (-1) ** i, (-1) ** j
                out[:, :, i::2, j::2] = low + s * vertical + d * horizontal + s * d * diagonal
        return out

    x = layer(t["input"].expand(ws.shape[0], -1, -1, -1), "b4.conv1", 0)
    block, size = 0, 8
    while f"b{size}.up.affine.weight" in t:
        x = wavelet(x * style(f"b{size}.up", 1 + 2 * block))
        x = layer(x, f"b{size}.conv0", 1 + 2 * block)
        x = layer(x, f"b{size}.conv1", 2 + 2 * block)
        if size == features_at:
            return x
        block, size = block + 1, size * 2
    x = F.conv2d(x * style(f"b{size}.to_img", -1), t[f"b{size}.to_img.weight"])
    return wavelet(x + t[f"b{size}.to_img.bias"][:, None, None])
