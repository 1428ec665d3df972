"""Generators: the interface, the networks, and the readers of their checkpoints."""
