/**
 * The path that users take: eventual queries while the next view, after an ingestion or a merge, is fetched and built; strong reads one
 * delta after the other; calls and queries over sixteen shards; many collections with a delta each; vectors in an answer. Requests
 * to the store take `requestMs`, as S3's do, where a table says so.
 */
import { gaussianMixture } from "../data.ts";
import type { Scenario } from "../scenario.ts";
import { manyGraphs } from "./many-graphs.ts";
import type { Part, Size } from "./part.ts";
import { manyCollections, sixteenShards } from "./side-by-side.ts";
import { strongReads } from "./strong-reads.ts";
import { vectorsOut } from "./vectors-out.ts";
import { whileWritten } from "./while-written.ts";

const parts: Readonly<Record<string, Part>> = {
  "queries while it is written": whileWritten,
  "strong reads": strongReads,
  "a query over sixteen shards": manyGraphs,
  "a call over sixteen shards": sixteenShards,
  "many collections": manyCollections,
  "vectors out": vectorsOut,
};

export const path: Scenario<Size> = {
  name: "path",
  about:
    "queries during ingestion and merging, strong reads, shards and collections side by side, vectors out",
  full: {
    rows: 30_000,
    dims: 384,
    shardedRows: 64_000,
    rounds: 5,
    deltas: 5_000,
    collections: 200,
    requestMs: 30,
  },
  tiny: { rows: 300, dims: 8, shardedRows: 320, rounds: 2, deltas: 60, collections: 20, requestMs: 2 },
  async run(size, log) {
    const vectors = gaussianMixture({ rows: size.rows, dims: size.dims, queries: 1 });
    const done: Awaited<ReturnType<Part>>[] = [];
    for (const [name, part] of Object.entries(parts)) {
      log(name);
      done.push(await part(size, vectors));
    }
    return { tables: done.map(({ table }) => table), checks: done.flatMap(({ checks }) => checks) };
  },
};
