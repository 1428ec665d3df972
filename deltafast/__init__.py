"""deltafast: explicit, continuous, disentangled edits of faces in a StyleGAN's W+ space.

The whole way in Python, each step a function whose result the next one takes (those that are given a folder go on
where they were stopped, when they are called again with it):

```python
import deltafast

G = deltafast.load_generator("mobilestylegan-ffhq")
deltafast.render_sequences("sequences", attributes=["yaw"], identities=8)  # synthetic heads; or pictures of one's own:
# deltafast.sequences_of_pictures("pictures", "sequences", "beard")
latents = deltafast.project_sequences(G, "sequences", "latents")
yaw = deltafast.train_editor(latents, "yaw", out="yaw.safetensors")

result = deltafast.edit_batch(G, "holiday.jpg", yaw, 0.5, paste_back=True)  # or latents, or "smile", bundled
deltafast.animate(G, "holiday.jpg", yaw, by=[-15, 15], paste_back=True)[0].save("holiday.gif")
deltafast.project_images(G, "photos", "photo-latents")  # photos to latents, and how well they fit
```

For another generator `deltafast.train_encoder` makes the encoder that projects photos; `deltafast.EditSession` keeps
what many edits share. The public names below load their modules on first use, so `import deltafast` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltafast.delta import DeltaConfig, PreciseConfig, edit_together, train_editor
    from deltafast.delta.editor import Editor, list_editors
    from deltafast.delta.linear import LinearEditor
    from deltafast.delta.loading import load_editor
    from deltafast.editing import (
        Animation,
        EditOptions,
        EditResult,
        EditSession,
        Reached,
        UnreachedWarning,
        animate,
        edit_batch,
        edit_stream,
    )
    from deltafast.faces.alignment import AlignedFace, Alignment, FaceAligner
    from deltafast.faces.pasting import paste_back
    from deltafast.generators.base import Generator
    from deltafast.generators.load import load_generator, save_generator
    from deltafast.generators.seeds import latents_from_seeds
    from deltafast.projection import (
        Encoder,
        ProjectionSettings,
        Projector,
        RefineConfig,
        TunedFace,
        load_encoder,
        load_face,
        project_faces,
        project_images,
        project_sequences,
        sequences_of_pictures,
    )
    from deltafast.projection.train_encoder import train_encoder
    from deltafast.sequence_latents import SequenceLatents, load_latents
    from deltafast.synthetic import render_sequences

__version__ = "0.1.0"

_HOMES = {
    "AlignedFace": "deltafast.faces.alignment",
    "Alignment": "deltafast.faces.alignment",
    "Animation": "deltafast.editing",
    "DeltaConfig": "deltafast.delta",
    "EditOptions": "deltafast.editing",
    "EditResult": "deltafast.editing",
    "EditSession": "deltafast.editing",
    "Editor": "deltafast.delta.editor",
    "Encoder": "deltafast.projection",
    "FaceAligner": "deltafast.faces.alignment",
    "Generator": "deltafast.generators.base",
    "LinearEditor": "deltafast.delta.linear",
    "PreciseConfig": "deltafast.delta",
    "ProjectionSettings": "deltafast.projection",
    "Projector": "deltafast.projection",
    "Reached": "deltafast.editing",
    "RefineConfig": "deltafast.projection",
    "SequenceLatents": "deltafast.sequence_latents",
    "TunedFace": "deltafast.projection",
    "UnreachedWarning": "deltafast.editing",
    "animate": "deltafast.editing",
    "edit_batch": "deltafast.editing",
    "edit_stream": "deltafast.editing",
    "edit_together": "deltafast.delta",
    "latents_from_seeds": "deltafast.generators.seeds",
    "list_editors": "deltafast.delta.editor",
    "load_editor": "deltafast.delta.loading",
    "load_encoder": "deltafast.projection",
    "load_face": "deltafast.projection",
    "load_generator": "deltafast.generators.load",
    "load_latents": "deltafast.sequence_latents",
    "paste_back": "deltafast.faces.pasting",
    "project_faces": "deltafast.projection",
    "project_images": "deltafast.projection",
    "project_sequences": "deltafast.projection",
    "render_sequences": "deltafast.synthetic",
    "save_generator": "deltafast.generators.load",
    "sequences_of_pictures": "deltafast.projection",
    "train_editor": "deltafast.delta",
    "train_encoder": "deltafast.projection.train_encoder",
}

__all__ = [
    "AlignedFace",
    "Alignment",
    "Animation",
    "DeltaConfig",
    "EditOptions",
    "EditResult",
    "EditSession",
    "Editor",
    "Encoder",
    "FaceAligner",
    "Generator",
    "LinearEditor",
    "PreciseConfig",
    "ProjectionSettings",
    "Projector",
    "Reached",
    "RefineConfig",
    "SequenceLatents",
    "TunedFace",
    "UnreachedWarning",
    "__version__",
    "animate",
    "edit_batch",
    "edit_stream",
    "edit_together",
    "latents_from_seeds",
    "list_editors",
    "load_editor",
    "load_encoder",
    "load_face",
    "load_generator",
    "load_latents",
    "paste_back",
    "project_faces",
    "project_images",
    "project_sequences",
    "render_sequences",
    "save_generator",
    "sequences_of_pictures",
    "train_editor",
    "train_encoder",
]


_SUBMODULES = ("errors", "memory", "ops")  # those that programs name, loaded on first use too


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"deltafast.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'deltafast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_SUBMODULES})
