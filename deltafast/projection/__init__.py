"""Projection of images into a generator's W+ space: encoder first, refinement from its start."""

from deltafast.projection.encoder import Encoder, load_encoder
from deltafast.projection.images import ProjectedImages, project_images
from deltafast.projection.latents import project_faces
from deltafast.projection.pictures import sequences_of_pictures
from deltafast.projection.projector import PHOTO_SIZE, ProjectionSettings, Projector, encode_images
from deltafast.projection.refine import PREFERENCES, RefineConfig, RefineResult, refine
from deltafast.projection.sequences import project_sequences

__all__ = [
    "PHOTO_SIZE",
    "PREFERENCES",
    "Encoder",
    "ProjectedImages",
    "ProjectionSettings",
    "Projector",
    "RefineConfig",
    "RefineResult",
    "encode_images",
    "load_encoder",
    "project_faces",
    "project_images",
    "project_sequences",
    "refine",
    "sequences_of_pictures",
]
