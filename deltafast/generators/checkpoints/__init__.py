"""Readers of generator checkpoints, one format a file, none of which trusts what it reads.

Each reader turns its format into *canonical tensors*, a flat dict of fp32 tensors with all training-time gains
multiplied in, and a config; `deltafast.generators.build` checks both and builds the generator. The names follow
stylegan2-ada: `mapping.fc0.weight`, `synthesis.b8.conv0.affine.weight`, ...
"""
