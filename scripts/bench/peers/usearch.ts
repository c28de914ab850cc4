/** usearch: an index library, f32 and two narrower kinds of numbers. It has no metadata, and its Node binding no filter. */
import { join } from "node:path";
import { batchRows, effortsFrom, type Peer, requirePeer } from "./peer.ts";

export const usearch = (quantization: "f32" | "f16"): Peer => {
  const fresh = (dimensions: number, expansion_search: number) => {
    const { Index, MetricKind, ScalarKind } = requirePeer("usearch");
    return new Index({
      metric: MetricKind.Cos,
      quantization: quantization === "f32" ? ScalarKind.F32 : ScalarKind.F16,
      dimensions,
      expansion_search,
      multi: false,
    });
  };
  return {
    name: `usearch ${quantization}`,
    path: "in process",
    efforts: effortsFrom(10),
    effortDefault: 64,
    filters: false,
    async build(folder, { base, rows, dims }) {
      const index = fresh(dims, 64);
      for (let start = 0; start < rows; start += batchRows) {
        const limit = Math.min(rows, start + batchRows);
        const keys = BigUint64Array.from({ length: limit - start }, (_, i) => BigInt(start + i));
        index.add(keys, base.slice(start * dims, limit * dims), 0);
      }
      index.save(join(folder, "usearch.bin"));
    },
    async open(folder, dims) {
      let index: ReturnType<typeof fresh>;
      return {
        // What a search may visit is fixed when an index is made: another value is another load.
        tune(effort) {
          index = fresh(dims, effort);
          index.load(join(folder, "usearch.bin"));
        },
        query: (vector, k) => Array.from(index.search(vector, k, 1).keys as BigUint64Array, Number),
        close() {},
      };
    },
  };
};
