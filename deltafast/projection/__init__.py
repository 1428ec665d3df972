"""Projection of images into a generator's W+ space: encoder first, refinement from its start."""

from deltafast.projection.encoder import Encoder, load_encoder
from deltafast.projection.fit import FitReport
from deltafast.projection.images import ProjectedImages, project_images
from deltafast.projection.latents import project_faces
from deltafast.projection.likeness import LIKENESSES, Likeness
from deltafast.projection.pictures import sequences_of_pictures
from deltafast.projection.projector import PHOTO_SIZE, ProjectionSettings, Projector, encode_images
from deltafast.projection.refine import PREFERENCES, RefineConfig, RefineResult, refine
from deltafast.projection.sequences import project_sequences
from deltafast.projection.tuned_face import CARRIED_SIZE, TunedFace, is_tuned_file, load_face, shows_mesh

__all__ = [
    "CARRIED_SIZE",
    "LIKENESSES",
    "PHOTO_SIZE",
    "PREFERENCES",
    "Encoder",
    "FitReport",
    "Likeness",
    "ProjectedImages",
    "ProjectionSettings",
    "Projector",
    "RefineConfig",
    "RefineResult",
    "TunedFace",
    "encode_images",
    "is_tuned_file",
    "load_encoder",
    "load_face",
    "project_faces",
    "project_images",
    "project_sequences",
    "refine",
    "sequences_of_pictures",
    "shows_mesh",
]
