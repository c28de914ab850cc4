/** Files of records that lie: schemas, rows and pages of SQLite; and vectors.f32. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { bytesFrom, everyone, type Forgery, type Reading } from "./forgery.ts";
import { bytesOf, dims, type Kind, type Scene } from "./world.ts";

const both: readonly Kind[] = ["flat", "hnsw"];

/** The file after `work`, or what it answers. */
function edited(bytes: Buffer, work: (db: DatabaseSync, path: string) => void): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "forged-"));
  const path = join(folder, "records.db");
  try {
    writeFileSync(path, bytes);
    const db = new DatabaseSync(path, { defensive: false });
    try {
      db.exec("PRAGMA journal_mode = OFF");
      work(db, path);
    } finally {
      db.close();
    }
    return readFileSync(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const forged = (
  name: string,
  kind: Kind,
  forge: (bytes: Buffer, scene: Scene) => Buffer,
  refusedBy = everyone,
): Forgery => ({
  name: `records.db, ${kind}: ${name}`,
  refusedBy,
  forge: (scene) => [{ kind, file: "records.db", bytes: forge(bytesOf(scene, kind, "records.db"), scene) }],
});

/** By statements, in the segment that has what they change; or in both. */
const sql = (name: string, statements: string, kinds = both, refusedBy?: readonly Reading[]): Forgery[] =>
  kinds.map((kind) =>
    forged(name, kind, (bytes) => edited(bytes, (db) => db.exec(statements)), refusedBy ?? everyone),
  );

/** Schemas and pages are looked at by one piece of code, whatever the kind of segment. */
const inGraphs = (name: string, statements: string): Forgery[] => sql(name, statements, ["hnsw"]);

/** Changes rows as no STRICT table lets itself be changed. */
const untyped = (name: string, update: string, refusedBy: readonly Reading[], kinds = both): Forgery[] =>
  kinds.map((kind) =>
    forged(
      name,
      kind,
      (bytes) => {
        const schema = (from: string, to: string) => (db: DatabaseSync) =>
          db.exec(
            `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '${from}', '${to}')`,
          );
        const loose = edited(bytes, schema("STRICT", "/*any*/"));
        return edited(
          edited(loose, (db) => db.exec(update)),
          schema("/*any*/", "STRICT"),
        );
      },
      refusedBy,
    ),
  );

const endless = `WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n)
  SELECT i AS label, 'row-' || i AS id, 1 AS version, '' AS delta, 0 AS row, NULL AS document, NULL AS metadata,
    'en' AS f_lang, 1 AS f_n, 1 AS f_tags FROM n`;

const schemas: readonly Forgery[] = [
  ...inGraphs("rows as an endless view", `DROP TABLE rows; CREATE VIEW rows AS ${endless}`),
  ...inGraphs(
    "rows as a view of others",
    "ALTER TABLE rows RENAME TO kept; CREATE VIEW rows AS SELECT * FROM kept",
  ),
  ...inGraphs("tombstones as an endless view", `DROP TABLE tombstones; CREATE VIEW tombstones AS ${endless}`),
  ...inGraphs(
    "a list field as an endless view",
    `DROP TABLE f_tags; CREATE VIEW f_tags AS WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n)
       SELECT i AS label, 't3' AS value FROM n`,
  ),
  ...inGraphs(
    "a trigger for what a merge deletes",
    `CREATE TRIGGER t AFTER DELETE ON rows BEGIN INSERT INTO tombstones SELECT 'x' || random(), 1, '', 1; END`,
  ),
  ...inGraphs(
    "a trigger for what a merge inserts",
    `CREATE TRIGGER t BEFORE INSERT ON rows BEGIN SELECT RAISE(IGNORE); END`,
  ),
  ...inGraphs("one more table", "CREATE TABLE more(x)"),
  ...inGraphs("one more index", "CREATE INDEX more ON rows(document)"),
  ...inGraphs("an index by an expression", "CREATE INDEX more ON rows(length(hex(zeroblob(1000000))))"),
  ...inGraphs("one index less", "DROP INDEX i_n"),
  ...inGraphs("a column more", "ALTER TABLE rows ADD COLUMN more TEXT"),
  ...inGraphs("a computed column", "ALTER TABLE rows ADD COLUMN more TEXT AS (hex(zeroblob(1000)))"),
  ...inGraphs("statistics", "ANALYZE"),
  ...inGraphs(
    "another type",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'document TEXT', 'document BLOB')",
  ),
  ...inGraphs(
    "a check that never ends",
    `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'document TEXT', 'document TEXT CHECK (length(hex(zeroblob(9e8))) > 0)')`,
  ),
  ...inGraphs(
    "a virtual table",
    `PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'more', 'more', 0, 'CREATE VIRTUAL TABLE more USING fts5(x)')`,
  ),
  ...inGraphs(
    "nonsense",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'hello' WHERE name = 'rows'",
  ),
  ...inGraphs(
    "two tables of the same pages",
    `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'tombstones') WHERE name = 'f_tags'`,
  ),
  ...inGraphs(
    "a table at the schema's page",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'rows'",
  ),
  ...inGraphs(
    "a table at no page",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 0 WHERE name = 'rows'",
  ),
  ...inGraphs(
    "a table behind the last page",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'rows'",
  ),
  ...inGraphs(
    "a table at an index",
    `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage =
     CASE name WHEN 'rows' THEN (SELECT rootpage FROM sqlite_schema WHERE name = 'i_n') ELSE
       (SELECT rootpage FROM sqlite_schema WHERE name = 'rows') END WHERE name IN ('rows', 'i_n')`,
  ),
];

const counted: readonly Forgery[] = [
  ...sql("no rows", "DELETE FROM rows"),
  ...sql("a row missing", "DELETE FROM rows WHERE label = 5"),
  ...sql(
    "a row more",
    "INSERT INTO rows(label, id, version, delta, row) SELECT max(label) + 1, 'more', 1, '', 1 FROM rows",
  ),
  ...sql("a tombstone more", "INSERT INTO tombstones VALUES ('more', 1, '', 1)"),
  ...sql("no tombstones", "DELETE FROM tombstones", ["flat"]),
  ...sql("a row at a label above the last", "UPDATE rows SET label = 100000 WHERE label = 5"),
  ...sql("a row at a label of 2^53", "UPDATE rows SET label = 9007199254740993 WHERE label = 5"),
  ...sql("a row at a negative label", "UPDATE rows SET label = -1 WHERE label = 5"),
  ...sql("another application", "PRAGMA application_id = 7"),
  ...sql("an older version of the format", "PRAGMA user_version = 0"),
];

const reading: readonly Reading[] = ["verify", "merge"];
const values: readonly Forgery[] = [
  ...untyped("ids that are bytes", "UPDATE rows SET id = CAST(id AS BLOB)", ["query", ...reading]),
  ...untyped("versions that are texts", "UPDATE rows SET version = 'x'", ["get", ...reading]),
  ...untyped("versions that are nothing", "UPDATE rows SET version = 1.5", reading),
  ...untyped("deltas that are numbers", "UPDATE rows SET delta = 7", ["get", ...reading]),
  ...untyped("places in a delta that are texts", "UPDATE rows SET row = 'x'", ["get", ...reading]),
  ...untyped("documents that are bytes", "UPDATE rows SET document = zeroblob(100)", ["query", ...reading]),
  ...untyped("metadata that are numbers", "UPDATE rows SET metadata = 7", ["query", ...reading]),
  ...sql("metadata that are no JSON", "UPDATE rows SET metadata = '{'", both, ["query", ...reading]),
  ...sql("metadata that are a list", "UPDATE rows SET metadata = '[]'", both, ["query", ...reading]),
  ...sql(
    "metadata of other types than the fields",
    `UPDATE rows SET metadata = '{"lang":7,"tags":"x","n":[]}'`,
    both,
    reading,
  ),
  ...sql(
    "metadata within metadata",
    `UPDATE rows SET metadata = replace(hex(zeroblob(9000)), '00', '{"a":') || '1' || replace(hex(zeroblob(9000)), '00', '}') WHERE label = 5`,
    both,
    reading,
  ),
  ...untyped(
    "tombstones of bytes",
    "UPDATE tombstones SET delta = x'00', version = 'x'",
    ["verify", "merge"],
    ["flat"],
  ),
  ...sql("a text of 2 MB", "UPDATE rows SET document = hex(zeroblob(1000000)) WHERE label = 5"),
  ...sql("an id of 1 MB", "UPDATE rows SET id = hex(zeroblob(500000)) WHERE label = 5"),
  ...sql("list entries at labels that there are not", "UPDATE f_tags SET label = label + 100000", both, []),
];

/** Pages, by what SQLite's format says (https://www.sqlite.org/fileformat2.html). */
class Pages {
  readonly bytes: Buffer;
  readonly size: number;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.size = bytes.readUInt16BE(16);
  }
  start = (page: number) => (page - 1) * this.size;
  rootOf(name: string): number {
    let root = 0;
    edited(this.bytes, (db) => {
      root = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(name)!.rootpage as number;
    });
    return root;
  }
  firstCell = (page: number) =>
    this.start(page) + this.bytes.readUInt16BE(this.start(page) + (this.isInterior(page) ? 12 : 8));
  isInterior = (page: number) => [2, 5].includes(this.bytes[this.start(page)]!);
}

const paged = (
  name: string,
  edit: (pages: Pages) => unknown,
  kinds: readonly Kind[] = ["hnsw"],
  refusedBy?: readonly Reading[],
) =>
  kinds.map((kind) =>
    forged(
      `pages: ${name}`,
      kind,
      (bytes) => {
        const pages = new Pages(bytes);
        return bytesFrom(edit(pages), () => pages.bytes);
      },
      refusedBy ?? everyone,
    ),
  );
const noReading: readonly Reading[] = [];

const pages: readonly Forgery[] = [
  ...paged("more of them than there are", ({ bytes }) => bytes.writeUInt32BE(2 ** 31, 28)),
  ...paged("fewer of them than there are", ({ bytes }) => bytes.writeUInt32BE(1, 28)),
  ...[0, 1, 3, 256, 512, 65535].flatMap((size) =>
    paged(`of ${size} bytes`, ({ bytes }) => bytes.writeUInt16BE(size, 16)),
  ),
  ...paged("the first half of the file", ({ bytes, size }) =>
    bytes.subarray(0, Math.floor(bytes.length / size / 2) * size),
  ),
  ...paged("a byte more", ({ bytes }) => Buffer.concat([bytes, Buffer.alloc(1)])),
  ...paged("a head without pages", ({ bytes }) => bytes.subarray(0, 100)),
  ...paged("nothing", () => Buffer.alloc(0)),
  ...paged("zeros", ({ bytes }) => Buffer.alloc(bytes.length)),
  ...paged(
    "an interior page that leads to itself",
    (one) => {
      const root = one.rootOf("rows");
      one.bytes.writeUInt32BE(root, one.firstCell(root));
    },
    ["hnsw"],
  ),
  ...paged(
    "an interior page that leads to one page only",
    (one) => {
      const start = one.start(one.rootOf("rows"));
      const last = one.bytes.readUInt32BE(start + 8);
      for (let i = 0; i < one.bytes.readUInt16BE(start + 3); i++)
        one.bytes.writeUInt32BE(last, start + one.bytes.readUInt16BE(start + 12 + 2 * i));
    },
    ["hnsw"],
  ),
  ...paged(
    "an interior page that leads out of the file",
    (one) => {
      one.bytes.writeUInt32BE(2 ** 31, one.firstCell(one.rootOf("rows")));
    },
    ["hnsw"],
  ),
  ...paged(
    "an index that leads to a table",
    (one) => {
      const [index, table] = [
        one.start(one.rootOf("sqlite_autoindex_rows_1")),
        one.start(one.rootOf("rows")),
      ];
      one.bytes.copy(one.bytes, index + 8, table + 8, table + 12);
    },
    ["hnsw"],
  ),
  ...paged("65,535 cells", (one) => one.bytes.writeUInt16BE(0xffff, one.start(one.rootOf("tombstones")) + 3)),
  ...paged("a root that is not a page", (one) =>
    one.bytes.fill(0, one.start(one.rootOf("rows")), one.start(one.rootOf("rows")) + 1),
  ),
  ...paged("a cell that says it holds 2 GB", (one) => {
    const root = one.rootOf("rows");
    const leaf = one.isInterior(root) ? one.bytes.readUInt32BE(one.firstCell(root)) : root;
    one.bytes.set([0x87, 0xff, 0xff, 0xff, 0x7f], one.firstCell(leaf));
  }),
  ...paged("rows that share one chain of pages", sharedChain, both),
  ...paged("texts in UTF-16", ({ bytes }) => bytes.writeUInt32BE(2, 56), both, reading),
  ...paged("a write-ahead log", ({ bytes }) => bytes.fill(2, 18, 20), both, noReading),
  ...paged(
    "a list of free pages that are not",
    (one) => {
      one.bytes.writeUInt32BE(one.rootOf("i_n"), 32);
      one.bytes.writeUInt32BE(20, 36);
    },
    both,
    noReading,
  ),
  ...paged("reserved bytes", ({ bytes }) => bytes.fill(200, 20, 21), both, noReading),
  ...paged("a schema of a future format", ({ bytes }) => bytes.writeUInt32BE(9, 44), both),
];

/** Every row of a leaf says that it goes on for 300 KB on the same page, which leads to itself. */
function sharedChain(one: Pages): Buffer {
  const { size } = one;
  const count = one.bytes.length / size;
  // A row of a document of 300 KB has a chain; all rows become that row's cell.
  const bytes = edited(one.bytes, (db) => {
    db.exec("UPDATE rows SET document = hex(zeroblob(150000)) WHERE label = 5");
  });
  const pages = new Pages(bytes);
  for (let page = 1; page <= bytes.length / size; page++) {
    const start = pages.start(page);
    if (bytes[start] !== 13 || page === 1) continue;
    const cells = bytes.readUInt16BE(start + 3);
    const places = Array.from({ length: cells }, (_, i) => bytes.readUInt16BE(start + 8 + 2 * i));
    // The long cell begins with a payload of three bytes' varint.
    const long = places.find((at) => bytes[start + at]! >= 0x80 && bytes[start + at + 1]! >= 0x80);
    if (long === undefined) continue;
    for (let i = 0; i < cells; i++) bytes.writeUInt16BE(long, start + 8 + 2 * i);
  }
  if (bytes.length / size <= count) throw new Error("there is no chain");
  return bytes;
}

const vectors = (
  name: string,
  kind: Kind,
  edit: (bytes: Buffer) => unknown,
  refusedBy: readonly Reading[],
): Forgery => ({
  name: `vectors.f32, ${kind}: ${name}`,
  refusedBy,
  forge: (scene) => {
    const bytes = bytesOf(scene, kind, "vectors.f32");
    return [{ kind, file: "vectors.f32", bytes: bytesFrom(edit(bytes), () => bytes) }];
  },
});
/** A graph has its vectors in itself: vectors.f32 is for those who ask for vectors as they were given, and for merges. */
const graphs: readonly Reading[] = ["get", "verify", "merge"];
const ofVectors = (kind: Kind) => (kind === "flat" ? everyone : graphs);
/** row-5 in the graph, row-405 in the flat segment: those that `exercise` gets. */
const vectorForgeries: readonly Forgery[] = both.flatMap((kind) => [
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3e38].flatMap((value) => [
    vectors(
      `${value} in each`,
      kind,
      (bytes) => {
        for (let at = 0; at < bytes.length; at += dims * 4) bytes.writeFloatLE(value, at);
      },
      ofVectors(kind),
    ),
    vectors(
      `${value} as the last component of one`,
      kind,
      (bytes) => bytes.writeFloatLE(value, 6 * dims * 4 - 4),
      kind === "flat" ? everyone : ["verify", "merge"],
    ),
  ]),
  vectors("one vector less", kind, (bytes) => bytes.subarray(0, -dims * 4), everyone),
  vectors("one vector more", kind, (bytes) => Buffer.concat([bytes, Buffer.alloc(dims * 4)]), everyone),
  vectors("a byte less", kind, (bytes) => bytes.subarray(0, -1), everyone),
  vectors("nothing", kind, () => Buffer.alloc(0), everyone),
]);

export const recordForgeries: readonly Forgery[] = [
  ...schemas,
  ...counted,
  ...values,
  ...pages,
  ...vectorForgeries,
];
