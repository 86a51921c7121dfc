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
  uint8_t levels[8 * 2048];
  for (int i = 0; i < table.count; i++)
    for (int level = 0; level < table.levels; level++)
      if (table.values[i] == table.order[level]) levels[i] = (uint8_t)level;
  int64_t total = 0;
  if (at) {
    *at = {table.size, table.bits, points, codes};
    __builtin_memcpy((uint8_t*)(at + 1), levels, (size_t)table.count);
  }
  uint8_t inside[1 << 13] = {};  // a bit a code
  int32_t* const map = at ? (int32_t*)at->map() : nullptr;
  for (int i = 0; i < points; i++) {
    int code = 0;
    for (int k = 0; k < table.size; k++) code |= levels[table.size * i + k] << table.bits * k;
    inside[code >> 3] |= (uint8_t)(1 << (code & 7));
    if (map) map[code] = i;
  }
  for (int code = 0; code < codes; code++) {
    if (inside[code >> 3] >> (code & 7) & 1) continue;
    uint16_t distances[2048], histogram[256] = {};
    for (int i = 0; i < points; i++) {
      int distance = 0;
      for (int k = 0; k < table.size; k++) {
        const int difference = levels[table.size * i + k] - (code >> table.bits * k & mask);
        distance += difference * difference;
      }
      distances[i] = (uint16_t)distance;
      histogram[distance]++;
    }
    const int64_t start = total++;
    int count = 0;
    for (int distance = 0, left = table.rings; left > 0 && distance < 256; distance++) {
      if (histogram[distance] == 0) continue;
      left--;
      for (int i = 0, at = count; neighbours && i < points; i++)
        if (distances[i] == distance) neighbours[total + at++] = (uint16_t)i;
      count += histogram[distance];
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
  return (int64_t)sizeof(Grid) + table.count + 4 * ((int64_t)1 << table.size * table.bits) + 2 * build(table, nullptr, nullptr);
}

void make_grid(int format, void* grid) {
  Table table;
  if (!table_of(format, &table)) return;
  Grid* const made = (Grid*)grid;
  *made = {table.size, table.bits, table.count / table.size, 1 << table.size * table.bits};
  build(table, made, (uint16_t*)made->neighbours(-1));
}
