/** Declared fields in memory: what they take, what they refuse, and what a filter finds of them where slots are dead. */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { FieldType } from "../../lib/core/model/collection.ts";
import { parseFilter } from "../../lib/core/model/filter.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import type { Metadata } from "../../lib/core/model/row.ts";
import { type FieldIndexes, readIndexes } from "../../lib/segment/field-index.ts";
import { labelsOf } from "../../lib/segment/filter-labels.ts";
import { openRecords, RecordsWriter } from "../../lib/segment/records-db.ts";

const fields: Record<string, FieldType> = {
  name: "string",
  year: "number",
  open: "boolean",
  tags: "string[]",
};
const rows = 3_000;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "field-index-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(
  name: string,
  declared: Record<string, FieldType>,
  metadataOf: (row: number) => Metadata,
): string {
  const path = join(folder, name);
  const writer = new RecordsWriter(path, { fields: declared });
  for (let label = 0; label < rows; label++) {
    const metadata = JSON.stringify(metadataOf(label));
    const delta = deltaId("01J00000000000000000000000");
    writer.addRow(label, { id: `r${label}`, version: 1, delta, row: label, document: null, metadata });
  }
  writer.finish();
  return path;
}
const bytesOf = (value: unknown): number => {
  if (ArrayBuffer.isView(value)) return value.byteLength;
  if (typeof value !== "object" || value === null) return 0;
  const parts = value instanceof Map ? [...value.values()] : Object.values(value);
  return parts.reduce((sum: number, part) => sum + bytesOf(part), 0);
};
function read(path: string, slots = rows): FieldIndexes {
  const db = openRecords(path);
  try {
    return readIndexes(db, fields, slots);
  } finally {
    db.close();
  }
}

test.each<[string, (row: number) => Metadata]>([
  [
    "few values",
    (row) => ({ name: `n${row % 7}`, year: row % 30, open: row % 2 === 0, tags: [`t${row % 5}`, "all"] }),
  ],
  [
    "a value of its own in each row",
    (row) => ({ name: `name-${row}`, year: row + 0.5, open: true, tags: [`tag-${row}`] }),
  ],
  ["none", () => ({})],
])("they take no more memory than their indexes on the disk, which the cache counts: %s", (_, metadataOf) => {
  const with_ = statSync(write("with.db", fields, metadataOf)).size;
  const without = statSync(write("without.db", {}, metadataOf)).size;
  // Of codes alone, where no row has a value.
  expect(bytesOf(read(join(folder, "with.db")))).toBeLessThan(
    Math.max(with_ - without, 4 * rows * 3 + 1_000),
  );
});

test("slots without a row meet no condition, and texts are told apart by all of their bytes", () => {
  const path = write("records.db", fields, (row) => ({ name: row % 2 === 0 ? "a\u0000b" : "a\u0000c" }));
  const held = new Uint8Array(rows).fill(1).fill(0, 10, 20);
  const found = (json: unknown) =>
    labelsOf(parseFilter(fields, json), {
      fields: read(path),
      slots: rows,
      held,
      havingList: () => new Uint32Array(0),
    });
  expect(found({ name: "a\u0000b" })).toHaveLength(rows / 2 - 5);
  expect(found({ name: { $ne: "a" } })).toHaveLength(rows - 10);
  for (const json of [{ year: { $exists: false } }, { tags: { $nin: ["x"] } }, {}])
    expect([...found(json)].filter((label) => label >= 10 && label < 20)).toEqual([]);
});

test.each([
  ["a label above the slots", "UPDATE rows SET label = 99999 WHERE label = 5", "field"],
  [
    "an entry of a row that is not there",
    `INSERT INTO "f_tags" VALUES (99999, 'x')`,
    "field tags has label 99999",
  ],
])("%s is refused", (_, damage, message) => {
  const path = write("records.db", fields, (row) => ({ name: `n${row}`, tags: ["t"] }));
  const db = new DatabaseSync(path);
  db.exec(damage);
  db.close();
  expect(() => read(path)).toThrow(message);
});
