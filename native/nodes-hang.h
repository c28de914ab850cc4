/** What hangs on a graph's nodes (nodes.h): copies and strays, in memory and in the file. */
#pragma once
#include <limits>
#include <utility>

#include "nodes.h"

namespace siltstone {

inline void Nodes::add_copy(const float* vector, uint32_t label, tableint original) {
  const tableint place = cur_element_count++;
  std::memset(data_level0_memory_ + place * size_data_per_element_, 0, size_data_per_element_);
  std::memcpy(getDataByInternalId(place), vector, data_size_);
  setExternalLabel(place, label);
  element_levels_[place] = 0;
  linkLists_[place] = nullptr;
  places_[label] = place;
  marks(place) = copy_mark;
  setListCount(get_linklist0(place), 1);
  links(place)[0] = original;
  copies_.add(original, place, max_elements_);
}

/** Links the node to the first of its copies, and each copy to as many others as fit beside its link to the node. */
inline void Nodes::link_copies() {
  std::vector<tableint> met;
  for (size_t place = 0; place < count(); place++) {
    met.clear();
    for (tableint copy = copies_.first(place); copy != nothing; copy = copies_.next(copy)) met.push_back(copy);
    if (met.empty()) continue;
    add_link(place, met[0]);
    for (size_t i = 1; i < met.size(); i++) add_link(met[(i - 1) / (maxM0_ - 1)], met[i]);
  }
}

/** Adds a link; where the list is full, in the place of the farthest. */
inline void Nodes::add_link(tableint from, tableint to) {
  const size_t count = link_count(from);
  size_t at = count;
  if (count < maxM0_) {
    setListCount(get_linklist0(from), count + 1);
  } else {
    // Not of the first, on which the node may hang.
    float farthest = -std::numeric_limits<float>::infinity();
    for (size_t i = 1; i < count; i++) {
      const float distance = distance_between(from, links(from)[i]);
      if (distance <= farthest) continue;
      farthest = distance;
      at = i;
    }
  }
  links(from)[at] = to;
}

/** Takes out the links to copies: in memory neither a search nor hnswlib's insertion knows of them. */
inline void Nodes::unlink_copies() {
  if (copies_.empty()) return;
  std::vector<bool> is_copy(count());
  for (size_t place = 0; place < count(); place++) is_copy[place] = marks(place) & copy_mark;
  for (size_t place = 0; place < count(); place++) {
    tableint* all = links(place);
    size_t kept = 0;
    for (size_t i = 0; i < link_count(place); i++) {
      if (!is_copy[all[i]]) all[kept++] = all[i];
    }
    std::memset(all + kept, 0, (maxM0_ - kept) * sizeof(tableint));
    setListCount(get_linklist0(place), kept);
  }
}

/** Afterwards every node is reached from the entry, over links and strays, that has a link to one which is. */
inline void Nodes::hang_strays() {
  strays_.clear();
  for (size_t place = 0; place < count(); place++) marks(place) &= ~stray_mark;
  std::vector<bool> reached(count());
  std::vector<tableint> next;
  const auto reach = [&](tableint from) {
    reached[from] = true;
    next.push_back(from);
    while (!next.empty()) {
      const tableint node = next.back();
      next.pop_back();
      for (size_t i = 0; i < link_count(node); i++) {
        if (reached[links(node)[i]]) continue;
        reached[links(node)[i]] = true;
        next.push_back(links(node)[i]);
      }
    }
  };
  const auto hang = [&](tableint stray) {
    tableint* all = links(stray);
    tableint* nearest = nullptr;
    for (tableint* link = all; link < all + link_count(stray); link++) {
      if (!reached[*link]) continue;
      if (nearest == nullptr || distance_between(stray, *link) < distance_between(stray, *nearest)) nearest = link;
    }
    if (nearest == nullptr) return false;
    std::swap(*all, *nearest);
    marks(stray) |= stray_mark;
    strays_.add(*all, stray, max_elements_);
    reach(stray);
    return true;
  };
  if (count() > 0) reach(enterpoint_node_);
  for (bool more = true; more;) {
    more = false;
    for (size_t place = 0; place < count(); place++) {
      if (!reached[place] && !(marks(place) & copy_mark) && hang(place)) more = true;
    }
  }
}

/** A mark alone says nothing: versions that do not know it have grown graphs. */
inline void Nodes::hang_again(const std::vector<tableint>& marked) {
  for (const tableint place : marked) {
    const tableint node = links(place)[0];
    const bool hangs = link_count(place) > 0 && node != place && place != enterpoint_node_;
    if (hangs && marks(place) & copy_mark && !(marks(node) & copy_mark) && element_levels_[place] == 0 &&
        std::equal(vector_at(place), vector_at(place) + dims_, vector_at(node))) {
      setListCount(get_linklist0(place), 1);
      copies_.add(node, place, max_elements_);
    } else {
      marks(place) &= ~copy_mark;
      if (hangs && marks(place) & stray_mark) strays_.add(node, place, max_elements_);
    }
  }
  unlink_copies();
}

}  // namespace siltstone
