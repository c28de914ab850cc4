/**
 * Opening a records.db that came from S3. Its sha256 is the manifest's, which says that these are the bytes that were
 * published, and nothing of by whom. Before anything is asked of it:
 *
 *  1. Its tables and indexes are trees of cells of bounded size, so that no query takes longer than the file is large.
 *  2. Its schema is the one that this code writes, to the letter: no view, no trigger, no computed column, nothing that runs.
 *  3. It has the manifest's numbers of rows and tombstones, and labels below the number of slots.
 *
 * Cells may still lie: what is read is checked where it is read (lib/segment/open-segment.ts).
 */
import { DatabaseSync } from "node:sqlite";
import type { Segment } from "../core/format/manifest.ts";
import type { Collection } from "../core/model/collection.ts";
import { damageOf, openRecords, schemaOf } from "./records-db.ts";
import { SqlitePages } from "./sqlite-pages.ts";

/** Pages of the schema itself: a table and an index for each declared field take a few. */
const schemaPagesMax = 64;

/** `segment` is null where no manifest counts it. Throws `corrupt` naming the file; of a newer format, what openRecords throws. */
export async function openCheckedRecords(
  path: string,
  { fields }: Pick<Collection, "fields">,
  segment: Pick<Segment, "rows" | "tombstones" | "slots"> | null,
): Promise<DatabaseSync> {
  let db: DatabaseSync | undefined;
  try {
    const pages = await SqlitePages.read(path);
    if (pages.walk(1) > schemaPagesMax) throw new Error("its schema is too large");
    db = openRecords(path);
    const stored = schemaIn(db);
    if (textOf(stored) !== expectedText(fields)) throw new Error("its schema is not that of the collection");
    for (const [, root] of stored) pages.walk(root);
    if (segment !== null) checkCounts(db, segment);
    return db;
  } catch (error) {
    db?.close();
    throw damageOf(path, error);
  }
}

/** What each table and index is, without regard to spaces, and its root page; in the order of their names. */
function schemaIn(db: DatabaseSync): [text: string, root: number][] {
  const select = db.prepare("SELECT type, name, tbl_name, sql, rootpage FROM sqlite_schema ORDER BY name");
  return select.all().map(({ rootpage, ...rest }) => {
    return [JSON.stringify(rest).replaceAll(/(\s|\\n)+/g, " "), rootpage as number];
  });
}

const textOf = (schema: readonly [text: string, root: number][]): string =>
  JSON.stringify(schema.map(([text]) => text));

/** The fields of a collection never change, and belong to it alone: SQLite is asked once. */
const expectedTexts = new WeakMap<Collection["fields"], string>();

function expectedText(fields: Collection["fields"]): string {
  const known = expectedTexts.get(fields);
  if (known !== undefined) return known;
  const db = new DatabaseSync(":memory:");
  try {
    db.exec(schemaOf(fields));
    const text = textOf(schemaIn(db));
    expectedTexts.set(fields, text);
    return text;
  } finally {
    db.close();
  }
}

function checkCounts(
  db: DatabaseSync,
  { rows, tombstones, slots }: Pick<Segment, "rows" | "tombstones" | "slots">,
): void {
  const counted = db
    .prepare("SELECT (SELECT count(*) FROM rows) AS rows, (SELECT count(*) FROM tombstones) AS tombstones")
    .get() as { rows: number; tombstones: number };
  if (counted.rows !== rows || counted.tombstones !== tombstones)
    throw new Error(
      `it has ${counted.rows} rows and ${counted.tombstones} tombstones, the manifest says ${rows} and ${tombstones}`,
    );
  const labels = db
    .prepare("SELECT (SELECT min(label) FROM rows) AS least, (SELECT max(label) FROM rows) AS most")
    .get() as { least: number | null; most: number | null };
  if (rows > 0 && !(labels.least! >= 0 && labels.most! < slots))
    throw new Error(`it has labels from ${labels.least} to ${labels.most} for ${slots} vectors`);
}
