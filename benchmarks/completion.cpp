// The loop that a C++ programmer would write for matrix completion: one thread, triplets as they come, no locks.
#include <cstdint>

extern "C" void epoch(const std::uint32_t *rows, const std::uint32_t *columns, const double *values, std::int64_t entries,
                      double *left, double *right, std::int64_t rank, double step) {
  for (std::int64_t i = 0; i < entries; ++i) {
    double *l = left + rows[i] * rank, *r = right + columns[i] * rank;
    double product = 0;
    for (std::int64_t k = 0; k < rank; ++k) product += l[k] * r[k];
    const double slope = 2 * (product - values[i]);
    for (std::int64_t k = 0; k < rank; ++k) {
      const double old = l[k];
      l[k] -= step * slope * r[k];
      r[k] -= step * slope * old;
    }
  }
}
