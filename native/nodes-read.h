/**
 * Reading a graph, which trusts nothing that the file says: whatever its bytes are, either they are refused, or no search
 * and no insertion ever leaves the graph's memory. What was read of the file is looked at while the processor's cache
 * still has it.
 *
 *  1. The head: the sizes are those of the dims and of M, and the file has at least so many bytes.
 *  2. Level 0, piece by piece, by several threads: links are to nodes, labels are each another below the count, vectors
 *     are numbers (of unit length for cosine).
 *  3. The upper layers: a link at a layer leads to a node that has the layer; the entry node has the highest.
 */
#pragma once
#include "nodes-hang.h"

namespace siltstone {

constexpr size_t head_bytes = 96;
/** Bytes of level 0 that are read and looked at at a time: what fits the cache. */
constexpr size_t piece_bytes = 512 << 10;
/** 2^64 nodes of M 2 have 64 layers. */
constexpr int layers_max = 64;
/** The largest squared norm that a vector may have (lib/core/model/vector.ts). */
constexpr float squared_norm_max = 8.507059e37f * 1.0001f;
/** What rounding makes of a squared norm of 1, and more. */
constexpr float unit_slack = 0.001f;

inline void Nodes::read(const File& file, const Made& made, Memory memory, size_t threads) {
  read_head(file, made);
  const size_t bytes = max_elements_ * size_data_per_element_;
  if (memory.bytes != bytes) memory.allocate(bytes);
  data_level0_memory_ = memory.data.release();
  visited_list_pool_.reset(new hnswlib::VisitedListPool(1, max_elements_));
  const std::vector<tableint> marked = read_level0(file, threads, made.unit_length);
  read_upper(file);
  // From here on the destructors free what it says.
  cur_element_count = read_;
  hang_again(marked);
  if (by_inner_product()) compare_norms();
  level_generator_.seed(100);
  update_probability_generator_.seed(101);
}

inline void Nodes::read_head(const File& file, const Made& made) {
  char head[head_bytes];
  file.read(head, head_bytes, 0);
  const char* at = head;
  const auto take = [&](auto& value) {
    std::memcpy(&value, at, sizeof(value));
    at += sizeof(value);
  };
  size_t capacity = 0, count = 0;
  take(offsetLevel0_);
  take(capacity);
  take(count);
  take(size_data_per_element_);
  take(label_offset_);
  take(offsetData_);
  take(maxlevel_);
  take(enterpoint_node_);
  take(maxM_);
  take(maxM0_);
  take(M_);
  take(mult_);
  take(ef_construction_);
  size_links_per_element_ = made.m * sizeof(tableint) + sizeof(hnswlib::linklistsizeint);
  size_links_level0_ = 2 * made.m * sizeof(tableint) + sizeof(hnswlib::linklistsizeint);
  if (M_ != made.m || maxM_ != made.m || maxM0_ != 2 * made.m) file.fail("was not made with M " + std::to_string(made.m));
  if (ef_construction_ != made.ef_construction) {
    file.fail("was not made with efConstruction " + std::to_string(made.ef_construction));
  }
  if (offsetLevel0_ != 0 || offsetData_ != size_links_level0_ || label_offset_ != offsetData_ + data_size_ ||
      size_data_per_element_ != label_offset_ + sizeof(hnswlib::labeltype)) {
    file.fail("is no graph of these dims");
  }
  if (capacity < count || count > (file.bytes() - head_bytes) / size_data_per_element_) {
    file.fail("has not so many nodes");
  }
  // A part that was not looked at is not taken.
  mult_ = 1 / std::log(static_cast<double>(made.m));
  revSize_ = 1.0 / mult_;
  max_elements_ = std::max<size_t>(count, 1);
  read_ = count;
}

/** What is wrong with a node of level 0, or null. */
inline const char* Nodes::fault_of(tableint place, bool unit_length) const {
  const uint32_t* words = get_linklist0(place);
  const size_t links = words[0] & 0xffff;
  if (links > maxM0_ || words[0] >> 16 > (deleted_mark | copy_mark | stray_mark)) return "has a node with too many links";
  uint32_t farthest = 0;
  for (size_t i = 1; i <= links; i++) farthest = std::max(farthest, words[i]);
  if (links > 0 && farthest >= read_) return "has a link to no node";
  const float squared_norm = Sum<false>(vector_at(place), vector_at(place), dims_);
  // NaN is in no range.
  if (!(unit_length ? std::abs(squared_norm - 1) < unit_slack : squared_norm <= squared_norm_max)) {
    return "has a vector that no row has";
  }
  return getExternalLabel(place) < read_ ? nullptr : "has a label that no row has";
}

/** Answers the nodes that are marked as copies or strays. */
inline std::vector<tableint> Nodes::read_level0(const File& file, size_t threads, bool unit_length) {
  places_.assign(read_, nothing);
  if (by_inner_product()) norms_.resize(read_);
  const size_t node_bytes = size_data_per_element_;
  const size_t piece = std::max<size_t>(1, piece_bytes / node_bytes);
  std::atomic<size_t> next{0};
  std::mutex shared;
  std::vector<tableint> marked;
  std::string failure;
  const auto read_piece = [&](size_t first, size_t limit) {
    file.read(data_level0_memory_ + first * node_bytes, (limit - first) * node_bytes, head_bytes + first * node_bytes);
    for (size_t place = first; place < limit; place++) {
      if (const char* fault = fault_of(place, unit_length)) file.fail(fault);
      if (!norms_.empty()) norms_[getExternalLabel(place)] = std::sqrt(Sum<false>(vector_at(place), vector_at(place), dims_));
      // Two nodes of one label leave another label without a node.
      __atomic_store_n(&places_[getExternalLabel(place)], static_cast<uint32_t>(place), __ATOMIC_RELAXED);
      const unsigned char mark = marks(place);
      if (mark == 0) continue;
      std::lock_guard<std::mutex> lock(shared);
      if (mark & deleted_mark) num_deleted_ += 1;
      if (mark & (copy_mark | stray_mark)) marked.push_back(place);
    }
  };
  InThreads(std::min(threads, read_ / piece + 1), [&] {
    try {
      for (size_t first = next.fetch_add(piece); first < read_; first = next.fetch_add(piece)) {
        read_piece(first, std::min(first + piece, read_));
      }
    } catch (const std::exception& error) {
      next = read_;
      std::lock_guard<std::mutex> lock(shared);
      failure = error.what();
    }
  });
  if (!failure.empty()) throw std::runtime_error(failure);
  if (std::find(places_.begin(), places_.end(), nothing) != places_.end()) file.fail("has two nodes of one label");
  std::sort(marked.begin(), marked.end());
  return marked;
}

inline void Nodes::read_upper(const File& file) {
  const size_t start = head_bytes + read_ * size_data_per_element_;
  upper_links_.resize(file.bytes() - start);
  file.read(upper_links_.data(), upper_links_.size(), start);
  linkLists_ = static_cast<char**>(std::calloc(max_elements_, sizeof(char*)));
  if (linkLists_ == nullptr) throw std::bad_alloc();
  element_levels_.assign(max_elements_, 0);
  int highest = read_ > 0 ? 0 : -1;
  size_t at = 0;
  for (size_t place = 0; place < read_; place++) {
    uint32_t bytes = 0;
    if (upper_links_.size() - at < sizeof(bytes)) file.fail("ends early");
    std::memcpy(&bytes, upper_links_.data() + at, sizeof(bytes));
    at += sizeof(bytes);
    if (bytes == 0) continue;
    if (bytes > upper_links_.size() - at) file.fail("ends early");
    if (bytes % size_links_per_element_ != 0) file.fail("has torn links");
    linkLists_[place] = upper_links_.data() + at;
    element_levels_[place] = static_cast<int>(bytes / size_links_per_element_);
    highest = std::max(highest, element_levels_[place]);
    at += bytes;
  }
  if (at != upper_links_.size()) file.fail("goes on after its end");
  const bool entered = read_ == 0 || (enterpoint_node_ < read_ && element_levels_[enterpoint_node_] == highest);
  if (highest > layers_max || maxlevel_ != highest || !entered) file.fail("has no entry node at its highest layer");
  for (size_t place = 0; place < read_; place++) {
    for (int level = 1; level <= element_levels_[place]; level++) {
      const uint32_t* words = get_linklist(place, level);
      if (words[0] > maxM_) file.fail("has a node with too many links");
      for (size_t i = 1; i <= words[0]; i++) {
        if (words[i] >= read_ || element_levels_[words[i]] < level) file.fail("has a link to a node that is not at its layer");
      }
    }
  }
}

}  // namespace siltstone
