/** Exact search as JavaScript calls it: over a graph's own vectors, or over packed rows. A part of graph.cc, as arguments.h is. */
#pragma once
#include <algorithm>

#include "arguments.h"
#include "exact.h"

namespace siltstone {

/**
 * Exact search with the arguments (query, labelsOut, distancesOut, labels): the k nearest of `labels`, or of all `rows`
 * when there are none. Ranks are the argument at `ranks_at`, if any; `row_of` gives the vector of a label below `rows`.
 */
template <typename RowOf>
Napi::Value Exactly(const Napi::CallbackInfo& info, size_t k, Space& space, size_t ranks_at, const float* norms,
                    size_t rows, RowOf row_of) {
  const uint32_t* ranks = nullptr;
  if (!Ranks(info, ranks_at, rows, &ranks)) return info.Env().Undefined();
  const float* query = info[0].As<Napi::Float32Array>().Data();
  if (!IsWords(info[3])) {
    const auto label_at = [](size_t i) { return static_cast<uint32_t>(i); };
    return Answer(info, Nearest(query, k, space, ranks, norms, rows, label_at, row_of));
  }
  const uint32_t* labels = info[3].As<Napi::Uint32Array>().Data();
  const size_t count = info[3].As<Napi::Uint32Array>().ElementLength();
  if (std::any_of(labels, labels + count, [&](uint32_t label) { return label >= rows; })) {
    Fail(info.Env(), "no such label");
    return info.Env().Undefined();
  }
  const auto label_at = [&](size_t i) { return labels[i]; };
  return Answer(info, Nearest(query, k, space, ranks, norms, count, label_at, row_of));
}

/** (query, labelsOut, distancesOut, labels | null, vectors, metric, ranks?): exact search over packed rows. */
Napi::Value ExactRows(const Napi::CallbackInfo& info) {
  const uint32_t dims = IsFloats(info[0]) ? info[0].As<Napi::Float32Array>().ElementLength() : 0;
  const auto space = SpaceOf(info[5].IsString() ? info[5].As<Napi::String>().Utf8Value() : "", dims);
  size_t k = 0;
  if (!space || !IsFloats(info[4])) {
    Fail(info.Env(), "expected a query, two outputs, labels, rows as a Float32Array, and a metric");
    return info.Env().Undefined();
  }
  if (!Outputs(info, dims, &k)) return info.Env().Undefined();
  const auto vectors = info[4].As<Napi::Float32Array>();
  const float* data = vectors.Data();
  return Exactly(info, k, *space, 6, nullptr, vectors.ElementLength() / dims,
                 [data, dims](uint32_t label) { return data + static_cast<size_t>(label) * dims; });
}

}  // namespace siltstone
