"""Measurements of faces and edits: landmarks, attributes, identity, baselines and statistics."""
