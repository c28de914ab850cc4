/** sqlite-vec: exact search inside SQLite. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { bucketOf } from "../store.ts";
import { type Peer, requirePeer } from "./peer.ts";

const openDatabase = (folder: string): DatabaseSync => {
  const db = new DatabaseSync(join(folder, "vec.db"), { allowExtension: true });
  requirePeer("sqlite-vec").load(db);
  return db;
};
const bytesOf = (vector: Float32Array) => new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);

export const sqliteVec: Peer = {
  name: "sqlite-vec (exact)",
  path: "in process",
  efforts: [0],
  effortDefault: 0,
  filters: true,
  async build(folder, { base, rows, dims }) {
    const db = openDatabase(folder);
    db.exec(
      `CREATE VIRTUAL TABLE items USING vec0(id INTEGER PRIMARY KEY, vector FLOAT[${dims}] distance_metric=cosine, bucket INTEGER)`,
    );
    db.exec("BEGIN");
    const insert = db.prepare("INSERT INTO items(id, vector, bucket) VALUES (?, ?, ?)");
    for (let row = 0; row < rows; row++)
      insert.run(BigInt(row), bytesOf(base.subarray(row * dims, (row + 1) * dims)), BigInt(bucketOf(row)));
    db.exec("COMMIT");
    db.close();
  },
  async open(folder) {
    const db = openDatabase(folder);
    const all = db.prepare("SELECT id, bucket FROM items WHERE vector MATCH ? AND k = ?");
    const some = db.prepare("SELECT id, bucket FROM items WHERE vector MATCH ? AND k = ? AND bucket < ?");
    return {
      tune() {},
      query(vector, k, below) {
        const bytes = bytesOf(vector);
        const found = below === null ? all.all(bytes, BigInt(k)) : some.all(bytes, BigInt(k), BigInt(below));
        return found.map(({ id }) => Number(id));
      },
      close: () => db.close(),
    };
  },
};
