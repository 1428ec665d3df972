"""Faces in photos: found, measured, cut out as FFHQ's are, and pasted back."""
