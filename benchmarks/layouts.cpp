// One streamed least-squares epoch of SGD per way to store the rows: the same loop, compiled for each of them.
// Each thread has weights of its own and its part of the rows: what replicas cost that are never merged.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>
#ifdef __linux__
#include <sched.h>
#endif
#ifdef __AVX2__
#include <immintrin.h>
#endif

struct Job {
  const void *indices, *values;
  const std::int64_t *starts, *positions;  // of a row's values, and of its indices where these are codes
  const double *targets;
  std::int64_t rows, features, epochs, threads;
  double step, scale;  // a value is what is stored times the scale
  void *weights;       // out: of each thread
};

struct Bfloat16 {
  std::uint16_t bits;
};

template <class Number> Number plain(Number stored) { return stored; }
inline float plain(Bfloat16 stored) {
  const std::uint32_t bits = std::uint32_t(stored.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Indices and values in arrays apart.
template <class Index, class Value> struct Apart {
  const Index *indices;
  const Value *values;
  explicit Apart(const Job &job)
      : indices(static_cast<const Index *>(job.indices)), values(static_cast<const Value *>(job.values)) {}
  void enter(std::int64_t, std::int64_t, std::int64_t) {}
  std::uint64_t index(std::int64_t entry) const { return indices[entry]; }
  auto value(std::int64_t entry) const { return plain(values[entry]); }
};

// Each value next to its index.
template <class Value> struct __attribute__((packed)) Pair {
  std::uint32_t index;
  Value value;
};
template <class Value> struct Packed {
  const Pair<Value> *pairs;
  explicit Packed(const Job &job) : pairs(static_cast<const Pair<Value> *>(job.values)) {}
  void enter(std::int64_t, std::int64_t, std::int64_t) {}
  std::uint64_t index(std::int64_t entry) const { return pairs[entry].index; }
  Value value(std::int64_t entry) const { return pairs[entry].value; }
};

// An index as its 16-bit distance from the one before it; 0xFFFF says that a distance of 32 bits follows, low half
// first. A row is decoded into a buffer that stays in the first-level cache.
template <class Value> struct Deltas : Apart<std::uint16_t, Value> {
  const std::int64_t *positions;
  std::int64_t base = 0;
  std::vector<std::uint32_t> row;
  explicit Deltas(const Job &job) : Apart<std::uint16_t, Value>(job), positions(job.positions) {
    std::int64_t longest = 0;
    for (std::int64_t i = 0; i < job.rows; ++i) longest = std::max(longest, job.starts[i + 1] - job.starts[i]);
    row.resize(longest);
  }
  void enter(std::int64_t number, std::int64_t first, std::int64_t last) {
    const std::uint16_t *code = this->indices + positions[number];
    std::uint32_t index = 0, *out = row.data();
    for (std::int64_t entry = first; entry < last; ++entry) {
      std::uint32_t distance = *code++;
      if (__builtin_expect(distance == 0xFFFF, 0)) {
        distance = code[0] | std::uint32_t(code[1]) << 16;
        code += 2;
      }
      *out++ = index += distance;
    }
    base = first;
  }
  std::uint64_t index(std::int64_t entry) const { return row[entry - base]; }
};

template <class Weight, class Layout>
Weight dot_from(const Layout &layout, std::int64_t entry, std::int64_t last, const Weight *weights) {
  Weight sums[4] = {};
  for (; entry + 4 <= last; entry += 4)
    for (int lane = 0; lane < 4; ++lane)
      sums[lane] += Weight(layout.value(entry + lane)) * weights[layout.index(entry + lane)];
  for (; entry < last; ++entry) sums[0] += Weight(layout.value(entry)) * weights[layout.index(entry)];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

template <class Weight, class Layout>
Weight dot(const Layout &rows, std::int64_t entry, std::int64_t last, const Weight *weights) {
  return dot_from(rows, entry, last, weights);
}

// The plain layout, one instruction gathering 4 or 8 weights. What its target held is an input to it, so that one gather
// would wait for the one before: it is given a zero, and a mask that the compiler cannot know to hide it.
template <int width> struct Gathered : Apart<std::uint32_t, double> {
  using Apart::Apart;
};
#ifdef __AVX2__
inline double dot(const Gathered<4> &rows, std::int64_t entry, std::int64_t last, const double *weights) {
  __m256d sums = _mm256_setzero_pd();
  const __m256d zero = sums;
  __m256d all = _mm256_castsi256_pd(_mm256_set1_epi64x(-1));
  asm("" : "+x"(all));
  for (; entry + 4 <= last; entry += 4) {
    const __m128i at = _mm_loadu_si128(reinterpret_cast<const __m128i *>(rows.indices + entry));
    const __m256d gathered = _mm256_mask_i32gather_pd(zero, weights, at, all, 8);
    sums = _mm256_add_pd(sums, _mm256_mul_pd(_mm256_loadu_pd(rows.values + entry), gathered));
  }
  double lanes[4];
  _mm256_storeu_pd(lanes, sums);
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + dot_from(rows, entry, last, weights);
}
#endif
#ifdef __AVX512F__
inline double dot(const Gathered<8> &rows, std::int64_t entry, std::int64_t last, const double *weights) {
  __m512d sums = _mm512_setzero_pd();
  const __m512d zero = sums;
  __mmask8 all = 0xFF;
  asm("" : "+k"(all));
  for (; entry + 8 <= last; entry += 8) {
    const __m256i at = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows.indices + entry));
    const __m512d gathered = _mm512_mask_i32gather_pd(zero, all, at, weights, 8);
    sums = _mm512_add_pd(sums, _mm512_mul_pd(_mm512_loadu_pd(rows.values + entry), gathered));
  }
  return _mm512_reduce_add_pd(sums) + dot_from(rows, entry, last, weights);
}
#endif

// Weights are not among the data: said for all layouts, or those whose types differ from the weights' would gain.
template <class Weight, class Layout>
void epoch(Layout &layout, const Job &job, std::int64_t begin, std::int64_t end, Weight *__restrict weights) {
  const Weight scale = Weight(job.scale), step = Weight(job.step);
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t first = job.starts[row], last = job.starts[row + 1];
    layout.enter(row, first, last);
    const Weight product = dot(layout, first, last, static_cast<const Weight *>(weights));
    const Weight move = step * scale * 2 * (scale * product - Weight(job.targets[row]));
    for (std::int64_t entry = first; entry < last; ++entry)
      weights[layout.index(entry)] -= move * Weight(layout.value(entry));
  }
}

void pin(std::int64_t number) {
#ifdef __linux__
  cpu_set_t allowed, chosen;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &allowed) && number-- == 0) {
      CPU_ZERO(&chosen);
      CPU_SET(core, &chosen);
      sched_setaffinity(0, sizeof chosen, &chosen);
    }
#endif
}

// Returns the seconds from the first thread's begin to the last one's end.
template <class Weight, class Layout> double run(const Job &job) {
  using Clock = std::chrono::steady_clock;
  std::atomic<std::int64_t> missing(job.threads);
  std::vector<Clock::time_point> begins(job.threads), ends(job.threads);
  std::vector<std::thread> threads;
  for (std::int64_t mine = 0; mine < job.threads; ++mine)
    threads.emplace_back([&, mine] {
      pin(mine);
      Layout layout(job);
      std::vector<Weight> weights(job.features);
      --missing;
      while (missing) std::this_thread::yield();
      begins[mine] = Clock::now();
      for (std::int64_t i = 0; i < job.epochs; ++i)
        epoch(layout, job, job.rows * mine / job.threads, job.rows * (mine + 1) / job.threads, weights.data());
      ends[mine] = Clock::now();
      std::copy(weights.begin(), weights.end(), static_cast<Weight *>(job.weights) + mine * job.features);
    });
  for (auto &thread : threads) thread.join();
  const auto begin = *std::min_element(begins.begin(), begins.end());
  return std::chrono::duration<double>(*std::max_element(ends.begin(), ends.end()) - begin).count();
}

#define LAYOUT(name, ...) extern "C" double name(const Job *job) { return run<__VA_ARGS__>(*job); }

LAYOUT(u32_f64, double, Apart<std::uint32_t, double>)
LAYOUT(u32_f32, double, Apart<std::uint32_t, float>)
LAYOUT(u32_f32_f32, float, Apart<std::uint32_t, float>)
LAYOUT(u16_f64, double, Apart<std::uint16_t, double>)
LAYOUT(delta_f64, double, Deltas<double>)
LAYOUT(u32_bf16, double, Apart<std::uint32_t, Bfloat16>)
LAYOUT(u32_i16, double, Apart<std::uint32_t, std::int16_t>)
LAYOUT(u16_bf16, double, Apart<std::uint16_t, Bfloat16>)
LAYOUT(pair_f32, double, Packed<float>)
LAYOUT(pair_f64, double, Packed<double>)
#ifdef __AVX2__
LAYOUT(gather4, double, Gathered<4>)
#endif
#ifdef __AVX512F__
LAYOUT(gather8, double, Gathered<8>)
#endif
