// Makes the grids: for each code that is no point, which points lie nearest.
#include "grids.h"
#include "formats-tables.h"

namespace {

/** A table's values, ascending, are its levels. */
struct Table {
  const uint8_t* values;
  int count, size, bits, rings;
  const uint8_t* order;
  int levels;
};

constexpr uint8_t sizes_iq2[] = {8, 25, 43}, sizes_iq3_xxs[] = {4, 12, 20, 28, 36, 44, 52, 62}, sizes_iq3_s[] = {1, 3, 5, 7, 9, 11, 13, 15};
constexpr uint8_t shifts_iq1[] = {255, 0, 1};

bool table_of(int format, Table* table) {
  switch (format) {
    case IQ1_S:
    case IQ1_M: *table = {(const uint8_t*)iq1_grid, sizeof iq1_grid, 8, 2, 3, shifts_iq1, 3}; return true;
    case IQ2_XXS: *table = {iq2xxs_grid, sizeof iq2xxs_grid, 8, 2, 2, sizes_iq2, 3}; return true;
    case IQ2_XS: *table = {iq2xs_grid, sizeof iq2xs_grid, 8, 2, 2, sizes_iq2, 3}; return true;
    case IQ2_S: *table = {iq2s_grid, sizeof iq2s_grid, 8, 2, 1, sizes_iq2, 3}; return true;
    case IQ3_XXS: *table = {iq3xxs_grid, sizeof iq3xxs_grid, 4, 3, 2, sizes_iq3_xxs, 8}; return true;
    case IQ3_S: *table = {iq3s_grid, sizeof iq3s_grid, 4, 3, 3, sizes_iq3_s, 8}; return true;
    default: return false;
  }
}

/** Puts the grid; with `at` and `neighbours` null it only counts. Returns how many numbers the neighbours take. */
int64_t build(const Table& table, Grid* at, uint16_t* neighbours) {
  const int points = table.count / table.size, codes = 1 << table.size * table.bits, mask = (1 << table.bits) - 1;
  // Level k of all points, one behind the other: the loops over points are then loops over bytes side by side.
  alignas(64) uint8_t levels[8][2048] = {};
  for (int i = 0; i < points; i++)
    for (int k = 0; k < table.size; k++)
      for (int level = 0; level < table.levels; level++)
        if (table.values[table.size * i + k] == table.order[level]) levels[k][i] = (uint8_t)level;
  uint8_t inside[1 << 13] = {};  // a bit a code
  uint16_t code_of[2048];
  int32_t* const map = at ? (int32_t*)at->map() : nullptr;
  for (int i = 0; i < points; i++) {
    int code = 0;
    for (int k = 0; k < table.size; k++) code |= levels[k][i] << table.bits * k;
    inside[code >> 3] |= (uint8_t)(1 << (code & 7));
    code_of[i] = (uint16_t)code;
    if (map) map[code] = i;
  }
  if (at) __builtin_memcpy((uint16_t*)at->code_of_points(), code_of, sizeof(uint16_t) * (size_t)points);
  int64_t total = 0;
  alignas(64) uint8_t distances[2048];
  for (int code = 0; code < codes; code++) {
    if (inside[code >> 3] >> (code & 7) & 1) continue;
    for (int i = 0; i < points; i++) distances[i] = 0;
    for (int k = 0; k < table.size; k++) {
      const uint8_t level = (uint8_t)(code >> table.bits * k & mask);
      for (int i = 0; i < points; i++) {
        const uint8_t difference = (uint8_t)(levels[k][i] - level);
        distances[i] = (uint8_t)(distances[i] + difference * difference);  // at most 4 · 7² or 8 · 2², whatever the difference's sign
      }
    }
    const int64_t start = total++;
    int count = 0, beyond = -1;
    for (int ring = 0; ring < table.rings; ring++) {
      // What is not beyond the last ring wraps around to the far end.
      const uint8_t from = (uint8_t)(beyond + 1);
      uint8_t nearest = 255;
      for (int i = 0; i < points; i++) {
        const uint8_t distance = (uint8_t)(distances[i] - from);
        nearest = distance < nearest ? distance : nearest;
      }
      if (nearest > 255 - from) break;
      beyond = nearest + from;
      int equal = 0;
      for (int i = 0; i < points; i++) equal += distances[i] == beyond;
      for (int i = 0, left = neighbours ? equal : 0; left > 0; i++)
        if (distances[i] == beyond) {
          neighbours[total + count + equal - left] = code_of[i];
          left--;
        }
      count += equal;
    }
    if (neighbours) neighbours[start] = (uint16_t)count;
    if (map) map[code] = (int32_t)(-1 - start);
    total += count;
  }
  return total;
}

}  // namespace

int64_t grid_bytes(int format) {
  Table table;
  if (!table_of(format, &table)) return 0;
  const int64_t codes = (int64_t)1 << table.size * table.bits, points = table.count / table.size;
  // Neighbours are read a vector at a time: the last list may be overrun.
  return (int64_t)sizeof(Grid) + 4 * codes + 2 * points + 2 * build(table, nullptr, nullptr) + 2 * LANES;
}

void make_grid(int format, void* grid) {
  Table table;
  if (!table_of(format, &table)) return;
  Grid* const made = (Grid*)grid;
  *made = {table.size, table.bits, table.count / table.size, 1 << table.size * table.bits};
  build(table, made, (uint16_t*)made->neighbours(-1));
}
