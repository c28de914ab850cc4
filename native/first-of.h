/** Finds the row that a vector came with first: a hash table of labels, by their vectors. */
#pragma once
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace siltstone {

constexpr uint32_t nothing = UINT32_MAX;

class FirstOf {
 public:
  explicit FirstOf(size_t dims) : dims_(dims), seed_(std::random_device()()) {}

  /**
   * The label under which this vector is known; from now on `label` if there is none. `vector_of` gives the vector of any
   * label that was handed over.
   */
  template <typename VectorOf>
  uint32_t find_or_add(const float* vector, uint32_t label, VectorOf vector_of) {
    if (2 * (count_ + 1) > labels_.size()) grow(vector_of);
    uint32_t& slot = slot_of(vector, vector_of);
    if (slot != nothing) return slot;
    count_ += 1;
    return slot = label;
  }

 private:
  size_t dims_;
  /** Vectors cannot be chosen so that all fall into the same place. What is found does not depend on it. */
  uint64_t seed_;
  size_t count_ = 0;
  /** Open addressing, at most half full; the length is a power of two. */
  std::vector<uint32_t> labels_;

  template <typename VectorOf>
  uint32_t& slot_of(const float* vector, VectorOf& vector_of) {
    size_t at = hash(vector);
    for (;; at++) {
      uint32_t& slot = labels_[at & (labels_.size() - 1)];
      if (slot == nothing || same(vector, vector_of(slot))) return slot;
    }
  }

  template <typename VectorOf>
  void grow(VectorOf& vector_of) {
    std::vector<uint32_t> old(std::max<size_t>(1024, 2 * labels_.size()), nothing);
    old.swap(labels_);
    for (const uint32_t label : old) {
      if (label != nothing) slot_of(vector_of(label), vector_of) = label;
    }
  }

  bool same(const float* a, const float* b) const {
    for (size_t i = 0; i < dims_; i++) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }

  /** Four chains side by side: one alone would wait for each multiplication. */
  size_t hash(const float* vector) const {
    uint64_t chains[4] = {seed_, seed_ + 1, seed_ + 2, seed_ + 3};
    for (size_t i = 0; i < dims_; i++) {
      uint32_t bits;
      std::memcpy(&bits, vector + i, sizeof(bits));
      if (bits == 0x80000000) bits = 0;  // -0 is 0.
      uint64_t& chain = chains[i % 4];
      chain = (chain ^ bits) * 0x9e3779b97f4a7c15u;
      chain ^= chain >> 32;
    }
    uint64_t hash = 0;
    for (const uint64_t chain : chains) hash = (hash ^ chain) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 32);
  }
};

}  // namespace siltstone
