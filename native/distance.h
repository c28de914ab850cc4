/**
 * The distances of every search and every build. There is one function for each metric, and every caller takes it through
 * its address: equal vectors have equal distances, to the last bit, whatever kind of segment or read compares them.
 */
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "hnswlib/hnswlib.h"

namespace siltstone {

using Space = hnswlib::SpaceInterface<float>;

/** Eight floats: one register of AVX2, two of NEON. */
typedef float Lanes __attribute__((vector_size(32)));
constexpr size_t lanes = 8;
/** Floats of a cache line, and how many lines of a row are asked of memory at once. */
constexpr size_t line = 16;
constexpr size_t lines_ahead = 64;

inline void Load(Lanes& to, const float* from) { std::memcpy(&to, from, sizeof(to)); }

/**
 * The sum of products or of squared differences. hnswlib's own kernels add into one register, and so wait for every
 * addition; four registers keep the processor busy, and a fused multiply-add rounds once.
 */
template <bool squared_difference>
inline float Sum(const float* a, const float* b, size_t dims) {
  Lanes sums[4] = {};
  const auto add = [&](Lanes& sum, size_t at) {
    Lanes x, y;
    Load(x, a + at);
    Load(y, b + at);
    if (squared_difference) sum += (x - y) * (x - y);
    else sum += x * y;
  };
  size_t at = 0;
  for (; at + 4 * lanes <= dims; at += 4 * lanes) {
    for (size_t i = 0; i < 4; i++) add(sums[i], at + i * lanes);
  }
  for (; at + lanes <= dims; at += lanes) add(sums[0], at);
  const Lanes all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float sum = ((all[0] + all[4]) + (all[1] + all[5])) + ((all[2] + all[6]) + (all[3] + all[7]));
  for (; at < dims; at++) sum += squared_difference ? (a[at] - b[at]) * (a[at] - b[at]) : a[at] * b[at];
  return sum;
}

/** Needed seldom, and so kept out of the loop that is run for every row. */
__attribute__((noinline, cold)) inline float HalfSquaredDifference(const float* a, const float* b, size_t dims) {
  return Sum<true>(a, b, dims) / 2;
}

enum class Metric { l2, ip, cosine };

/** Below this a cosine distance is taken from the difference of the vectors. */
constexpr float cosine_near = 1.0f / 1024;

template <Metric metric>
float Distance(const void* left, const void* right, const void* dims_at) {
  const float* a = static_cast<const float*>(left);
  const float* b = static_cast<const float*>(right);
  const size_t dims = *static_cast<const size_t*>(dims_at);
  // hnswlib asks memory for a row's first bytes only, and it lies anywhere.
  for (size_t i = line; i < dims && i < lines_ahead * line; i += line) __builtin_prefetch(b + i);
  if (metric == Metric::l2) return Sum<true>(a, b, dims);
  const float distance = 1.0f - Sum<false>(a, b, dims);
  if (metric == Metric::ip) return distance;
  // For unit vectors 1 - a·b is half of |a - b|²: next to 0 the former is rounding alone, and may be below it; the latter
  // is exact, and 0 for the same vector.
  if (__builtin_expect(distance < cosine_near, 0)) return HalfSquaredDifference(a, b, dims);
  return distance > 2 ? 2 : distance;
}

class DistanceSpace : public Space {
 public:
  DistanceSpace(hnswlib::DISTFUNC<float> distance, size_t dims) : distance_(distance), dims_(dims) {}
  size_t get_data_size() override { return dims_ * sizeof(float); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return distance_; }
  void* get_dist_func_param() override { return &dims_; }

 private:
  hnswlib::DISTFUNC<float> distance_;
  size_t dims_;
};

/** Null for an unknown metric or too many dims. */
inline std::unique_ptr<Space> SpaceOf(const std::string& metric, uint32_t dims) {
  if (dims == 0 || dims > 65536) return nullptr;
  if (metric == "l2") return std::make_unique<DistanceSpace>(Distance<Metric::l2>, dims);
  if (metric == "ip") return std::make_unique<DistanceSpace>(Distance<Metric::ip>, dims);
  if (metric == "cosine") return std::make_unique<DistanceSpace>(Distance<Metric::cosine>, dims);
  return nullptr;
}

}  // namespace siltstone
