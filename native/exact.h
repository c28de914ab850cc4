/** Hits and their order, and exact search. */
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "distance.h"

namespace siltstone {

struct Hit {
  float distance;
  /** The lower comes first at equal distances: the rank of the row's id where ranks are given, its label where not. */
  uint32_t rank;
  uint32_t label;
  bool operator<(const Hit& other) const {
    return distance < other.distance || (distance == other.distance && rank < other.rank);
  }
};

/** What a product of two vectors may be above that of their norms. */
constexpr float rounding = 1e-5f;
/** Rows that are asked of memory ahead of their turn, up to so many bytes of each. */
constexpr size_t rows_ahead = 2;
constexpr size_t bytes_ahead = 4096;

/**
 * The k nearest of `count` rows, nearest first. `label_at` gives the label of the i-th, `row_of` the vector of a label.
 * `ranks` and `norms` are by label, or null; norms, for inner products, spare the rows that are too short to come near.
 */
template <typename LabelAt, typename RowOf>
std::vector<Hit> Nearest(const float* query, size_t k, Space& space, const uint32_t* ranks, const float* norms,
                         size_t count, LabelAt label_at, RowOf row_of) {
  const auto distance_of = space.get_dist_func();
  const size_t row_bytes = space.get_data_size();
  std::vector<Hit> nearest;
  nearest.reserve(std::min(k, count));
  const size_t dims = row_bytes / sizeof(float);
  const float reach = norms ? std::sqrt(Sum<false>(query, query, dims)) * (1 + rounding) : 0;
  const auto may_be_near = [&](uint32_t label) {
    return norms == nullptr || nearest.size() < k || 1 - norms[label] * reach <= nearest.front().distance;
  };
  for (size_t i = 0; i < count && k > 0; i++) {
    if (i + rows_ahead < count && may_be_near(label_at(i + rows_ahead))) {
      const char* next = reinterpret_cast<const char*>(row_of(label_at(i + rows_ahead)));
      for (size_t at = 0; at < bytes_ahead && at < row_bytes; at += 64) __builtin_prefetch(next + at);
    }
    const uint32_t label = label_at(i);
    if (!may_be_near(label)) continue;
    const float distance = distance_of(query, row_of(label), space.get_dist_func_param());
    if (nearest.size() == k && distance > nearest.front().distance) continue;
    const Hit hit{distance, ranks ? ranks[label] : label, label};
    if (nearest.size() == k) {
      if (!(hit < nearest.front())) continue;
      std::pop_heap(nearest.begin(), nearest.end());
      nearest.back() = hit;
    } else {
      nearest.push_back(hit);
    }
    std::push_heap(nearest.begin(), nearest.end());
  }
  std::sort_heap(nearest.begin(), nearest.end());
  return nearest;
}

}  // namespace siltstone
