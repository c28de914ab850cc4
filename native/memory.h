/** Memory for a graph's nodes, and threads to work on them. */
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace siltstone {

/** A search hops all over a graph: in pages of 2 MB it misses the processor's table of pages far less often. */
inline void LargePages(void* memory, size_t bytes) {
#ifdef __linux__
  // A smaller piece may share a mapping with others, and nearly fits that table.
  if (bytes < (32 << 20)) return;
  // Whole pages outward, so that it stays one mapping: only that can grow where it is, without a copy.
  constexpr uintptr_t page = 4096;
  const uintptr_t first = reinterpret_cast<uintptr_t>(memory) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes + page - 1) / page * page;
  // Advice only: where the system does not take it, all stays as it is.
  madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
}

struct Memory {
  std::unique_ptr<char, decltype(&std::free)> data{nullptr, std::free};
  size_t bytes = 0;

  /** Throws std::bad_alloc. */
  void allocate(size_t wanted) {
    data.reset(static_cast<char*>(std::malloc(wanted)));
    if (!data) throw std::bad_alloc();
    bytes = wanted;
    LargePages(data.get(), bytes);
  }
};

/** Runs `work`, which does not throw, in so many threads (at least one, this), and waits for all. */
inline void InThreads(size_t threads, const std::function<void()>& work) {
  std::vector<std::thread> others;
  try {
    for (size_t i = 1; i < std::min<size_t>(threads, 64); i++) others.emplace_back(work);
  } catch (const std::exception&) {
    // The system gives no more threads: those that there are do all of it.
  }
  work();
  for (auto& other : others) other.join();
}

}  // namespace siltstone
