"""Projection of images into a generator's W+ space: encoder first, refinement from its start."""

from deltafast.projection.encoder import Encoder, load_encoder
from deltafast.projection.latents import project_faces
from deltafast.projection.project import ProjectionSettings, encode_images, project_images, project_sequences
from deltafast.projection.refine import RefineConfig, RefineResult, refine

__all__ = [
    "Encoder",
    "ProjectionSettings",
    "RefineConfig",
    "RefineResult",
    "encode_images",
    "load_encoder",
    "project_faces",
    "project_images",
    "project_sequences",
    "refine",
]
