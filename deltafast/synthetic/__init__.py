"""Synthetic heads: parametric people rendered along one attribute at a time, with everything else fixed."""

from deltafast.sequence_manifest import FrameRecord, Manifest, load_manifest
from deltafast.synthetic.attributes import ATTRIBUTES
from deltafast.synthetic.frame import render_frame
from deltafast.synthetic.head import HeadModel
from deltafast.synthetic.identity import Appearance, Identity, female, male, random_identity
from deltafast.synthetic.sequences import render_sequences, sequence_identities

__all__ = [
    "ATTRIBUTES",
    "Appearance",
    "FrameRecord",
    "HeadModel",
    "Identity",
    "Manifest",
    "female",
    "load_manifest",
    "male",
    "random_identity",
    "render_frame",
    "render_sequences",
    "sequence_identities",
]
