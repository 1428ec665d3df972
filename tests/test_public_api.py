"""What `import deltafast` offers is there, says what it is, and is enough to go from rendered heads to edited faces."""

from __future__ import annotations

from pathlib import Path

import torch

import deltafast
from deltafast.generators.base import Generator
from deltafast.projection.encoder import EncoderConfig
from deltafast.projection.sampling import slot_groups


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in deltafast.__all__:
        value = getattr(deltafast, name)
        assert value is not None
        assert name == "__version__" or (value.__doc__ or "").strip(), name
    assert set(deltafast.__all__) <= set(dir(deltafast))


def test_from_rendered_heads_to_edited_faces_in_python(tiny_generator: Generator, tmp_path: Path) -> None:
    G = tiny_generator
    encoder = deltafast.Encoder(
        EncoderConfig(64, G.num_ws, G.w_dim, slot_groups(G.num_ws), 16), G.w_space, G.name
    ).eval()
    place = str(tmp_path)
    deltafast.render_sequences(f"{place}/sequences", attributes=["yaw"], frames=3, size=32, processes=1)
    settings = deltafast.ProjectionSettings(deltafast.RefineConfig(steps=0))
    latents = deltafast.project_sequences(G, f"{place}/sequences", f"{place}/latents", settings, encoder=encoder)
    assert latents.identities == ["female", "male"]
    config = deltafast.DeltaConfig(steps=10, dim=2, width=4)
    yaw = deltafast.train_editor(latents, "yaw", config, out=f"{place}/yaw.safetensors", plot=False)
    ws = deltafast.latents_from_seeds(G, [0, 1], 0.7)
    session = deltafast.EditSession(G, yaw, 1.0, deltafast.EditOptions(batch_size=1))
    result = session.edit(ws)
    assert result.images is not None
    assert result.images.shape == (2, 3, 64, 64)
    assert torch.equal(result.latents, deltafast.edit_batch(G, ws, f"{place}/yaw.safetensors", 1.0).latents)
