/** Writes rows as a flat segment: vectors.f32 and records.db. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Segment } from "../core/format/manifest.ts";
import type { Collection } from "../core/model/collection.ts";
import type { SegmentId } from "../core/model/ids.ts";
import type { Row } from "../core/model/row.ts";
import { describeSegment, hashFiles, measureRows, Opened } from "./files.ts";
import { RecordsWriter } from "./records-db.ts";

/** Rows written by one write call. */
const vectorBatch = 512;

/** `rows`: one per id. The segment is described by what the files hold, not by what was given. */
export async function writeFlatSegment(
  folder: string,
  collection: Collection,
  id: SegmentId,
  rows: readonly Row[],
): Promise<Segment> {
  const vectors = await open(join(folder, "vectors.f32"), "wx");
  const opened = new Opened();
  try {
    const records = new RecordsWriter(join(folder, "records.db"), collection);
    opened.add({ close: () => records.abandon() });
    const live = rows.filter((row) => row.vector !== null);
    for (let start = 0; start < live.length; start += vectorBatch) {
      const part = live.slice(start, start + vectorBatch);
      const block = new Float32Array(part.length * collection.dims);
      part.forEach((row, i) => {
        records.addRow(start + i, row);
        block.set(row.vector!, i * collection.dims);
      });
      await vectors.writeFile(new Uint8Array(block.buffer));
    }
    for (const row of rows) if (row.vector === null) records.addTombstone(row);
    records.finish();
  } finally {
    opened.close();
    await vectors.close();
  }
  const measured = await measureRows(folder, collection.dims);
  return describeSegment(
    { id, kind: "flat" },
    measured,
    await hashFiles(folder, ["vectors.f32", "records.db"]),
  );
}
