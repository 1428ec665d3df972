"""Small generators as the pickles of TensorFlow's StyleGAN2 hold them."""

from __future__ import annotations

import pickle
import sys
import types
from typing import Any

import numpy as np
import torch


class _Network:
    """Pickles as `dnnlib.tflib.network.Network`."""

    def __init__(self, variables: dict[str, Any], components: dict[str, Any], options: dict[str, Any]) -> None:
        self.version = 4
        self.name = "G"
        self.static_kwargs = options
        self.components = components
        self.build_module_src = "raise SystemExit"
        self.build_func_name = "G_main"
        self.variables = list(variables.items())


def tensorflow_pickle(
    tensors: dict[str, torch.Tensor],
    resolution: int,
    *,
    protocol: int = 2,
    alone: bool = False,
    extra: dict[str, Any] | None = None,
    **options: Any,
) -> bytes:
    """Return a pickle of (G, D, Gs), or of Gs `alone`, for canonical tensors; `extra` variables of the synthesis."""

    def array(name: str) -> np.ndarray:
        return tensors[name].numpy()

    def dense(scope: str, name: str) -> dict[str, Any]:
        return {f"{scope}/weight": array(f"{name}.weight").T, f"{scope}/bias": array(f"{name}.bias")}

    mapping: dict[str, Any] = {}
    if "mapping.embed.bias" in tensors:
        mapping |= dense("LabelEmbed", "mapping.embed")
    elif "mapping.embed.weight" in tensors:
        mapping["LabelConcat/weight"] = array("mapping.embed.weight").T
    layer = 0
    while f"mapping.fc{layer}.weight" in tensors:
        mapping |= dense(f"Dense{layer}", f"mapping.fc{layer}")
        layer += 1

    synthesis: dict[str, Any] = {"4x4/Const/const": array("synthesis.b4.const")[None]}

    def modulated(scope: str, name: str, turned: bool = False) -> None:
        weight = array(f"{name}.weight").transpose(2, 3, 1, 0)
        synthesis[f"{scope}/weight"] = weight[::-1, ::-1] if turned else weight
        synthesis[f"{scope}/bias"] = array(f"{name}.bias")
        synthesis[f"{scope}/mod_weight"] = array(f"{name}.affine.weight").T
        synthesis[f"{scope}/mod_bias"] = array(f"{name}.affine.bias") - 1

    step, size = 0, 4
    while size <= resolution:
        scope, block = f"{size}x{size}", f"synthesis.b{size}"
        for source, target in (("Conv0_up", "conv0"), ("Conv1", "conv1")) if size > 4 else (("Conv", "conv1"),):
            modulated(f"{scope}/{source}", f"{block}.{target}", turned=target == "conv0")
            # a session gives numpy's scalars for variables without axes
            synthesis[f"{scope}/{source}/noise_strength"] = np.float32(tensors[f"{block}.{target}.noise_strength"])
            synthesis[f"noise{step}"] = array(f"{block}.{target}.noise_const")[None, None]
            step += 1
        if f"{block}.torgb.weight" in tensors:
            modulated(f"{scope}/ToRGB", f"{block}.torgb")
        if f"{block}.skip.weight" in tensors:
            synthesis[f"{scope}/Skip/weight"] = array(f"{block}.skip.weight").transpose(2, 3, 1, 0)
        size *= 2
    synthesis |= extra or {}
    options = {"resolution": resolution, "num_channels": 3, "label_size": 0, "truncation_psi": 0.5, **options}
    parts = {"mapping": _Network(mapping, {}, {}), "synthesis": _Network(synthesis, {}, {})}
    whole = _Network({"dlatent_avg": array("mapping.w_avg"), "lod": np.float32(0)}, parts, options)
    return _dumped(whole if alone else (_Network({}, {}, {}), _Network({}, {}, {}), whole), protocol)


def _dumped(content: Any, protocol: int) -> bytes:
    names = ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network")
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules[names[-1]].Network = _Network
    own = (_Network.__module__, _Network.__qualname__)
    _Network.__module__, _Network.__qualname__ = names[-1], "Network"
    sys.modules.update(modules)
    try:
        return pickle.dumps(content, protocol)
    finally:
        _Network.__module__, _Network.__qualname__ = own
        for name in names:
            del sys.modules[name]
