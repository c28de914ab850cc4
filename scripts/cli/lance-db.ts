/** LanceDB, where the user has installed it: `@lancedb/lancedb` is 570 MB, and no dependency of ours. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { invalid } from "../../lib/core/model/errors.ts";
import type { LanceDb, LanceTable } from "../../lib/import/sources/lancedb.ts";

const packageName = "@lancedb/lancedb";
/** The one that it has itself. */
const arrowName = "apache-arrow";
/** The end of an Arrow IPC stream. */
const end = Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/** What is used of it, and of its own apache-arrow. */
interface Lance {
  connect(folder: string): Promise<{
    tableNames(): Promise<string[]>;
    openTable(name: string): Promise<Table>;
    close(): void;
  }>;
}
interface Table {
  version(): Promise<number>;
  checkout(version: number): Promise<void>;
  countRows(): Promise<number>;
  schema(): Promise<Schema>;
  listIndices(): Promise<readonly { readonly name: string; readonly columns: readonly string[] }[]>;
  indexStats(name: string): Promise<{ readonly distanceType?: string } | undefined>;
  query(): AsyncIterable<object>;
  close(): void;
}
interface Schema {
  readonly fields: readonly { readonly name: string; readonly type: { readonly listSize?: number } }[];
}
interface Arrow {
  readonly Table: new (of: unknown) => object;
  tableToIPC(table: object, type: "stream"): Uint8Array;
}

/** `folders`: where to look for it, one after the other. */
export async function lanceDb(
  folders: readonly string[] = [process.cwd(), import.meta.dirname],
): Promise<LanceDb> {
  const path = folders.map(found).find((one) => one !== null);
  if (path == null)
    throw invalid(
      `lancedb: needs LanceDB's own package, which is not installed here: npm install ${packageName} (Node 22 or newer, 570 MB), and run the same again in that folder`,
    );
  const lance = createRequire(path)(path) as Lance;
  const arrow = createRequire(path)(arrowName) as Arrow;
  return { open: (folder, name) => openTable(lance, arrow, folder, name) };
}

function found(folder: string): string | null {
  try {
    return createRequire(join(folder, "-")).resolve(packageName);
  } catch {
    return null;
  }
}

async function openTable(
  lance: Lance,
  arrow: Arrow,
  folder: string,
  name: string | null,
): Promise<LanceTable> {
  const db = await lance.connect(folder);
  try {
    return await tableOf(arrow, db, folder, name);
  } catch (error) {
    db.close();
    throw error;
  }
}

async function tableOf(
  arrow: Arrow,
  db: Awaited<ReturnType<Lance["connect"]>>,
  folder: string,
  name: string | null,
): Promise<LanceTable> {
  const names = await db.tableNames();
  const chosen = name ?? (names.length === 1 ? names[0]! : null);
  if (chosen === null || !names.includes(chosen)) {
    const known = names.map((one) => JSON.stringify(one)).join(", ") || "none";
    const said = name === null ? "has several tables, or none" : `has no table ${JSON.stringify(name)}`;
    throw invalid(`${folder} ${said}; choose one by lancedb:DIR#TABLE: ${known}`);
  }
  const table = await db.openTable(chosen);
  const version = await table.version();
  // What is written from now on is in a later one.
  await table.checkout(version);
  const schema = await table.schema();
  const column = schema.fields.find(({ type }) => type.listSize !== undefined);
  const index = (await table.listIndices()).find(
    ({ columns }) => column !== undefined && columns.includes(column.name),
  );
  const stats = index === undefined ? undefined : await table.indexStats(index.name);
  return {
    ...{ name: chosen, version, rows: await table.countRows() },
    dims: column?.type.listSize ?? null,
    distance: stats?.distanceType ?? null,
    stream: () => streamOf(arrow, table, schema),
    close() {
      table.close();
      db.close();
    },
  };
}

/** Batch by batch: each is a stream of its own to its library, of which the schema and the end are said once. */
async function* streamOf(arrow: Arrow, table: Table, schema: Schema): AsyncGenerator<Uint8Array> {
  const bytesOf = (of: unknown) => arrow.tableToIPC(new arrow.Table(of), "stream").subarray(0, -end.length);
  const head = bytesOf(schema);
  yield head;
  for await (const batch of table.query()) yield bytesOf(batch).subarray(head.length);
  yield end;
}
