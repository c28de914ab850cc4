/** pgvector in PGlite: PostgreSQL in WebAssembly. Filters scan the graph on until there are enough rows. */
import { join } from "node:path";
import { bucketOf } from "../store.ts";
import { effortsFrom, type Peer, requirePeer } from "./peer.ts";

const insertRows = 250;
const openDatabase = (folder: string) => {
  const { PGlite } = requirePeer("@electric-sql/pglite");
  const { vector } = requirePeer("@electric-sql/pglite-pgvector");
  return PGlite.create({ dataDir: join(folder, "pg"), extensions: { vector } });
};
const textOf = (vector: Float32Array): string => `[${vector.join(",")}]`;

export const pglite: Peer = {
  name: "pgvector (PGlite)",
  path: "in process",
  efforts: effortsFrom(10),
  effortDefault: 40,
  filters: true,
  async build(folder, { base, rows, dims }) {
    const db = await openDatabase(folder);
    await db.exec(
      `CREATE EXTENSION vector; SET maintenance_work_mem = '512MB';
       CREATE TABLE items(id INTEGER PRIMARY KEY, bucket INTEGER, vector VECTOR(${dims}));`,
    );
    for (let start = 0; start < rows; start += insertRows) {
      const values = Array.from({ length: Math.min(insertRows, rows - start) }, (_, i) => {
        const row = start + i;
        return `(${row}, ${bucketOf(row)}, '${textOf(base.subarray(row * dims, (row + 1) * dims))}')`;
      });
      await db.exec(`INSERT INTO items VALUES ${values.join(",")}`);
    }
    await db.exec(
      `CREATE INDEX ON items USING hnsw (vector vector_cosine_ops);
       CREATE INDEX ON items(bucket); ANALYZE items;`,
    );
    await db.close();
  },
  async open(folder) {
    const db = await openDatabase(folder);
    await db.exec("SET hnsw.iterative_scan = relaxed_order");
    return {
      tune: (effort) => db.exec(`SET hnsw.ef_search = ${effort}`),
      async query(vector, k, below) {
        const where = below === null ? "" : `WHERE bucket < ${below}`;
        const { rows } = await db.query(
          `SELECT id, bucket FROM items ${where} ORDER BY vector <=> $1 LIMIT ${k}`,
          [textOf(vector)],
        );
        return rows.map(({ id }: { id: number }) => id);
      },
      close: () => db.close(),
    };
  },
};
