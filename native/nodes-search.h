/**
 * Searching a graph. It is hnswlib's search but for what that leaves to luck:
 *
 * - Rows that tie with the last of the list are looked at and walked through too, so that which of them are answered is for
 *   their ranks to say, and not for the way that led there.
 * - A node counts once, however many rows have its vector, and whichever of them are accepted.
 * - It gives up when it has visited so many nodes that exact search would have been cheaper.
 * - It says so when what it found is far from the query, by the graph's measure: links join neighbours, and do not lead to
 *   the nearest of those that are all far away. (Of 300 outliers among 20,000 rows it would lose 42, and find 0.65 of the ten
 *   nearest. Real queries' 1,000th is at most 2 of the usual link away, outliers' nearest 7 and more.)
 */
#pragma once
#include "exact.h"
#include "nodes.h"

namespace siltstone {

/** How many times as long as the usual link the way to a row may be that a graph is trusted to have found. */
constexpr float far = 4;

/** What a search is asked. Bytes and ranks are by label. */
struct Asked {
  const float* query;
  size_t k;
  /** Nodes that the list of the nearest holds, at least k. */
  size_t ef;
  size_t visits_max;
  /** A byte for each label, not 0 where its row may be found; null for all. */
  const uint8_t* accepted;
  const uint32_t* ranks;
};

class Search {
 public:
  Search(Nodes& nodes, const Asked& asked) : nodes_(nodes), asked_(asked) {}

  /** False when exact search should answer instead. */
  bool run() {
    if (nodes_.count() == 0) return true;
    const auto release = [&](hnswlib::VisitedList* list) { nodes_.visited_list_pool_->releaseVisitedList(list); };
    const std::unique_ptr<hnswlib::VisitedList, decltype(release)> visited(
        nodes_.visited_list_pool_->getFreeVisitedList(), release);
    if (!walk(descend(), *visited)) return false;
    collect();
    return hits_.empty() || hits_.back().distance <= far * nodes_.usual_link();
  }
  /** Nearest first. */
  const std::vector<Hit>& hits() const { return hits_; }

 private:
  struct Near {
    float distance;
    tableint node;
    bool operator<(const Near& other) const { return distance < other.distance; }
    bool operator>(const Near& other) const { return distance > other.distance; }
  };
  Nodes& nodes_;
  const Asked& asked_;
  /** Nodes to visit, the nearest on top. */
  std::vector<Near> frontier_;
  /** The nearest nodes that have an accepted row, the farthest on top; and those that tie with it and find no space there. */
  std::vector<Near> list_, ties_;
  float bound_ = std::numeric_limits<float>::infinity();
  size_t visits_ = 0;
  std::vector<Hit> hits_;

  float distance_to(tableint node) const {
    return nodes_.fstdistfunc_(asked_.query, nodes_.getDataByInternalId(node), nodes_.dist_func_param_);
  }
  bool accepts(tableint place) const {
    if (nodes_.num_deleted_ > 0 && nodes_.isMarkedDeleted(place)) return false;
    return asked_.accepted == nullptr || asked_.accepted[nodes_.getExternalLabel(place)] != 0;
  }
  bool accepts_any(tableint node) const {
    if (accepts(node)) return true;
    for (tableint copy = nodes_.copies().first(node); copy != nothing; copy = nodes_.copies().next(copy)) {
      if (accepts(copy)) return true;
    }
    return false;
  }

  /** Walks down the upper layers, to the node of level 0 where a search begins. */
  tableint descend() const {
    tableint node = nodes_.enterpoint_node_;
    float nearest = distance_to(node);
    for (int level = nodes_.maxlevel_; level > 0; level--) {
      for (bool moved = true; moved;) {
        moved = false;
        const uint32_t* words = nodes_.get_linklist(node, level);
        for (size_t i = 1; i <= words[0]; i++) {
          const float distance = distance_to(words[i]);
          if (distance >= nearest) continue;
          nearest = distance;
          node = words[i];
          moved = true;
        }
      }
    }
    return node;
  }

  bool walk(tableint entry, hnswlib::VisitedList& list) {
    auto* visited = list.mass;
    const auto tag = list.curV;
    std::vector<tableint> fresh;
    const auto look_at = [&](tableint node) {
      if (visited[node] == tag) return;
      visited[node] = tag;
      fresh.push_back(node);
      __builtin_prefetch(nodes_.getDataByInternalId(node));
    };
    visited[entry] = tag;
    meet({distance_to(entry), entry});
    while (!frontier_.empty() && !(frontier_.front().distance > bound_)) {
      if (++visits_ > asked_.visits_max) return false;
      const tableint node = frontier_.front().node;
      std::pop_heap(frontier_.begin(), frontier_.end(), std::greater<>());
      frontier_.pop_back();
      const uint32_t* words = nodes_.get_linklist0(node);
      const size_t links = words[0] & 0xffff;
      fresh.clear();
      for (size_t i = 1; i <= links; i++) look_at(words[i]);
      const Chains& strays = nodes_.strays();
      for (tableint stray = strays.first(node); stray != nothing; stray = strays.next(stray)) look_at(stray);
      for (const tableint met : fresh) {
        const float distance = distance_to(met);
        if (distance <= bound_) meet({distance, met});
      }
    }
    return true;
  }

  /** A node that is not farther than the farthest of the list. */
  void meet(Near near) {
    frontier_.push_back(near);
    std::push_heap(frontier_.begin(), frontier_.end(), std::greater<>());
    if (!accepts_any(near.node)) return;
    if (near.distance == bound_) {
      ties_.push_back(near);
      return;
    }
    list_.push_back(near);
    std::push_heap(list_.begin(), list_.end());
    if (list_.size() > asked_.ef) {
      const Near farthest = list_.front();
      std::pop_heap(list_.begin(), list_.end());
      list_.pop_back();
      if (farthest.distance == list_.front().distance) ties_.push_back(farthest);
      else ties_.clear();
    }
    if (list_.size() == asked_.ef) bound_ = list_.front().distance;
  }

  void add(float distance, tableint place) {
    if (!accepts(place)) return;
    const uint32_t label = static_cast<uint32_t>(nodes_.getExternalLabel(place));
    hits_.push_back({distance, asked_.ranks ? asked_.ranks[label] : label, label});
  }

  /** The rows of the nodes that were found, in their order, k of them. */
  void collect() {
    list_.insert(list_.end(), ties_.begin(), ties_.end());
    std::sort(list_.begin(), list_.end());
    for (const auto& [distance, node] : list_) {
      if (hits_.size() >= asked_.k && distance > hits_.back().distance) break;
      add(distance, node);
      for (tableint copy = nodes_.copies().first(node); copy != nothing; copy = nodes_.copies().next(copy)) {
        add(distance, copy);
      }
    }
    const size_t answered = std::min(hits_.size(), asked_.k);
    std::partial_sort(hits_.begin(), hits_.begin() + answered, hits_.end());
    hits_.resize(answered);
  }
};

}  // namespace siltstone
