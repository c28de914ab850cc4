/**
 * hnswlib's graph as Siltstone builds and keeps it. Two things that hnswlib does not know of hang on its nodes:
 *
 * - Copies. A vector has one node, however often it comes: its other rows are copies of it, which no search and no
 *   insertion walks through. A thousand copies would fill the list of every search that comes by, link to nothing but
 *   each other, and hide what lies behind them.
 * - Strays. hnswlib keeps no link to a node whose neighbours all have nearer ones (an outlier, or one of many that are
 *   nearly the same). Such a node hangs on the nearest of its neighbours that can be reached: a search that visits that one looks at it.
 *
 * In the file both are nodes like others, marked by a bit, and the first link of each is the node that it hangs on. So that
 * readers who do not know the marks still find copies, these are linked when the file is written: the node to the first of
 * them, and from there in a tree. In memory no link leads to a copy.
 */
#pragma once
#include <atomic>
#include <cmath>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "distance.h"
#include "file.h"
#include "first-of.h"
#include "memory.h"

namespace siltstone {

using Hnsw = hnswlib::HierarchicalNSW<float>;
using hnswlib::tableint;

/** What hangs on nodes, by place. */
class Chains {
 public:
  bool empty() const { return next_.empty(); }
  tableint first(tableint node) const { return next_.empty() ? nothing : first_[node]; }
  tableint next(tableint hanging) const { return next_[hanging]; }

  void add(tableint node, tableint hanging, size_t capacity) {
    first_.resize(capacity, nothing);
    next_.resize(capacity, nothing);
    next_[hanging] = first_[node];
    first_[node] = hanging;
  }
  void grow(size_t capacity) {
    if (empty()) return;
    first_.resize(capacity, nothing);
    next_.resize(capacity, nothing);
  }
  void clear() {
    first_.clear();
    next_.clear();
  }

 private:
  std::vector<tableint> first_, next_;
};

/** Smallest standard deviation of norms, by their mean, that counts as uneven: of the ten nearest 1.000 are found at 0.02, 0.978 at 0.05, 0.936 at 0.1. */
constexpr double uneven_share = 0.03;
/** Nodes that stand for all of them. */
constexpr size_t sampled_nodes = 128;

class Nodes : public Hnsw {
 public:
  Nodes(Space* space, size_t capacity, size_t m, size_t ef_construction)
      : Hnsw(space, capacity, m, ef_construction), dims_(space->get_data_size() / sizeof(float)), first_of_(dims_),
        insertable_(true) {
    LargePages(data_level0_memory_, max_elements_ * size_data_per_element_);
  }

  /** An index that is to be read. */
  explicit Nodes(Space* space) : Hnsw(space), dims_(space->get_data_size() / sizeof(float)), first_of_(dims_) {
    data_size_ = space->get_data_size();
    fstdistfunc_ = space->get_dist_func();
    dist_func_param_ = space->get_dist_func_param();
  }

  ~Nodes() {
    // hnswlib frees the links of every node that has a level; those that were read lie in one piece of memory.
    if (cur_element_count >= read_) std::fill_n(element_levels_.begin(), read_, 0);
  }

  /** What a file must have been made with. */
  struct Made {
    size_t m;
    size_t ef_construction;
    bool unit_length;
  };
  /** Reads a file as `write` writes it, into `memory` where that is as large as needed. Throws when it does not fit together. */
  void read(const File& file, const Made& made, Memory memory, size_t threads);

  size_t count() const { return cur_element_count; }
  float distance_between(tableint a, tableint b) const {
    return fstdistfunc_(getDataByInternalId(a), getDataByInternalId(b), dist_func_param_);
  }
  const float* vector_of(uint32_t label) const { return vector_at(places_[label]); }
  const Chains& copies() const { return copies_; }
  const Chains& strays() const { return strays_; }
  bool has(double label) const { return label >= 0 && label < static_cast<double>(count()); }

  void mark_deleted(uint32_t label) {
    if (!isMarkedDeleted(places_[label])) markDeletedInternal(places_[label]);
  }

  /** The distance that nine in ten nodes are below with half of their links; infinity for inner products, which are no lengths. */
  float usual_link();

  /** Norms by label, for inner products; else null. */
  const float* norms() const { return norms_.empty() ? nullptr : norms_.data(); }
  /**
   * Whether the graph is fit to be searched. By inner products all links lead to the longest vectors: where norms differ,
   * none lead to most nodes.
   */
  bool even() const { return even_; }

  /** Makes space for `added` more rows, and what only insertion needs. */
  void reserve(size_t added);
  /** Adds packed rows, for which there is space, as labels count, count + 1, …; of unit length for cosine. */
  void insert(const float* rows, size_t added, size_t threads);

  void write(const std::string& path) {
    hang_strays();
    link_copies();
    saveIndex(path);
    unlink_copies();
  }

 private:
  size_t dims_;
  /** Places by label. */
  std::vector<uint32_t> places_;
  Chains copies_, strays_;
  FirstOf first_of_;
  bool insertable_ = false;
  float usual_link_ = -1;
  std::vector<float> norms_;
  bool even_ = true;
  /** Nodes that came from a file, and the links of their upper layers. */
  size_t read_ = 0;
  std::vector<char> upper_links_;

  /** Bits of a node's third byte, behind the number of its links. */
  static constexpr unsigned char deleted_mark = DELETE_MARK, copy_mark = 0x02, stray_mark = 0x04;
  const float* vector_at(tableint place) const { return reinterpret_cast<const float*>(getDataByInternalId(place)); }
  unsigned char& marks(tableint place) { return reinterpret_cast<unsigned char*>(get_linklist0(place))[2]; }
  tableint* links(tableint place) { return get_linklist0(place) + 1; }
  size_t link_count(tableint place) const { return getListCount(get_linklist0(place)); }

  bool by_inner_product() const { return fstdistfunc_ == Distance<Metric::ip>; }
  void compare_norms();

  // nodes-hang.h
  void add_copy(const float* vector, uint32_t label, tableint original);
  void hang_strays();
  void link_copies();
  void unlink_copies();
  void add_link(tableint from, tableint to);
  void hang_again(const std::vector<tableint>& marked);

  // nodes-read.h
  void read_head(const File& file, const Made& made);
  const char* fault_of(tableint place, bool unit_length) const;
  std::vector<tableint> read_level0(const File& file, size_t threads, bool unit_length);
  void read_upper(const File& file);
};

inline void Nodes::reserve(size_t added) {
  const size_t wanted = cur_element_count + added;
  if (wanted > max_elements_) {
    resizeIndex(wanted);
    LargePages(data_level0_memory_, max_elements_ * size_data_per_element_);
  }
  places_.resize(wanted, nothing);
  copies_.grow(wanted);
  strays_.grow(wanted);
  if (insertable_) return;
  std::vector<std::mutex>(max_elements_).swap(link_list_locks_);
  std::vector<std::mutex>(MAX_LABEL_OPERATION_LOCKS).swap(label_op_locks_);
  label_lookup_.reserve(max_elements_);
  for (size_t place = 0; place < count(); place++) label_lookup_[getExternalLabel(place)] = place;
  // The same levels again after every load would make them depend on how often a graph was grown.
  level_generator_.seed(100 + cur_element_count);
  for (size_t place = 0; place < count(); place++) {
    if (marks(place) & copy_mark) continue;
    const uint32_t label = static_cast<uint32_t>(getExternalLabel(place));
    first_of_.find_or_add(vector_of(label), label, [&](uint32_t known) { return vector_of(known); });
  }
  insertable_ = true;
}

inline void Nodes::insert(const float* rows, size_t added, size_t threads) {
  const size_t first = cur_element_count;
  usual_link_ = -1;
  const auto row_of = [&](uint32_t label) { return label < first ? vector_of(label) : rows + (label - first) * dims_; };
  std::vector<uint32_t> known(added);
  for (size_t row = 0; row < added; row++) {
    const uint32_t label = static_cast<uint32_t>(first + row);
    known[row] = first_of_.find_or_add(rows + row * dims_, label, row_of);
  }
  std::atomic<size_t> next{0};
  std::mutex failing;
  std::string failure;
  InThreads(threads, [&] {
    for (size_t row = next++; row < added; row = next++) {
      if (known[row] != first + row) continue;
      try {
        places_[first + row] = addPoint(rows + row * dims_, first + row, -1);
      } catch (const std::exception& error) {
        std::lock_guard<std::mutex> lock(failing);
        failure = error.what();
        next = added;
      }
    }
  });
  if (!failure.empty()) throw std::runtime_error(failure);
  for (size_t row = 0; row < added; row++) {
    if (known[row] != first + row) add_copy(rows + row * dims_, first + row, places_[known[row]]);
  }
  if (!by_inner_product()) return;
  norms_.resize(count());
  for (size_t label = first; label < count(); label++) {
    norms_[label] = std::sqrt(Sum<false>(vector_of(label), vector_of(label), dims_));
  }
  compare_norms();
}

inline float Nodes::usual_link() {
  if (usual_link_ >= 0) return usual_link_;
  std::vector<float> medians, lengths;
  const size_t step = std::max<size_t>(1, count() / sampled_nodes);
  for (size_t node = 0; node < count() && !by_inner_product(); node += step) {
    if (marks(node) & copy_mark) continue;
    lengths.clear();
    for (size_t i = 0; i < link_count(node); i++) lengths.push_back(distance_between(node, links(node)[i]));
    if (lengths.empty()) continue;
    std::nth_element(lengths.begin(), lengths.begin() + lengths.size() / 2, lengths.end());
    medians.push_back(lengths[lengths.size() / 2]);
  }
  if (medians.empty()) return usual_link_ = std::numeric_limits<float>::infinity();
  const auto most = medians.begin() + medians.size() * 9 / 10;
  std::nth_element(medians.begin(), most, medians.end());
  return usual_link_ = *most;
}

inline void Nodes::compare_norms() {
  double sum = 0, squares = 0;
  for (const float norm : norms_) {
    sum += norm;
    squares += static_cast<double>(norm) * norm;
  }
  const double mean = sum / norms_.size();
  even_ = std::sqrt(std::max(0.0, squares / norms_.size() - mean * mean)) <= mean * uneven_share;
}

}  // namespace siltstone
