/**
 * LanceDB as an import source: a folder that LanceDB itself writes, with deletes, updates and merges. `npm run test:lancedb` installs it
 * (570 MB) and runs this; elsewhere it is skipped.
 */
import { existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSource } from "../../lib/import/open-source.ts";
import { lanceDb } from "../../scripts/cli/lance-db.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { documentedCommands } from "./documented-commands.ts";
import { describeSource, dims, expectedRow, expectedRows, rowCount } from "./source-contract.ts";

const peer = join(import.meta.dirname, "lancedb");
const isInstalled = existsSync(join(peer, "node_modules/@lancedb/lancedb"));
const folder = mkdtempSync(join(tmpdir(), "siltstone-lancedb-"));
afterAll(() => rmSync(folder, { recursive: true }));

const never = () => Promise.reject(new Error("none"));
const world = {
  stdin: (async function* () {})() as AsyncIterable<Buffer>,
  ...{ environment: {}, incomplete: false, s3Vectors: never, bucketFiles: never },
  lanceDb: () => lanceDb([peer]),
};
const open = (location: string) => openSource(world, `lancedb:${location}`);

test("without LanceDB's package the command says how to have it", async () => {
  await expect(lanceDb([tmpdir()])).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining("npm install @lancedb/lancedb"),
  });
});

/** By LanceDB itself: written out of order, corrected, and in part deleted again. */
async function write(path: string): Promise<void> {
  const require = createRequire(join(peer, "-"));
  const { connect, Index } = require("@lancedb/lancedb");
  const arrow = createRequire(require.resolve("@lancedb/lancedb"))("apache-arrow");
  const field = (name: string, type: object) => new arrow.Field(name, type, true);
  const schema = new arrow.Schema([
    new arrow.Field("id", new arrow.Utf8()),
    field("vector", new arrow.FixedSizeList(dims, field("item", new arrow.Float32()))),
    field("text", new arrow.Utf8()),
    field("kind", new arrow.Utf8()),
    field("n", new arrow.Int64()),
    field("f", new arrow.Float64()),
    field("ok", new arrow.Bool()),
  ]);
  const rowOf = (n: number, text?: string) => {
    const { id, vector, document, metadata } = expectedRow(n);
    return { id, vector, text: text ?? document, ...metadata, n: BigInt(n) };
  };
  const db = await connect(path);
  await db.createTable("other", [{ id: "x", vector: [1, 2] }]);
  const rows = Array.from({ length: rowCount + 50 }, (_, n) => rowOf(n, n % 10 === 3 ? "stale" : undefined));
  const table = await db.createTable("notes", rows.slice(0, 700), { schema });
  await table.add(rows.slice(700));
  await table.delete(`n >= ${rowCount}`);
  const mended = rows.filter(({ n }) => n % 10n === 3n && n < rowCount).map(({ n }) => rowOf(Number(n)));
  const merge = table.mergeInsert("id").whenMatchedUpdateAll().whenNotMatchedInsertAll();
  await merge.execute(mended, { schema });
  await table.createIndex("vector", { config: Index.ivfFlat({ distanceType: "cosine", numPartitions: 1 }) });
  table.close();
  db.close();
}

if (isInstalled) {
  const path = join(folder, "written");
  beforeAll(() => write(path), 60_000);
  // What was merged lies behind the others.
  const merged = (n: number) => n % 10 === 3;
  const all = expectedRows();
  const rows = [...all.filter((_, n) => !merged(n)), ...all.filter((_, n) => merged(n))];
  describeSource({ name: "lancedb", open: () => open(`${path}#notes`), rows, metric: "cosine" });

  test("several tables have to be told apart", async () => {
    await expect(open(path)).rejects.toThrow('choose one by lancedb:DIR#TABLE: "notes", "other"');
    await expect(open(`${path}#none`)).rejects.toThrow('has no table "none"');
  });

  test("the commands of docs/migrating/lancedb.md do what they say", async () => {
    const home = process.cwd();
    const work = mkdtempSync(join(folder, "documented-"));
    await write(join(work, "lance"));
    // Where the user has installed it.
    symlinkSync(join(peer, "node_modules"), join(work, "node_modules"));
    process.chdir(work);
    const cli = new MemoryCli();
    try {
      for (const args of documentedCommands("migrating/lancedb.md")) {
        const said = await cli.run(args);
        expect({ args, ...said }).toMatchObject({ args, code: 0 });
        if (args.includes("--verify")) expect(said.out).toContain(`verified: ${rowCount} rows`);
      }
    } finally {
      process.chdir(home);
      await cli.close();
    }
  }, 60_000);
} else {
  test.skip("skipped: LanceDB is not installed; npm run test:lancedb does that", () => {});
}
