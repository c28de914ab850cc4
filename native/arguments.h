/**
 * Arguments of the addon's functions, checked before anything is done with them, and answers handed back. The *outputs* of a
 * search are two typed arrays of one length, for labels and distances: that length is k. *Ranks* are by label, or null.
 * A part of graph.cc, the addon's one source: nothing else includes it.
 */
#pragma once
#include <string>
#include <vector>

#include <napi.h>

#include "exact.h"

namespace siltstone {

bool IsFloats(const Napi::Value& value) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array;
}
bool IsWords(const Napi::Value& value) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint32_array;
}
void Fail(Napi::Env env, const std::string& message) { Napi::Error::New(env, message).ThrowAsJavaScriptException(); }

/** Checks (query, labelsOut, distancesOut): the query whole, the outputs of one length, which is k. */
bool Outputs(const Napi::CallbackInfo& info, uint32_t dims, size_t* k) {
  const bool good = IsFloats(info[0]) && info[0].As<Napi::Float32Array>().ElementLength() == dims && IsWords(info[1]) &&
                    IsFloats(info[2]) &&
                    info[1].As<Napi::Uint32Array>().ElementLength() == info[2].As<Napi::Float32Array>().ElementLength();
  if (good) *k = info[1].As<Napi::Uint32Array>().ElementLength();
  else Fail(info.Env(), "expected a query of the right dims and two outputs of one length");
  return good;
}

/** Hands hits over to the outputs; how many. */
Napi::Value Answer(const Napi::CallbackInfo& info, const std::vector<Hit>& hits) {
  uint32_t* labels = info[1].As<Napi::Uint32Array>().Data();
  float* distances = info[2].As<Napi::Float32Array>().Data();
  for (size_t i = 0; i < hits.size(); i++) {
    labels[i] = hits[i].label;
    distances[i] = hits[i].distance;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(hits.size()));
}

/** Checks ranks, which are null or one for each of `rows`. */
bool Ranks(const Napi::CallbackInfo& info, size_t at, size_t rows, const uint32_t** ranks) {
  *ranks = nullptr;
  if (!IsWords(info[at])) return true;
  if (info[at].As<Napi::Uint32Array>().ElementLength() < rows) {
    Fail(info.Env(), "ranks have one for each label");
    return false;
  }
  *ranks = info[at].As<Napi::Uint32Array>().Data();
  return true;
}

}  // namespace siltstone
