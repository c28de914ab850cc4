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
#include <functional>
#include <string>

#include <napi.h>

// hnswlib-node's source registers a module of its own; here it becomes a part of this one.
#undef NODE_API_MODULE
#define NODE_API_MODULE(name, init)
#include "addon.cc"

#include "exact.h"
#include "nodes-read.h"
#include "nodes-search.h"
#include "nodes.h"

// Parts of this source. Their functions follow each other in the addon in this order: another one would give it other bytes.
#include "arguments.h"
#include "exact-rows.h"
#include "assign.h"

namespace siltstone {

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
                                      InstanceMethod("search", &Graph::Find), InstanceMethod("exact", &Graph::Exact),
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

  /** Rows of which copies of unit length are made at a time. */
  static constexpr size_t rows_together = 512;
  uint32_t dims_ = 0;
  bool cosine_ = false;
  bool busy_ = false;
  std::unique_ptr<Space> space_;
  std::unique_ptr<Nodes> nodes_;
  /** For the nodes that read() will bring. */
  Memory reserved_;
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
    const Nodes::Made made{info[1].As<Napi::Number>().Uint32Value(), info[2].As<Napi::Number>().Uint32Value(), cosine_};
    const size_t threads = info[3].As<Napi::Number>().Uint32Value();
    if (made.m < 2 || made.m > 1000) {
      Fail(info.Env(), "read takes a path, M (2 to 1000), efConstruction and threads");
      return info.Env().Undefined();
    }
    return Start<sync>(info, [this, path, made, threads] {
      auto nodes = std::make_unique<Nodes>(space_.get());
      nodes->read(File(path), made, std::move(reserved_), threads);
      nodes_ = std::move(nodes);
    });
  }

  template <bool sync>
  Napi::Value Write(const Napi::CallbackInfo& info) {
    if (!Ready(info, true)) return info.Env().Undefined();
    const std::string path = info[0].As<Napi::String>().Utf8Value();
    return Start<sync>(info, [this, path] { nodes_->write(path); });
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
    nodes_->reserve(rows);
    if (!cosine_) return nodes_->insert(data, rows, threads);
    std::vector<float> units(std::min(rows, rows_together) * dims_);
    for (size_t first = 0; first < rows; first += rows_together) {
      const size_t together = std::min(rows_together, rows - first);
      for (size_t i = 0; i < together; i++) Unit(data + (first + i) * dims_, units.data() + i * dims_);
      nodes_->insert(units.data(), together, threads);
    }
  }

  void Unit(const float* vector, float* unit) const {
    double sum = 0;
    for (uint32_t i = 0; i < dims_; i++) sum += static_cast<double>(vector[i]) * vector[i];
    const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
    for (uint32_t i = 0; i < dims_; i++) unit[i] = static_cast<float>(vector[i] * scale);
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
    if (!nodes_->has(label)) Fail(info.Env(), "no such label");
    else nodes_->mark_deleted(static_cast<uint32_t>(label));
    return info.Env().Undefined();
  }

  /** (query, labelsOut, distancesOut, ef, visitsMax?, accepted?, ranks?): how many were found; -1 when exact search should answer. */
  Napi::Value Find(const Napi::CallbackInfo& info) {
    size_t k = 0;
    if (!Ready(info, true) || !Outputs(info, dims_, &k)) return info.Env().Undefined();
    Asked asked{info[0].As<Napi::Float32Array>().Data(), k, std::max<size_t>(k, info[3].As<Napi::Number>().Uint32Value()),
                info[4].IsNumber() ? info[4].As<Napi::Number>().Uint32Value() : SIZE_MAX, nullptr, nullptr};
    if (!Ranks(info, 6, nodes_->count(), &asked.ranks)) return info.Env().Undefined();
    if (info[5].IsTypedArray()) {
      const auto bytes = info[5].As<Napi::Uint8Array>();
      if (bytes.TypedArrayType() != napi_uint8_array || bytes.ElementLength() < nodes_->count()) {
        Fail(info.Env(), "accepted has a byte for each label");
        return info.Env().Undefined();
      }
      asked.accepted = bytes.Data();
    }
    if (k == 0) return Napi::Number::New(info.Env(), 0);
    if (!nodes_->even()) return Napi::Number::New(info.Env(), -1);
    try {
      Search search(*nodes_, asked);
      return search.run() ? Answer(info, search.hits()) : Napi::Number::New(info.Env(), -1);
    } catch (const std::exception& error) {
      Fail(info.Env(), error.what());
      return info.Env().Undefined();
    }
  }

  /** (query, labelsOut, distancesOut, labels, ranks?): the nearest of exactly these labels; how many there are. */
  Napi::Value Exact(const Napi::CallbackInfo& info) {
    size_t k = 0;
    if (!Ready(info, true) || !Outputs(info, dims_, &k)) return info.Env().Undefined();
    return Exactly(info, k, *space_, 4, nodes_->norms(), nodes_->count(),
                   [this](uint32_t label) { return nodes_->vector_of(label); });
  }

  /** (label, out): copies a row as searches see it. */
  Napi::Value Row(const Napi::CallbackInfo& info) {
    if (!Ready(info, true)) return info.Env().Undefined();
    const double label = info[0].As<Napi::Number>().DoubleValue();
    if (!nodes_->has(label) || !IsFloats(info[1]) ||
        info[1].As<Napi::Float32Array>().ElementLength() != dims_) {
      Fail(info.Env(), "row takes a label of the graph and an output of its dims");
      return info.Env().Undefined();
    }
    std::copy_n(nodes_->vector_of(static_cast<uint32_t>(label)), dims_, info[1].As<Napi::Float32Array>().Data());
    return info.Env().Undefined();
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    if (busy_) {
      Fail(info.Env(), "the graph is busy");
      return info.Env().Undefined();
    }
    nodes_.reset();
    reserved_ = Memory();
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
