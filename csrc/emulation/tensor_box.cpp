#include "emulation/tensor_box.h"

#include <cstring>
#include <deque>
#include <unordered_map>
#include <vector>

#include "emulation/barrier.h"
#include "emulation/grid.h"

namespace deltafast::emulation {
namespace {

constexpr int kMaxRank = 5;
constexpr unsigned kElement = 2, kPack = 16, kRow = 128, kRepeats = 1024;  // bytes
constexpr uint64_t kMark = 0x64656c7461666173;  // of a map that was encoded

// What a map holds of a tensor: sizes and strides from the innermost axis on.
struct Map {
  uint64_t mark;
  unsigned char* data;
  uint32_t rank, box[kMaxRank];
  uint64_t sizes[kMaxRank], strides[kMaxRank];  // strides in bytes; of the innermost axis unused
};
static_assert(sizeof(Map) <= 2 * sizeof(CUtensorMap));
std::deque<Map> maps;  // a CUtensorMap holds a pointer into it

struct Box {
  const Map* map;
  int at[kMaxRank];
  unsigned shared, barrier = 0;
  int group = 0;
  std::vector<unsigned char> seen;  // by a store, when it began
  unsigned bytes() const {
    unsigned count = kElement;
    for (uint32_t d = 0; d < map->rank; ++d) count *= map->box[d];
    return count;
  }
};

std::vector<Box> loads;
bool last_first = false;
struct Stores {
  std::vector<Box> boxes;
  int groups = 0;
};
std::vector<Stores> stores;                       // of the threads of a block
std::unordered_map<unsigned, int> not_yet_shown;  // pack of shared memory -> who wrote it
std::vector<std::vector<unsigned>> written;       // and not yet shown, by the thread

const Map* map_of(const CUtensorMap* map, int rank) {
  const auto* found = reinterpret_cast<const Map*>(map->opaque[0]);
  if (map->opaque[1] != kMark || reinterpret_cast<uintptr_t>(map) % 64 != 0) {
    fail("a box of a map that was not encoded, or is not on a multiple of 64 bytes");
    return nullptr;
  }
  if (found->rank != static_cast<uint32_t>(rank)) {
    fail("a box of another number of axes than its map's");
    return nullptr;
  }
  return found;
}

// The box's bytes in shared memory, which must all be there; begins at a multiple of the swizzle's.
unsigned char* memory_of(const Box& box) {
  if (box.shared % kRepeats != 0) {
    fail("a swizzled box in shared memory is not on a multiple of 1,024 bytes");
    return nullptr;
  }
  for (unsigned at = 0; at < box.bytes(); at += kPack) {
    if (!at_shared_address(box.shared + at, kPack)) return nullptr;
  }
  return at_shared_address(box.shared, kPack);
}

// Calls `run(pack in shared memory, pack of the tensor)` for the 16 bytes of eight elements each;
// the second is null outside the tensor.
template <typename Run>
void for_packs(const Box& box, Run run) {
  const Map& map = *box.map;
  const unsigned packs = box.bytes() / kPack, of_row = kRow / kPack;
  for (unsigned i = 0; i < packs; ++i) {
    const unsigned row = i / of_row, pack = i % of_row;
    const int64_t inner = box.at[0] + int64_t{pack} * (kPack / kElement);
    bool inside = inner >= 0 && inner < static_cast<int64_t>(map.sizes[0]);
    unsigned char* from = map.data + inner * kElement;
    unsigned rest = row;
    for (uint32_t d = 1; d < map.rank; ++d) {
      const int64_t at = box.at[d] + int64_t{rest % map.box[d]};
      rest /= map.box[d];
      inside = inside && at >= 0 && at < static_cast<int64_t>(map.sizes[d]);
      from += at * static_cast<int64_t>(map.strides[d]);
    }
    run(row * kRow + (pack ^ row % 8) * kPack, inside ? from : nullptr);
  }
}

CUresult encode(CUtensorMap* result, CUtensorMapDataType, cuuint32_t rank, void* data,
                const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                const cuuint32_t* steps, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  Map map{};
  map.mark = kMark;
  map.data = static_cast<unsigned char*>(data);
  map.rank = rank;
  const auto address = reinterpret_cast<uintptr_t>(data);
  bool right = rank >= 3 && rank <= kMaxRank && address % kPack == 0;
  right = right && swizzle == CU_TENSOR_MAP_SWIZZLE_128B && box[0] * kElement == kRow;
  for (cuuint32_t d = 0; right && d < rank; ++d) {
    right = sizes[d] >= 1 && sizes[d] <= uint64_t{1} << 32 && box[d] >= 1 && box[d] <= 256;
    right = right && steps[d] == 1;
    if (right && d > 0) {
      right = strides[d - 1] % kPack == 0 && strides[d - 1] < uint64_t{1} << 40;
      map.strides[d] = strides[d - 1];
    }
    map.sizes[d] = sizes[d];
    map.box[d] = box[d];
  }
  if (!right) return CUDA_ERROR_INVALID_VALUE;
  // Packs of eight are whole inside or outside: kernels take channels by eights.
  if (sizes[0] % (kPack / kElement) != 0) return CUDA_ERROR_INVALID_VALUE;
  maps.push_back(map);
  if (maps.size() > 4096) maps.pop_front();
  result->opaque[0] = reinterpret_cast<uintptr_t>(&maps.back());
  result->opaque[1] = kMark;
  return CUDA_SUCCESS;
}

Stores& mine() { return stores[static_cast<size_t>(thread_number())]; }

}  // namespace

void* driver_function(const char* name) {
  return std::strcmp(name, "cuTensorMapEncodeTiled") == 0 ? reinterpret_cast<void*>(&encode)
                                                          : nullptr;
}

void begin_boxes(int threads, bool turned) {
  loads.clear();
  last_first = turned;
  stores.assign(static_cast<size_t>(threads), Stores());
  not_yet_shown.clear();
  written.assign(static_cast<size_t>(threads), {});
}

void load_box(unsigned to, const CUtensorMap* map, unsigned barrier, const int* at, int rank) {
  Box box;
  box.map = map_of(map, rank);
  if (!box.map) return;
  std::memcpy(box.at, at, sizeof(int) * static_cast<size_t>(rank));
  box.shared = to;
  box.barrier = barrier;
  unsigned char* memory = memory_of(box);
  if (!memory) return;
  std::memset(memory, 0xFF, box.bytes());
  loads.push_back(box);
}

bool land_box() {
  if (loads.empty()) return false;
  const auto place = last_first ? loads.end() - 1 : loads.begin();
  const Box box = *place;
  loads.erase(place);
  unsigned char* memory = memory_of(box);
  for_packs(box, [&](unsigned at, const unsigned char* from) {
    if (from) {
      std::memcpy(memory + at, from, kPack);
    } else {
      std::memset(memory + at, 0, kPack);
    }
  });
  complete(box.barrier, box.bytes());
  return true;
}

void end_boxes() {
  if (!loads.empty()) fail("a block ends while boxes are on their way to its shared memory");
}

void store_box(const CUtensorMap* map, unsigned from, const int* at, int rank) {
  Box box;
  box.map = map_of(map, rank);
  if (!box.map) return;
  std::memcpy(box.at, at, sizeof(int) * static_cast<size_t>(rank));
  box.shared = from;
  box.group = mine().groups;
  const unsigned char* memory = memory_of(box);
  if (!memory) return;
  box.seen.assign(memory, memory + box.bytes());
  for (unsigned i = 0; i < box.bytes(); i += kPack) {
    if (not_yet_shown.count(from + i)) fail("a store reads what was not shown to it");
  }
  mine().boxes.push_back(box);
}

void commit_stores() { ++mine().groups; }

void wait_stores(int pending) {
  Stores& queue = mine();
  size_t done = 0;
  for (const Box& box : queue.boxes) {
    if (box.group >= queue.groups - pending) break;
    const unsigned char* memory = memory_of(box);
    for_packs(box, [&](unsigned from, unsigned char* to) {
      if (!to) return;
      if (std::memcmp(memory + from, &box.seen[from], kPack) != 0) {
        fail("shared memory is written while a store reads it");
      }
      std::memcpy(to, &box.seen[from], kPack);
    });
    ++done;
  }
  queue.boxes.erase(queue.boxes.begin(), queue.boxes.begin() + static_cast<long>(done));
}

void end_stores() {
  if (!mine().boxes.empty()) fail("a thread ends while stores of its own read shared memory");
}

namespace {

struct StoringLane {
  unsigned address;
  const unsigned* values;
  int thread;
};

void store_together(void* const* given) {
  for (int matrix = 0; matrix < 4; ++matrix) {
    for (int row = 0; row < 8; ++row) {
      const auto* owner = static_cast<StoringLane*>(given[8 * matrix + row]);
      unsigned char* to = at_shared_address(owner->address, kPack);
      if (!to) return;
      for (int pair = 0; pair < 4; ++pair) {
        const auto* lane = static_cast<StoringLane*>(given[4 * row + pair]);
        std::memcpy(to + 4 * pair, &lane->values[matrix], 4);
      }
      not_yet_shown[owner->address] = owner->thread;
      written[static_cast<size_t>(owner->thread)].push_back(owner->address);
    }
  }
}

}  // namespace

void store_matrices(unsigned address, const unsigned* values, int line) {
  StoringLane mine{address, values, thread_number()};
  meet(store_together, &mine, line);
}

void show_writes() {
  const int thread = thread_number();
  for (const unsigned address : written[static_cast<size_t>(thread)]) {
    const auto found = not_yet_shown.find(address);
    if (found != not_yet_shown.end() && found->second == thread) not_yet_shown.erase(found);
  }
  written[static_cast<size_t>(thread)].clear();
}

}  // namespace deltafast::emulation
