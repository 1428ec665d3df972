"""The convolution on tensor cores (mma.sync): its kernel's files, and faults to plant in them."""

from __future__ import annotations

from planted_faults import Faults, case

PARTS = ("conv_tile.cuh", "conv_image.cuh", "up_filter.cuh", "implicit_conv.cuh")
LAUNCH = """
  if (p.form == ConvForm::kPlain) {
    return cuda::launch_conv<__half, cuda::ConvTile<ConvForm::kPlain, false, 4, 2, 1>>(p, nullptr);
  }
  return cuda::launch_conv<__half, cuda::ConvTile<ConvForm::kUpFiltered, false, 4, 2, 1>>(p, nullptr);
"""
_WAIT = "wait_copies<Tile::kStages - 2>();"
_INPUT = "swizzled<Tile>(y * Tile::kInColumns + x, 2 * step + lane / 16)"
_SUM = "sums[0][q / 2][4 * group + j / 2][q % 2 * 2 + j % 2]"
_INSIDE = "y >= 0 && y < p.in_h && x >= 0 && x < p.in_w && channel < inputs"
_WEIGHT_INSIDE = "output < outputs && channel < inputs"
_COPY_WEIGHT = "copy_async(to + swizzled<Tile>(row, pack), static_cast<const T*>(p.weight) + at, exists);"
_COPY_INPUT = "copy_async(to + swizzled<Tile>(row, pack), sample + at, exists);"
_LOAD = "load(item + Tile::kStages - 1);"
_ADD = "add_tap<T, Tile>(weights, Tile::kSide * ky + kx, step, a, sums[0]);"
_ADD_COLOURS = "colours[q][k] += __shfl_xor_sync(0xffffffffu, colours[q][k], 2);"
FAULTS: Faults = {
    "no wait for copies": (_WAIT, ""),
    "a wait for one group too few": (_WAIT, "wait_copies<Tile::kStages - 1>();"),
    "no barrier behind the wait": (
        "__syncthreads();  // everyone's copies have landed, and the stage of the item before is free",
        "",
    ),
    "copies not made a group": ("commit_copies();  // one group an item, empty behind the last", ""),
    "a stage filled before everyone has read it": (_WAIT, f"{_LOAD} wait_copies<Tile::kStages - 1>();", _LOAD, ""),
    "one stage too few": (
        "load_input<T, Tile>(p, corner, chunk, inputs + stage * Tile::kInputBytes);",
        "load_input<T, Tile>(p, corner, chunk, inputs);",
    ),
    "fragment of inputs: halves exchanged": (_INPUT, _INPUT.replace("lane / 16", "1 - lane / 16")),
    "fragment of inputs: rows for halves": (_INPUT, _INPUT.replace("lane / 16", "lane / 8 % 2")),
    "fragment of weights: columns for halves": (
        "tap * Tile::kOutputs + lane / 16 * 8 + lane % 8",
        "tap * Tile::kOutputs + lane / 8 % 2 * 8 + lane % 8",
    ),
    "fragment of sums: rows exchanged": (_SUM, _SUM.replace("[q % 2 * 2", "[(1 - q % 2) * 2")),
    "fragment of sums: channels in another order": (_SUM, _SUM.replace("j / 2]", "j % 4]")),
    "weights stored without the swizzle": (
        _COPY_WEIGHT,
        _COPY_WEIGHT.replace("swizzled<Tile>(row, pack)", "(row * Tile::kPacks + pack) * kPackBytes"),
    ),
    "inputs read without the swizzle": (
        _INPUT,
        "kPackBytes * ((y * Tile::kInColumns + x) * Tile::kPacks + 2 * step + lane / 16)",
    ),
    "a wrong stride of rows": (_INPUT, _INPUT.replace("Tile::kInColumns", "16")),
    "no zeros beside the image": (_INSIDE, "y >= 0 && y < p.in_h && channel < inputs"),
    "no zeros behind the last channel": (
        _INSIDE,
        _INSIDE.replace(" && channel < inputs", ""),
        _WEIGHT_INSIDE,
        "output < outputs",
    ),
    "weights in the order of channels": ("place / 32 * 32 + row_channel(place % 32)", "place"),
    "a halo on the wrong side": ("corner.x * Tile::kStride - Tile::kBefore", "corner.x"),
    "weights of the first tile alone": ("!kept || item < work.chunks", "item < work.chunks"),
    "copies to half a pack": (_COPY_INPUT, _COPY_INPUT.replace("(to +", "(8 + to +")),
    "a stage behind the ends of shared memory": (
        "Tile::kStages * Tile::kInputBytes + places * Tile::kWeightBytes",
        "Tile::kInputBytes + places * Tile::kWeightBytes",
    ),
    "shared memory not asked for": ("static_cast<int>(bytes)", "0"),
    "half a warp multiplies": (_ADD, f"if (threadIdx.x % 32 < 16) {_ADD}"),
    "sums not begun anew": ("sums[phase][r][n][i] = 0.0f;", ""),
    "colours of two lanes alone": (_ADD_COLOURS, ""),
    "up: no barrier before the filter": (
        "__syncthreads();\n  // A thread walks down a column of outputs and keeps its last four rows, filtered across.",
        "",
    ),
    "up: a tap in the wrong phase": ("before_y ? 2 : phase_y", "before_y ? 1 : phase_y"),
    "up: tiles that do not overlap": (
        "of_sample / work.tiles_w * Tile::kStepRows - Tile::kEarly",
        "of_sample / work.tiles_w * Tile::kRows - Tile::kEarly",
    ),
    "up: columns taken one too far": ("column + 1 + t", "column + t"),
}
CASES = {
    "kept weights": case("plain", 40, 24, 9, 34),
    "streamed weights": case("plain", 72, 24, 9, 17),
    "up": case("up, filtered", 40, 24, 7, 15),
}
