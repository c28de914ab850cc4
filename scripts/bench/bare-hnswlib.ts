/**
 * hnswlib alone, by the best build of it that we know how to make: the addon's Graph, with typed arrays in and out, its memory in pages of
 * 2 MB, and the fastest kernel (native/graph.cc). It has vectors and labels, nothing else. One of the
 * peers (peers/peers.ts); it lies here since their folder is a package of its own, in which #hnswlib means nothing.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import hnswlib from "#hnswlib";
import { normalised } from "../../lib/core/model/vector.ts";
import { effortsFrom, type Peer } from "./peers/peer.ts";

const [M, efConstruction] = [16, 100];

export const bareHnswlib: Peer = {
  name: "hnswlib (best build)",
  path: "in process",
  efforts: effortsFrom(10),
  effortDefault: 100,
  filters: false,
  async build(folder, { base, rows, dims }) {
    const graph = new hnswlib.Graph("cosine", dims);
    graph.create(rows, M, efConstruction);
    await graph.append(base, availableParallelism());
    await graph.write(join(folder, "index.hnsw"));
    graph.close();
  },
  async open(folder, dims) {
    const graph = new hnswlib.Graph("cosine", dims);
    await graph.read(join(folder, "index.hnsw"), M, efConstruction, availableParallelism());
    let ef = 100;
    return {
      tune(effort) {
        ef = effort;
      },
      query(vector, k) {
        const [labels, distances] = [new Uint32Array(k), new Float32Array(k)];
        const found = graph.search(normalised(vector), labels, distances, ef);
        return Array.from(labels.subarray(0, found));
      },
      close: () => graph.close(),
    };
  },
};
