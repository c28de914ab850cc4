/** LanceDB, embedded: HNSW over scalar-quantised vectors inside one IVF partition. */
import { bucketOf } from "../store.ts";
import { batchRows, effortsFrom, type Peer, requirePeer } from "./peer.ts";

export const lancedb: Peer = {
  name: "LanceDB",
  path: "in process",
  // It searches for the wanted ones twice over, to refine them: no fewer can be asked for.
  efforts: effortsFrom(20),
  // One and a half times as many as it refines.
  effortDefault: 30,
  filters: true,
  async build(folder, { base, rows, dims }) {
    const { connect, Index } = requirePeer("@lancedb/lancedb");
    const db = await connect(folder);
    const part = (start: number) =>
      Array.from({ length: Math.min(batchRows, rows - start) }, (_, i) => ({
        id: start + i,
        bucket: bucketOf(start + i),
        vector: Array.from(base.subarray((start + i) * dims, (start + i + 1) * dims)),
      }));
    const table = await db.createTable("items", part(0));
    for (let start = batchRows; start < rows; start += batchRows) await table.add(part(start));
    await table.optimize();
    await table.createIndex("vector", {
      config: Index.hnswSq({ distanceType: "cosine", numPartitions: 1 }),
    });
    await table.createIndex("bucket", { config: Index.btree() });
  },
  async open(folder) {
    const db = await requirePeer("@lancedb/lancedb").connect(folder);
    const table = await db.openTable("items");
    let ef = 30;
    return {
      tune(effort) {
        ef = effort;
      },
      async query(vector, k, below) {
        const search = table.query().nearestTo(vector).distanceType("cosine").ef(ef).refineFactor(2).limit(k);
        const filtered = below === null ? search : search.where(`bucket < ${below}`);
        const found: { id: number | bigint }[] = await filtered
          .select(["id", "bucket", "_distance"])
          .toArray();
        return found.map(({ id }) => Number(id));
      },
      close: () => table.close(),
    };
  },
};
