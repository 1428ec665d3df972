#include "emulation/warpgroup.h"

#include <array>
#include <cstring>
#include <map>
#include <vector>

#include "emulation/grid.h"

namespace deltafast::emulation {
namespace {

constexpr int kThreads = 128, kMaxSums = 128, kRows = 64, kMaxColumns = 256, kDepth = 16;
constexpr unsigned kElement = 2, kPack = 16;
constexpr int kRegisters = 65536, kMostOfThread = 255, kLeast = 24, kMost = 256, kStep = 8;

// An operand as a descriptor tells: rows of 16 elements, eight of them to a stretch of memory.
struct Operand {
  unsigned address, eight_rows;
};

bool read_descriptor(uint64_t bits, Operand& operand) {
  const auto field = [bits](int at, int count) {
    return static_cast<unsigned>(bits >> at & ((uint64_t{1} << count) - 1));
  };
  operand.address = field(0, 14) << 4;
  operand.eight_rows = field(32, 14) << 4;
  if (field(62, 2) != 1)
    return fail("the emulation's products know the swizzle of 128 bytes alone");
  // Where the pattern of the swizzle begins, in rows of 128 bytes.
  if (field(49, 3) != (operand.address >> 7 & 7)) {
    return fail("a product's operand is not on a multiple of 1,024 bytes, and does not say so");
  }
  return true;
}

// The operand's elements, row by row, as they lie in memory now.
std::vector<uint16_t> elements(const Operand& operand, int rows) {
  std::vector<uint16_t> found(static_cast<size_t>(rows) * kDepth);
  for (int row = 0; row < rows; ++row) {
    for (unsigned pack = 0; pack < kDepth * kElement / kPack; ++pack) {
      unsigned address = operand.address + static_cast<unsigned>(row / 8) * operand.eight_rows +
                         static_cast<unsigned>(row % 8) * 128 + pack * kPack;
      address ^= (address >> 7 & 7) << 4;
      const unsigned char* at = at_shared_address(address, kPack);
      if (!at) return found;
      std::memcpy(&found[static_cast<size_t>(row) * kDepth + pack * (kPack / kElement)], at, kPack);
    }
  }
  return found;
}

struct Product {
  Operand a, b;
  std::vector<uint16_t> left, right;
  std::array<float*, kThreads> sums;
  int columns;
  bool adds;
  Convert convert;
  int group;
};

// What registers held before products had them, and will hold behind those.
struct Sums {
  size_t count = 0;
  std::array<float, kMaxSums> values;
};

struct Warpgroup {
  std::vector<Product> products;  // on their way
  int groups = 0;                 // committed
  bool begun = false;             // begin_products since sums were last touched
  std::map<float*, Sums> sums;    // of registers that products on their way have
  int registers = 0;              // of a thread
};

std::vector<Warpgroup> groups;
int left_over = 0;  // registers that no thread has

Warpgroup& mine() { return groups[static_cast<size_t>(thread_number()) / kThreads]; }

struct Multiplying {
  float* sums;
  int columns;
  uint64_t a, b;
  bool adds;
  Convert convert;
};

void multiply_together(void* const* given) {
  Warpgroup& group = mine();
  const auto* first = static_cast<Multiplying*>(given[0]);
  Product product{{}, {}, {}, {}, {}, first->columns, first->adds, first->convert, group.groups};
  if (!read_descriptor(first->a, product.a) || !read_descriptor(first->b, product.b)) return;
  for (int t = 0; t < kThreads; ++t) {
    const auto* of = static_cast<Multiplying*>(given[t]);
    if (of->a != first->a || of->b != first->b || of->adds != first->adds ||
        of->columns != first->columns) {
      fail("the threads of a warpgroup multiply different operands");
      return;
    }
    product.sums[static_cast<size_t>(t)] = of->sums;
    const bool on_its_way = group.sums.count(of->sums) != 0;
    if (!on_its_way && !group.begun) {
      fail("a product begins before its registers may be used (wgmma.fence)");
      return;
    }
    if (!on_its_way) {
      Sums& kept = group.sums[of->sums];
      kept.count = static_cast<size_t>(of->columns) / 2;
      std::memcpy(kept.values.data(), of->sums, sizeof(float) * kept.count);
      std::memset(of->sums, 0xFF, sizeof(float) * kept.count);
    }
  }
  product.left = elements(product.a, kRows);
  product.right = elements(product.b, product.columns);
  group.products.push_back(std::move(product));
}

void finish(Warpgroup& group, const Product& product) {
  if (elements(product.a, kRows) != product.left ||
      elements(product.b, product.columns) != product.right) {
    fail("shared memory is written while a product reads it");
    return;
  }
  float left[kRows][kDepth], right[kDepth][kMaxColumns], sums[kRows][kMaxColumns] = {};
  for (int i = 0; i < kRows * kDepth; ++i) {
    left[i / kDepth][i % kDepth] = product.convert(product.left[static_cast<size_t>(i)]);
  }
  for (int i = 0; i < product.columns * kDepth; ++i) {
    right[i % kDepth][i / kDepth] = product.convert(product.right[static_cast<size_t>(i)]);
  }
  for (int row = 0; row < kRows; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < product.columns; ++column) {
        sums[row][column] += left[row][k] * right[k][column];
      }
    }
  }
  for (int t = 0; t < kThreads; ++t) {
    Sums& kept = group.sums[product.sums[static_cast<size_t>(t)]];
    const int lane = t % 32, row = t / 32 * 16 + lane / 4;
    for (int i = 0; i < product.columns / 2; ++i) {
      const float sum = sums[row + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2];
      float& value = kept.values[static_cast<size_t>(i)];
      value = product.adds ? value + sum : sum;
    }
  }
}

// Gives registers their sums that no product on its way has any more.
void give_back(Warpgroup& group) {
  for (auto at = group.sums.begin(); at != group.sums.end();) {
    bool on_its_way = false;
    for (const Product& product : group.products) {
      for (const float* sums : product.sums) on_its_way = on_its_way || sums == at->first;
    }
    if (on_its_way) {
      ++at;
      continue;
    }
    for (size_t i = 0; i < sizeof(float) * at->second.count; ++i) {
      if (reinterpret_cast<const unsigned char*>(at->first)[i] != 0xFF) {
        fail("registers are written while a product has them");
        break;
      }
    }
    std::memcpy(at->first, at->second.values.data(), sizeof(float) * at->second.count);
    at = group.sums.erase(at);
  }
}

void begin_together(void* const*) { mine().begun = true; }

void commit_together(void* const*) { ++mine().groups; }

void wait_together(void* const* given) {
  Warpgroup& group = mine();
  const int pending = *static_cast<const int*>(given[0]);
  size_t done = 0;
  for (const Product& product : group.products) {
    if (product.group >= group.groups - pending) break;
    finish(group, product);
    ++done;
  }
  group.products.erase(group.products.begin(), group.products.begin() + static_cast<long>(done));
  give_back(group);
  if (group.products.empty()) group.begun = false;
}

struct Changing {
  int registers;
  bool more;
};

void change_together(void* const* given) {
  const auto* wanted = static_cast<const Changing*>(given[0]);
  Warpgroup& group = mine();
  const int registers = wanted->registers;
  if (registers % kStep != 0 || registers < kLeast || registers > kMost ||
      (wanted->more ? registers < group.registers : registers > group.registers)) {
    fail("registers of a warpgroup are multiples of 8, given up or taken as it is said");
    return;
  }
  left_over += (group.registers - registers) * kThreads;
  group.registers = registers;
}

}  // namespace

void begin_groups(int threads) {
  groups.assign(static_cast<size_t>((threads + kThreads - 1) / kThreads), Warpgroup());
  int each = kRegisters / threads / kStep * kStep;
  if (each > kMostOfThread) each = kMostOfThread / kStep * kStep;
  for (Warpgroup& group : groups) group.registers = each;
  left_over = kRegisters - each * threads;
}

void begin_products(int line) { meet_group(begin_together, nullptr, line); }

void multiply_async(float* sums, int columns, uint64_t a, uint64_t b, bool adds, Convert convert,
                    int line) {
  Multiplying given{sums, columns, a, b, adds, convert};
  meet_group(multiply_together, &given, line);
}

void commit_products(int line) { meet_group(commit_together, nullptr, line); }

void wait_products(int pending, int line) { meet_group(wait_together, &pending, line); }

void change_registers(int registers, bool more, int line) {
  Changing given{registers, more};
  const Warpgroup& group = mine();
  if (more) wait_until([&] { return (registers - group.registers) * kThreads <= left_over; });
  meet_group(change_together, &given, line);
}

}  // namespace deltafast::emulation
