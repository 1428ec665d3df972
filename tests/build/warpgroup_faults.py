"""The convolution on sm_90a's warpgroups (TMA and wgmma): its kernel's files, and faults to plant in them."""

from __future__ import annotations

from planted_faults import Faults, case

PARTS = (
    "conv_tile.cuh",
    "conv_image.cuh",
    "sm90/wgmma_tile.cuh",
    "sm90/tensor_map.cuh",
    "sm90/wgmma_conv.cuh",
    "sm90/wgmma_launch.cuh",
)
LAUNCH = """
  const cuda::CudaTarget target{cuda::Element::kHalf, nullptr};
  if (p.activates) return cuda::launch_wgmma<__half, cuda::WgTile<64>, true>(p, target);
  return cuda::launch_wgmma<__half, cuda::WgTile<64>, false>(p, target);
"""
_WAIT_FULL = "wait_phase(shared.full(ring.stage), ring.parity);"
_WAIT_FREE = "wait_phase(shared.free(stage), ring.parity ^ 1);"
_BYTES = "Tile::kInputBytes + item.taps * Tile::kTapBytes"
_ROW = "item.row + t * item.down + consumer * Tile::kBlocks * kBlockRows"
_ADDS = "i > 0 || t > 0 || step > 0"
FAULTS: Faults = {
    "no wait for a full stage": (_WAIT_FULL, ""),
    "a full stage's other phase": (_WAIT_FULL, _WAIT_FULL.replace("parity", "parity ^ 1")),
    "no wait for a free stage": (_WAIT_FREE, ""),
    "a free stage's other phase": (_WAIT_FREE, _WAIT_FREE.replace(" ^ 1", "")),
    "phases that do not alternate": ("parity ^= 1;", ""),
    "fewer bytes expected than come": (_BYTES, "Tile::kInputBytes"),
    "more bytes expected than come": (_BYTES, "Tile::kStageBytes + 16"),
    "fewer arrivals than threads arrive": ("kConsumers * kGroupThreads / kLanes", "kGroupThreads / kLanes"),
    "more arrivals than threads arrive": ("kConsumers * kGroupThreads / kLanes", "kConsumers * kGroupThreads"),
    "barriers not shown to copies": ("show_barriers();", ""),
    "no barrier of the block behind their beginning": (
        "__syncthreads();  // barriers have begun",
        "",
        "give_registers<40>();",  # which is a barrier of its own
        "",
        "take_registers<232>();",
        "",
    ),
    "barriers in the stages' memory": ("first + Tile::kBarriersAt + 16 * stage", "first + 16 * stage"),
    "a stage given free before its products are done": ("wait_products<1>();", ""),
    "sums read before their products are done": ("wait_products<0>();", ""),
    "registers not given to products": ("begin_products();", ""),
    "products not made a group": ("commit_products();", ""),
    "the first product adds to what was there": (_ADDS, "true"),
    "descriptor: stride between eight rows": ("kEightRows / 16 << 32", "kEightRows / 32 << 32"),
    "descriptor: another swizzle": ("kSwizzle << 62", "uint64_t{2} << 62"),
    "descriptor: address in bytes": ("(address & 0x3FFFF) / 16", "address & 0x3FFFF"),
    "descriptor: a step of the wrong size": ("weights + 32 * step / 16", "weights + 32 * step"),
    "descriptor: operands not at a multiple of the swizzle": ("above - above % kSwizzleBytes", "above - 1023"),
    "the same row for all taps": (_ROW, _ROW.replace(" + t * item.down", "")),
    "the same block for both consumers": (_ROW, "item.row + t * item.down"),
    "weights of another tap": ("item.first + t * item.step", "item.first + t"),
    "a box that begins with the tile": ("place.y - 1", "place.y"),
    "a box that is not shifted": ("place.x + item.right", "place.x"),
    "results written while they are stored": ("      if (thread == 0) wait_stores<0>();", ""),
    "no barrier before results are written": (
        "named_barrier(1 + consumer, kGroupThreads);  // staging memory is free",
        "",
    ),
    "results not shown to the store": ("show_writes();", ""),
    "no barrier before results are stored": (
        "named_barrier(1 + consumer, kGroupThreads);  // and everyone's part is in it",
        "",
    ),
    "a barrier of more threads than come": (
        "named_barrier(1 + consumer, kGroupThreads);  // and everyone's part is in it",
        "named_barrier(1 + consumer, 2 * kGroupThreads);",
    ),
    "the last results not waited for": ("\n  if (thread == 0) wait_stores<0>();", ""),
    "stores not made a group": ("commit_stores();", ""),
    "results not swizzled": ("(pack % 8 ^ row % 8) * 16", "pack % 8 * 16"),
    "results: rows and packs exchanged": ("lane / 8 % 2 * 8 + lane % 8", "lane / 16 * 8 + lane % 8"),
    "fragment of sums: rows for columns": ("4 * (j + of) + 2 * q + i", "4 * (j + of) + 2 * i + q"),
    "more registers than there are": ("take_registers<232>();", "take_registers<240>();"),
    "registers not given up": ("give_registers<40>();", ""),
    "up: taps of a column in the other order": (
        "WgItem{0, -i, 2, column, 6, 1, -1}",
        "WgItem{0, -i, 2, column, 6, 0, 1}",
    ),
    "up: rows and columns of the result exchanged": ("maps.output[view]", "maps.output[view % 2 * 2 + view / 2]"),
    "up: no position more than the input's": ("up ? p.in_w + 1 : p.out_w", "up ? p.in_w : p.out_w"),
}
# Tiles of 16 x 16 positions: several along each axis, cut off at the end; channels that fill no stage.
CASES = {"plain": case("plain", 72, 40, 20, 17), "up": case("up", 72, 24, 9, 16)}
