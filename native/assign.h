/** The nearest centroid of each row, for clustering (lib/segment/clustering.ts). A part of graph.cc, as arguments.h is. */
#pragma once
#include <algorithm>
#include <atomic>
#include <limits>
#include <string>
#include <vector>

#include "arguments.h"
#include "distance.h"
#include "nodes.h"

namespace siltstone {

/**
 * For each of `Rows` packed rows the centroid with the largest inner product less its offset, ties to the first. A centroid
 * that was loaded serves all of the rows, which stay in the cache.
 */
template <size_t Rows>
void NearestCentroids(const float* rows, const float* centroids, const std::vector<float>& offsets, size_t dims,
                      uint32_t* nearest) {
  float best[Rows];
  std::fill_n(best, Rows, -std::numeric_limits<float>::infinity());
  std::fill_n(nearest, Rows, 0);
  for (size_t i = 0; i < offsets.size(); i++) {
    const float* centroid = centroids + i * dims;
    Lanes sums[Rows] = {};
    size_t at = 0;
    for (; at + lanes <= dims; at += lanes) {
      Lanes column, value;
      Load(column, centroid + at);
      for (size_t row = 0; row < Rows; row++) {
        Load(value, rows + row * dims + at);
        sums[row] += value * column;
      }
    }
    for (size_t row = 0; row < Rows; row++) {
      float score = -offsets[i];
      for (size_t lane = 0; lane < lanes; lane++) score += sums[row][lane];
      for (size_t j = at; j < dims; j++) score += rows[row * dims + j] * centroid[j];
      if (score <= best[row]) continue;
      best[row] = score;
      nearest[row] = static_cast<uint32_t>(i);
    }
  }
}

/**
 * (rows, centroids, metric, threads, nearestOut): the nearest centroid of each packed row. The dims are what the lengths say.
 * Cosine takes centroids of unit length, and rows of any.
 */
Napi::Value Assign(const Napi::CallbackInfo& info) {
  const bool arrays = IsFloats(info[0]) && IsFloats(info[1]) && IsWords(info[4]);
  const size_t rows = arrays ? info[4].As<Napi::Uint32Array>().ElementLength() : 0;
  const size_t values = arrays ? info[0].As<Napi::Float32Array>().ElementLength() : 0;
  const size_t dims = rows > 0 ? values / rows : 0;
  const std::string metric = info[2].IsString() ? info[2].As<Napi::String>().Utf8Value() : "";
  const size_t centroid_values = arrays ? info[1].As<Napi::Float32Array>().ElementLength() : 0;
  if (dims == 0 || dims * rows != values || centroid_values == 0 || centroid_values % dims != 0 ||
      !SpaceOf(metric, static_cast<uint32_t>(dims))) {
    Fail(info.Env(), "expected packed rows, packed centroids, a metric, and an output for each row");
    return info.Env().Undefined();
  }
  const float* row = info[0].As<Napi::Float32Array>().Data();
  const float* centroids = info[1].As<Napi::Float32Array>().Data();
  uint32_t* nearest = info[4].As<Napi::Uint32Array>().Data();
  // |x − c|² = |x|² − 2 (x·c − |c|²/2)
  std::vector<float> offsets(centroid_values / dims, 0);
  for (size_t i = 0; i < offsets.size() && metric == "l2"; i++) {
    for (size_t j = i * dims; j < (i + 1) * dims; j++) offsets[i] += centroids[j] * centroids[j] / 2;
  }
  constexpr size_t together = 8;
  std::atomic<size_t> next{0};
  InThreads(info[3].As<Napi::Number>().Uint32Value(), [&] {
    for (size_t at = next.fetch_add(together); at < rows; at = next.fetch_add(together)) {
      if (at + together <= rows) {
        NearestCentroids<together>(row + at * dims, centroids, offsets, dims, nearest + at);
      } else {
        for (size_t i = at; i < rows; i++) NearestCentroids<1>(row + i * dims, centroids, offsets, dims, nearest + i);
      }
    }
  });
  return info.Env().Undefined();
}

}  // namespace siltstone
