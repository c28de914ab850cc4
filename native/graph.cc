/**
 * The addon: hnswlib-node's classes as they are (the yardstick of the benchmarks), and `Graph`, which Siltstone uses.
 *
 * Graph is hnswlib without the costs that a plain JavaScript binding adds:
 * - typed arrays go in and out; nothing is copied into JavaScript arrays;
 * - a filter is a bitmap that C++ reads, not a callback per node;
 * - rows are inserted off the event loop, by as many threads as asked for;
 * - exact search runs over the vectors that the graph holds anyway;
 * - reading a file takes two large reads, and the locks and the label map that only insertion needs are made by the
 *   first insertion;
 * - close() gives the memory back at once.
 *
 * Labels are dense: the i-th row that was ever added is label i. Several threads may place rows in another order, so a
 * node's place in the file is looked up (`places_`), never assumed.
 *
 * Every argument that could harm the process is checked here; what a search returns is for lib/segment/graph.ts to judge.
 */
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <napi.h>

// hnswlib-node's source registers a module of its own; here it becomes a part of this one.
#undef NODE_API_MODULE
#define NODE_API_MODULE(name, init)
#include "addon.cc"

namespace siltstone {

using Hnsw = hnswlib::HierarchicalNSW<float>;
using Space = hnswlib::SpaceInterface<float>;

/** Accepts the labels whose byte is not 0. */
class Accepted : public hnswlib::BaseFilterFunctor {
 public:
  explicit Accepted(const uint8_t* bytes) : bytes_(bytes) {}
  bool operator()(hnswlib::labeltype label) override { return bytes_[label] != 0; }

 private:
  const uint8_t* bytes_;
};

/** A search hops all over a graph: in pages of 2 MB it misses the processor's table of pages far less often. */
void LargePages(void* memory, size_t bytes) {
#ifdef __linux__
  // What is smaller may share a mapping with others, and nearly fits that table.
  if (bytes < (32 << 20)) return;
  // Whole pages outward, so that it stays one mapping: only that can grow where it is, without a copy.
  constexpr uintptr_t page = 4096;
  const uintptr_t first = reinterpret_cast<uintptr_t>(memory) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes + page - 1) / page * page;
  // Advice only: where the system does not take it, all stays as it is.
  madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
}

/** Memory for a graph's nodes. */
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

/** hnswlib's graph, with a reader of its own. */
class Nodes : public Hnsw {
 public:
  Nodes(Space* space, size_t capacity, size_t m, size_t ef_construction)
      : Hnsw(space, capacity, m, ef_construction), insertable_(true) {
    LargePages(data_level0_memory_, max_elements_ * size_data_per_element_);
  }

  /** Reads a file as saveIndex writes it, into `memory` where that is as large as needed. Throws when it does not fit together. */
  Nodes(Space* space, const std::string& path, Memory memory) : Hnsw(space) { read(space, path, std::move(memory)); }

  /** Makes room for `added` more rows, and what only insertion needs. */
  void reserve(size_t added) {
    const size_t wanted = cur_element_count + added;
    if (wanted > max_elements_) {
      resizeIndex(wanted);
      LargePages(data_level0_memory_, max_elements_ * size_data_per_element_);
    }
    if (insertable_) return;
    std::vector<std::mutex>(max_elements_).swap(link_list_locks_);
    std::vector<std::mutex>(MAX_LABEL_OPERATION_LOCKS).swap(label_op_locks_);
    label_lookup_.reserve(max_elements_);
    for (size_t place = 0; place < cur_element_count; place++) label_lookup_[getExternalLabel(place)] = place;
    // The same levels again after every load would make them depend on how often a graph was grown.
    level_generator_.seed(100 + cur_element_count);
    insertable_ = true;
  }

  void mark_deleted(hnswlib::tableint place) {
    if (!isMarkedDeleted(place)) markDeletedInternal(place);
  }

 private:
  bool insertable_ = false;

  void read(Space* space, const std::string& path, Memory memory) {
    const auto closes = [](FILE* file) { std::fclose(file); };
    std::unique_ptr<FILE, decltype(closes)> file(std::fopen(path.c_str(), "rb"), closes);
    if (!file) throw std::runtime_error("cannot open " + path);
    const auto take = [&](void* to, size_t bytes) {
      if (std::fread(to, 1, bytes, file.get()) != bytes) throw std::runtime_error(path + " ends early");
    };
    size_t stored = 0, count = 0;
    take(&offsetLevel0_, sizeof(offsetLevel0_));
    take(&stored, sizeof(stored));
    take(&count, sizeof(count));
    take(&size_data_per_element_, sizeof(size_data_per_element_));
    take(&label_offset_, sizeof(label_offset_));
    take(&offsetData_, sizeof(offsetData_));
    take(&maxlevel_, sizeof(maxlevel_));
    take(&enterpoint_node_, sizeof(enterpoint_node_));
    take(&maxM_, sizeof(maxM_));
    take(&maxM0_, sizeof(maxM0_));
    take(&M_, sizeof(M_));
    take(&mult_, sizeof(mult_));
    take(&ef_construction_, sizeof(ef_construction_));
    data_size_ = space->get_data_size();
    fstdistfunc_ = space->get_dist_func();
    dist_func_param_ = space->get_dist_func_param();
    size_links_per_element_ = maxM_ * sizeof(hnswlib::tableint) + sizeof(hnswlib::linklistsizeint);
    size_links_level0_ = maxM0_ * sizeof(hnswlib::tableint) + sizeof(hnswlib::linklistsizeint);
    if (M_ == 0 || M_ > 10000 || maxM0_ > 20000 || offsetLevel0_ != 0 || offsetData_ != size_links_level0_ ||
        label_offset_ != offsetData_ + data_size_ ||
        size_data_per_element_ != label_offset_ + sizeof(hnswlib::labeltype) || count > UINT32_MAX ||
        (count > 0 && enterpoint_node_ >= count)) {
      throw std::runtime_error(path + " is no graph of these dims");
    }
    max_elements_ = std::max<size_t>(count, 1);
    if (memory.bytes != max_elements_ * size_data_per_element_) memory.allocate(max_elements_ * size_data_per_element_);
    data_level0_memory_ = memory.data.release();
    linkLists_ = static_cast<char**>(std::calloc(max_elements_, sizeof(char*)));
    if (linkLists_ == nullptr) throw std::bad_alloc();
    take(data_level0_memory_, count * size_data_per_element_);
    element_levels_ = std::vector<int>(max_elements_);
    // From here on the destructor frees what cur_element_count says.
    cur_element_count = count;
    std::setvbuf(file.get(), nullptr, _IOFBF, 1 << 20);
    for (size_t place = 0; place < count; place++) {
      unsigned int bytes = 0;
      take(&bytes, sizeof(bytes));
      if (bytes == 0) continue;
      if (bytes % size_links_per_element_ != 0) throw std::runtime_error(path + " has torn links");
      linkLists_[place] = static_cast<char*>(std::malloc(bytes));
      if (linkLists_[place] == nullptr) throw std::runtime_error("out of memory");
      element_levels_[place] = static_cast<int>(bytes / size_links_per_element_);
      take(linkLists_[place], bytes);
    }
    if (std::fgetc(file.get()) != EOF) throw std::runtime_error(path + " goes on after its end");
    for (size_t place = 0; place < count; place++) {
      if (isMarkedDeleted(place)) num_deleted_ += 1;
    }
    revSize_ = 1.0 / mult_;
    visited_list_pool_.reset(new hnswlib::VisitedListPool(1, max_elements_));
    level_generator_.seed(100);
    update_probability_generator_.seed(101);
  }
};

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

/** Runs `work`, which does not throw, in so many threads (at least one, this), and waits for all. */
void InThreads(size_t threads, const std::function<void()>& work) {
  std::vector<std::thread> others;
  try {
    for (size_t i = 1; i < std::min<size_t>(threads, 64); i++) others.emplace_back(work);
  } catch (const std::exception&) {
    // The system gives no more threads: those that there are do all of it.
  }
  work();
  for (auto& other : others) other.join();
}

/** Eight floats: one register of AVX2, two of NEON. */
typedef float Lanes __attribute__((vector_size(32)));
constexpr size_t lanes = 8;
/** Floats of a cache line, and how many lines of a row are asked of memory at once. */
constexpr size_t line = 16;
constexpr size_t lines_ahead = 64;

inline void Load(Lanes& to, const float* from) { std::memcpy(&to, from, sizeof(to)); }

/**
 * The distances, hnswlib's to the last bits but for the order of the sums: its own kernels add into one register, and so
 * wait for every addition; four registers keep the processor busy, and a fused multiply-add rounds once.
 */
template <bool squared_difference>
float Distance(const void* left, const void* right, const void* dims_at) {
  const float* a = static_cast<const float*>(left);
  const float* b = static_cast<const float*>(right);
  const size_t dims = *static_cast<const size_t*>(dims_at);
  // hnswlib asks memory for a row's first bytes only, and it lies anywhere.
  for (size_t i = line; i < dims && i < lines_ahead * line; i += line) __builtin_prefetch(b + i);
  Lanes sums[4] = {};
  const auto add = [&](Lanes& sum, size_t at) {
    Lanes x, y;
    Load(x, a + at);
    Load(y, b + at);
    if (squared_difference) sum += (x - y) * (x - y);
    else sum += x * y;
  };
  size_t at = 0;
  for (; at + 4 * lanes <= dims; at += 4 * lanes) {
    for (size_t i = 0; i < 4; i++) add(sums[i], at + i * lanes);
  }
  for (; at + lanes <= dims; at += lanes) add(sums[0], at);
  const Lanes all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float sum = ((all[0] + all[4]) + (all[1] + all[5])) + ((all[2] + all[6]) + (all[3] + all[7]));
  for (; at < dims; at++) sum += squared_difference ? (a[at] - b[at]) * (a[at] - b[at]) : a[at] * b[at];
  return squared_difference ? sum : 1.0f - sum;
}

class DistanceSpace : public Space {
 public:
  DistanceSpace(bool squared_difference, size_t dims)
      : distance_(squared_difference ? Distance<true> : Distance<false>), dims_(dims) {}
  size_t get_data_size() override { return dims_ * sizeof(float); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return distance_; }
  void* get_dist_func_param() override { return &dims_; }

 private:
  hnswlib::DISTFUNC<float> distance_;
  size_t dims_;
};

std::unique_ptr<Space> SpaceOf(const std::string& metric, uint32_t dims) {
  if (dims == 0 || dims > 65536) return nullptr;
  if (metric != "l2" && metric != "cosine" && metric != "ip") return nullptr;
  return std::make_unique<DistanceSpace>(metric == "l2", dims);
}

struct Hit {
  float distance;
  uint32_t label;
  bool operator<(const Hit& other) const {
    return distance < other.distance || (distance == other.distance && label < other.label);
  }
};

/** Rows that are asked of memory ahead of their turn, up to so many bytes of each. */
constexpr size_t rows_ahead = 2;
constexpr size_t bytes_ahead = 4096;

/**
 * Exact search with the arguments (query, labelsOut, distancesOut, labels): the k nearest of `labels`, or of all `rows`
 * when there are none, ties to the lower label. `row` gives the vector of a label below `rows`.
 */
template <typename Row>
Napi::Value Nearest(const Napi::CallbackInfo& info, size_t k, Space& space, size_t rows, Row row) {
  const bool listed = IsWords(info[3]);
  const uint32_t* labels = listed ? info[3].As<Napi::Uint32Array>().Data() : nullptr;
  const size_t count = listed ? info[3].As<Napi::Uint32Array>().ElementLength() : rows;
  const float* query = info[0].As<Napi::Float32Array>().Data();
  const auto distance_of = space.get_dist_func();
  const size_t row_bytes = space.get_data_size();
  const auto label_at = [&](size_t i) { return listed ? labels[i] : static_cast<uint32_t>(i); };
  std::priority_queue<Hit> nearest;
  for (size_t i = 0; i < count && k > 0; i++) {
    const uint32_t label = label_at(i);
    if (label >= rows) {
      Fail(info.Env(), "no such label");
      return info.Env().Undefined();
    }
    if (i + rows_ahead < count && label_at(i + rows_ahead) < rows) {
      const char* next = reinterpret_cast<const char*>(row(label_at(i + rows_ahead)));
      for (size_t at = 0; at < bytes_ahead && at < row_bytes; at += 64) __builtin_prefetch(next + at);
    }
    const Hit hit{distance_of(query, row(label), space.get_dist_func_param()), label};
    if (nearest.size() < k) {
      nearest.push(hit);
    } else if (hit < nearest.top()) {
      nearest.pop();
      nearest.push(hit);
    }
  }
  const size_t found = nearest.size();
  uint32_t* labels_out = info[1].As<Napi::Uint32Array>().Data();
  float* distances_out = info[2].As<Napi::Float32Array>().Data();
  for (size_t i = found; i-- > 0; nearest.pop()) {
    labels_out[i] = nearest.top().label;
    distances_out[i] = nearest.top().distance;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(found));
}

/** (query, labelsOut, distancesOut, labels | null, vectors, metric): exact search over packed rows. */
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
  return Nearest(info, k, *space, vectors.ElementLength() / dims,
                 [data, dims](uint32_t label) { return data + static_cast<size_t>(label) * dims; });
}

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

class Graph : public Napi::ObjectWrap<Graph> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("Graph", DefineClass(env, "Graph",
                                     {InstanceMethod("create", &Graph::Create),
                                      InstanceMethod("reserve", &Graph::Reserve<false>),
                                      InstanceMethod("reserveSync", &Graph::Reserve<true>),
                                      InstanceMethod("read", &Graph::Read<false>),
                                      InstanceMethod("readSync", &Graph::Read<true>),
                                      InstanceMethod("write", &Graph::Write<false>),
                                      InstanceMethod("writeSync", &Graph::Write<true>),
                                      InstanceMethod("append", &Graph::Append<false>),
                                      InstanceMethod("appendSync", &Graph::Append<true>),
                                      InstanceMethod("markDeleted", &Graph::MarkDeleted),
                                      InstanceMethod("search", &Graph::Search), InstanceMethod("exact", &Graph::Exact),
                                      InstanceMethod("row", &Graph::Row), InstanceMethod("close", &Graph::Close),
                                      InstanceAccessor<&Graph::Count>("count")}));
  }

  explicit Graph(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Graph>(info) {
    const std::string metric = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
    dims_ = info[1].IsNumber() ? info[1].As<Napi::Number>().Uint32Value() : 0;
    space_ = SpaceOf(metric, dims_);
    cosine_ = metric == "cosine";
    if (!space_) Fail(info.Env(), "Graph takes a metric (cosine, l2 or ip) and dims (1 to 65536)");
  }

 private:
  /** Work off the event loop; the graph is busy until it ends. */
  class Work : public Napi::AsyncWorker {
   public:
    Work(Graph* graph, Napi::Env env, Napi::Value keep, std::function<void()> work)
        : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), graph_(graph), work_(std::move(work)) {
      graph_->busy_ = true;
      graph_->Ref();
      if (keep.IsObject()) kept_ = Napi::Persistent(keep.As<Napi::Object>());
    }
    Napi::Promise Promise() const { return deferred_.Promise(); }
    void Execute() override {
      try {
        work_();
      } catch (const std::exception& error) {
        SetError(error.what());
      }
    }
    void OnOK() override {
      Done();
      deferred_.Resolve(Env().Undefined());
    }
    void OnError(const Napi::Error& error) override {
      Done();
      deferred_.Reject(error.Value());
    }

   private:
    Napi::Promise::Deferred deferred_;
    Napi::ObjectReference kept_;
    Graph* graph_;
    std::function<void()> work_;
    void Done() {
      graph_->busy_ = false;
      graph_->Account(Env());
      graph_->Unref();
    }
  };

  uint32_t dims_ = 0;
  bool cosine_ = false;
  bool busy_ = false;
  std::unique_ptr<Space> space_;
  std::unique_ptr<Nodes> nodes_;
  /** For the nodes that read() will bring. */
  Memory reserved_;
  /** Place of each label. */
  std::vector<uint32_t> places_;
  int64_t accounted_ = 0;

  /** Tells V8 how much memory hangs on this object. */
  void Account(Napi::Env env) {
    const int64_t held = nodes_ ? static_cast<int64_t>(nodes_->max_elements_ * nodes_->size_data_per_element_) : 0;
    Napi::MemoryManagement::AdjustExternalMemory(env, held - accounted_);
    accounted_ = held;
  }

  bool Ready(const Napi::CallbackInfo& info, bool with_nodes) {
    if (busy_) Fail(info.Env(), "the graph is busy");
    else if (with_nodes && !nodes_) Fail(info.Env(), "the graph is neither created nor read, or closed");
    else if (!with_nodes && nodes_) Fail(info.Env(), "the graph is in use already");
    else return true;
    return false;
  }

  /** Looks up where the labels from `first` on are; throws unless labels are dense. */
  void FindPlaces(size_t first) {
    const size_t count = nodes_->cur_element_count;
    places_.resize(count, UINT32_MAX);
    for (size_t place = first; place < count; place++) {
      const size_t label = nodes_->getExternalLabel(place);
      if (label >= count || places_[label] != UINT32_MAX) throw std::runtime_error("the graph's labels are not dense");
      places_[label] = static_cast<uint32_t>(place);
    }
  }

  Napi::Value Create(const Napi::CallbackInfo& info) {
    if (!Ready(info, false)) return info.Env().Undefined();
    const uint32_t capacity = std::max(1u, info[0].As<Napi::Number>().Uint32Value());
    const uint32_t m = info[1].As<Napi::Number>().Uint32Value();
    const uint32_t ef_construction = info[2].As<Napi::Number>().Uint32Value();
    if (m < 2 || m > 1000 || ef_construction < 1) {
      Fail(info.Env(), "create takes a capacity, M (2 to 1000) and efConstruction");
      return info.Env().Undefined();
    }
    try {
      nodes_ = std::make_unique<Nodes>(space_.get(), capacity, m, ef_construction);
      Account(info.Env());
    } catch (const std::exception& error) {
      Fail(info.Env(), error.what());
    }
    return info.Env().Undefined();
  }

  /**
   * (count, M): makes memory ready for a file of so many nodes. The system gives pages when they are first touched, which
   * takes as long as reading the file: here while the file is still on its way.
   */
  template <bool sync>
  Napi::Value Reserve(const Napi::CallbackInfo& info) {
    if (!Ready(info, false)) return info.Env().Undefined();
    const size_t count = std::max(1u, info[0].As<Napi::Number>().Uint32Value());
    const size_t links = (2 * static_cast<size_t>(info[1].As<Napi::Number>().Uint32Value()) + 1) * sizeof(hnswlib::tableint);
    const size_t node = links + dims_ * sizeof(float) + sizeof(hnswlib::labeltype);
    return Start<sync>(info, [this, bytes = count * node] {
      reserved_.allocate(bytes);
      for (size_t at = 0; at < bytes; at += 4096) reserved_.data.get()[at] = 0;
    });
  }

  template <bool sync>
  Napi::Value Read(const Napi::CallbackInfo& info) {
    if (!Ready(info, false)) return info.Env().Undefined();
    const std::string path = info[0].As<Napi::String>().Utf8Value();
    return Start<sync>(info, [this, path] {
      try {
        nodes_ = std::make_unique<Nodes>(space_.get(), path, std::move(reserved_));
        FindPlaces(0);
      } catch (...) {
        nodes_.reset();
        throw;
      }
    });
  }

  template <bool sync>
  Napi::Value Write(const Napi::CallbackInfo& info) {
    if (!Ready(info, true)) return info.Env().Undefined();
    const std::string path = info[0].As<Napi::String>().Utf8Value();
    return Start<sync>(info, [this, path] { nodes_->saveIndex(path); });
  }

  template <bool sync>
  Napi::Value Append(const Napi::CallbackInfo& info) {
    if (!Ready(info, true)) return info.Env().Undefined();
    if (!IsFloats(info[0]) || info[0].As<Napi::Float32Array>().ElementLength() % dims_ != 0) {
      Fail(info.Env(), "append takes a Float32Array of whole rows");
      return info.Env().Undefined();
    }
    const auto vectors = info[0].As<Napi::Float32Array>();
    const float* data = vectors.Data();
    const size_t rows = vectors.ElementLength() / dims_;
    const size_t threads = info[1].As<Napi::Number>().Uint32Value();
    return Start<sync>(info, [this, data, rows, threads] { Insert(data, rows, threads); });
  }

  void Insert(const float* data, size_t rows, size_t threads) {
    const size_t first = nodes_->cur_element_count;
    nodes_->reserve(rows);
    std::atomic<size_t> next{0};
    std::mutex failing;
    std::string failure;
    InThreads(threads, [&] {
      std::vector<float> unit(dims_);
      for (size_t row = next++; row < rows; row = next++) {
        const float* vector = data + row * dims_;
        if (cosine_) vector = Unit(vector, unit);
        try {
          nodes_->addPoint(vector, first + row, -1);
        } catch (const std::exception& error) {
          std::lock_guard<std::mutex> lock(failing);
          failure = error.what();
          next = rows;
        }
      }
    });
    if (!failure.empty()) throw std::runtime_error(failure);
    FindPlaces(first);
  }

  const float* Unit(const float* vector, std::vector<float>& unit) const {
    double sum = 0;
    for (uint32_t i = 0; i < dims_; i++) sum += static_cast<double>(vector[i]) * vector[i];
    const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
    for (uint32_t i = 0; i < dims_; i++) unit[i] = static_cast<float>(vector[i] * scale);
    return unit.data();
  }

  template <bool sync, typename F>
  Napi::Value Start(const Napi::CallbackInfo& info, F work) {
    if (sync) {
      try {
        work();
      } catch (const std::exception& error) {
        Fail(info.Env(), error.what());
      }
      Account(info.Env());
      return info.Env().Undefined();
    }
    auto* worker = new Work(this, info.Env(), info[0], std::move(work));
    worker->Queue();
    return worker->Promise();
  }

  Napi::Value MarkDeleted(const Napi::CallbackInfo& info) {
    if (!Ready(info, true)) return info.Env().Undefined();
    const double label = info[0].As<Napi::Number>().DoubleValue();
    if (!(label >= 0 && label < places_.size())) Fail(info.Env(), "no such label");
    else nodes_->mark_deleted(places_[static_cast<size_t>(label)]);
    return info.Env().Undefined();
  }

  /** (query, labelsOut, distancesOut, ef, accepted?): how many were found, nearest first. */
  Napi::Value Search(const Napi::CallbackInfo& info) {
    size_t k = 0;
    if (!Ready(info, true) || !Outputs(info, dims_, &k)) return info.Env().Undefined();
    const size_t ef = info[3].As<Napi::Number>().Uint32Value();
    const uint8_t* accepted = nullptr;
    if (info[4].IsTypedArray()) {
      const auto bytes = info[4].As<Napi::Uint8Array>();
      if (bytes.TypedArrayType() != napi_uint8_array || bytes.ElementLength() < places_.size()) {
        Fail(info.Env(), "accepted has a byte for each label");
        return info.Env().Undefined();
      }
      accepted = bytes.Data();
    }
    if (k == 0) return Napi::Number::New(info.Env(), 0);
    try {
      Accepted filter(accepted);
      nodes_->setEf(ef);
      auto found = nodes_->searchKnn(info[0].As<Napi::Float32Array>().Data(), k, accepted ? &filter : nullptr);
      const size_t count = found.size();
      uint32_t* labels = info[1].As<Napi::Uint32Array>().Data();
      float* distances = info[2].As<Napi::Float32Array>().Data();
      for (size_t i = count; i-- > 0; found.pop()) {
        distances[i] = found.top().first;
        labels[i] = static_cast<uint32_t>(found.top().second);
      }
      return Napi::Number::New(info.Env(), static_cast<double>(count));
    } catch (const std::exception& error) {
      Fail(info.Env(), error.what());
      return info.Env().Undefined();
    }
  }

  /** (query, labelsOut, distancesOut, labels): the nearest of exactly these labels; how many there are. */
  Napi::Value Exact(const Napi::CallbackInfo& info) {
    size_t k = 0;
    if (!Ready(info, true) || !Outputs(info, dims_, &k)) return info.Env().Undefined();
    return Nearest(info, k, *space_, places_.size(),
                   [this](uint32_t label) { return nodes_->getDataByInternalId(places_[label]); });
  }

  /** (label, out): copies a row as searches see it. */
  Napi::Value Row(const Napi::CallbackInfo& info) {
    if (!Ready(info, true)) return info.Env().Undefined();
    const double label = info[0].As<Napi::Number>().DoubleValue();
    if (!(label >= 0 && label < places_.size()) || !IsFloats(info[1]) ||
        info[1].As<Napi::Float32Array>().ElementLength() != dims_) {
      Fail(info.Env(), "row takes a label of the graph and an output of its dims");
      return info.Env().Undefined();
    }
    const char* vector = nodes_->getDataByInternalId(places_[static_cast<size_t>(label)]);
    std::copy_n(vector, dims_ * sizeof(float), reinterpret_cast<char*>(info[1].As<Napi::Float32Array>().Data()));
    return info.Env().Undefined();
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    if (busy_) {
      Fail(info.Env(), "the graph is busy");
      return info.Env().Undefined();
    }
    nodes_.reset();
    reserved_ = Memory();
    std::vector<uint32_t>().swap(places_);
    Account(info.Env());
    return info.Env().Undefined();
  }

  Napi::Value Count(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), nodes_ ? static_cast<double>(nodes_->cur_element_count) : 0);
  }
};

}  // namespace siltstone

static Napi::Object InitAll(Napi::Env env, Napi::Object exports) {
  Init(env, exports);
  siltstone::Graph::Init(env, exports);
  exports.Set("exactRows", Napi::Function::New(env, siltstone::ExactRows));
  exports.Set("assign", Napi::Function::New(env, siltstone::Assign));
  return exports;
}

NAPI_MODULE_INIT() { return Napi::RegisterModule(env, exports, InitAll); }
