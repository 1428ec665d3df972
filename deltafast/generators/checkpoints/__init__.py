"""Readers of generator checkpoints, one format a file, none of which trusts what it reads.

`contents` reads a file whatever its format: `recognise` tells it by its first bytes, `found` finds the generator in
what it holds, `refused` names what is known and not supported. Each reader turns its format into *canonical tensors*, a
flat dict of fp32 tensors, and a config; `deltafast.generators.build` says which, checks both and builds the generator.
"""
