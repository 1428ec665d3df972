"""Each network reproduces the outputs of the original implementation it was read from.

The bound is a share of the largest reference value, or three times the error that plain torch itself makes in fp32
against float64, whichever is larger; both are printed.
"""

from __future__ import annotations

import numpy as np
import plain_generators
import pytest
import torch
import torch.nn.functional as F

from deltafast.generators.load import load_generator

_IMAGE, _MAPPING = 1e-5, 2e-6


def _golden(shared_dir, name):
    with np.load(shared_dir / "fixtures" / name) as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


def _check(label, ours, golden, plain32, plain64, share):
    error = (ours - golden).abs().max().item()
    own = (plain32.double() - plain64).abs().max().item()
    floor = share * golden.abs().max().item()
    print(f"{label}: error {error:.2e}; {share:g} of the largest value {floor:.2e}; torch's own error {own:.2e}")
    assert error <= max(floor, 3 * own), label


def _plain(function, tensors, *inputs, **options):
    results = []
    for dtype in (torch.float32, torch.float64):
        cast = [x.to(dtype) if isinstance(x, torch.Tensor) else x for x in inputs]
        results.append(function(plain_generators.cast(tensors, dtype), *cast, **options))
    return results


@pytest.mark.parametrize("checkpoint", ["stylegan2-ada-64.pkl", "rosinality-64-narrow.pt"])
def test_stylegan2_matches_the_original_implementation(shared_dir, checkpoint):
    generator = load_generator(shared_dir / "fixtures" / checkpoint)
    golden = _golden(shared_dir, checkpoint.rpartition(".")[0] + ".npz")
    tensors = generator.tensors()
    assert generator.num_ws == golden["wplus"].shape[1]

    w = generator.mapping(golden["z"])  # [3, 10, 512]
    assert torch.equal(w, w[:, :1].expand_as(w))
    expected = golden["w"] if golden["w"].ndim == 2 else golden["w"][:, 0]
    plain = _plain(plain_generators.mapping, tensors, golden["z"])
    _check("mapping", w[:, 0], expected, *plain, _MAPPING)
    if "w_psi07_cut4" in golden:
        truncated = generator.mapping(golden["z"], truncation_psi=0.7, truncation_cutoff=4)
        _check("truncated mapping", truncated, golden["w_psi07_cut4"], *plain, _MAPPING)
    if "latent_avg" in golden:
        assert torch.equal(generator.w_avg, golden["latent_avg"])

    for mode in ("const", "none"):
        if f"img_{mode}" in golden:
            image = generator.synthesis(golden["wplus"], noise_mode=mode)
            equalised = generator.config.get("equalised_convolutions", False)
            options = {"noise_mode": mode, "equalised": equalised}
            plain = _plain(plain_generators.stylegan2, tensors, golden["wplus"], 64, **options)
            _check(f"synthesis, noise {mode}", image, golden[f"img_{mode}"], *plain, _IMAGE)


@pytest.mark.slow
def test_mobilestylegan_matches_openvino(shared_dir, mobilestylegan):
    golden = _golden(shared_dir, "mobilestylegan-ffhq.npz")
    tensors = mobilestylegan.tensors()
    plain = _plain(plain_generators.folded_mapping, tensors, golden["z"])
    _check("mapping", mobilestylegan.mapping(golden["z"])[:, 0], golden["w"], *plain, _MAPPING)

    ws = golden["w"].unsqueeze(1).expand(-1, 16, -1)  # [3, 16, 512]
    with torch.no_grad():
        images = torch.cat([mobilestylegan.synthesis(w) for w in ws.split(1)])  # [3, 3, 1024, 1024]
        # torch's own error is taken on the sample where ours is largest: float64 at 1024 x 1024 is slow
        area = F.avg_pool2d(images, 4)
        worst = (area - golden["img_256_area"]).abs().flatten(1).amax(1).argmax().item()
        plain32, plain64 = _plain(plain_generators.mobilestylegan, tensors, ws[worst : worst + 1])
    _check("whole images", area, golden["img_256_area"], F.avg_pool2d(plain32, 4), F.avg_pool2d(plain64, 4), _IMAGE)
    crop = (..., slice(448, 576), slice(448, 576))
    _check("full resolution", images[crop], golden["img_crop_448_576"], plain32[crop], plain64[crop], _IMAGE)


def test_w_avg_of_mobilestylegan_is_the_mean_of_its_own_codes(shared_dir, mobilestylegan):
    golden = _golden(shared_dir, "mobilestylegan-ffhq.npz")
    assert mobilestylegan.w_space == "stylegan2-ffhq"
    assert mobilestylegan.w_avg.shape == (512,)
    # Another set of codes has the same mean within its sampling error: the mean is that of the network.
    z = torch.randn(4000, 512, generator=torch.Generator().manual_seed(1))
    other = torch.cat([mobilestylegan.mapping.code(part) for part in z.split(2000)]).mean(0)
    assert F.cosine_similarity(other, mobilestylegan.w_avg, dim=0) > 0.998
    spread = (golden["w"] - mobilestylegan.w_avg).norm(dim=1)
    assert (other - mobilestylegan.w_avg).norm() < 0.05 * spread.mean()
