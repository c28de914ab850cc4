/**
 * Parquet files, a window of whole pages at a time where the file has an offset index, else a row group at a time: what wrote it
 * without one decides how much is held in memory.
 */
import type { RowGroup } from "hyparquet";
import { invalid } from "../../core/model/errors.ts";
import { type InputFile, identityOf } from "../inputs.ts";
import {
  type Cursor,
  type FieldNames,
  type ImportSource,
  pageRowsMax,
  rowsBefore,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
  usualFields,
} from "../source.ts";
import { readBytesMax } from "./parquet-bounds.ts";
import { ParquetFile, type Rows } from "./parquet-pages.ts";

/** Of a page with more, a part is read at a time. */
const windowRowsMax = 4 * pageRowsMax;
/** In the metadata of files that `silt export` wrote, with the name of the fields. */
export const exportMark = "siltstone";
export const exportedFields: FieldNames = {
  id: "id",
  document: "document",
  vector: "vector",
  metadata: "metadata",
  version: "version",
};

export class ParquetFiles implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #files: readonly ParquetFile[];
  readonly #namespaceOf: (name: string) => string | undefined;

  private constructor(
    files: readonly ParquetFile[],
    fields: FieldNames,
    namespaceOf: (name: string) => string | undefined,
  ) {
    this.#files = files;
    this.fields = fields;
    this.#namespaceOf = namespaceOf;
  }

  /** Throws `invalid` when one of them is no Parquet file. */
  static async open(
    inputs: readonly InputFile[],
    {
      fields = usualFields,
      namespaceOf = () => undefined,
    }: { fields?: FieldNames; namespaceOf?: (name: string) => string | undefined } = {},
  ): Promise<ParquetFiles> {
    const files: ParquetFile[] = [];
    for (const file of inputs) files.push(await ParquetFile.open(file));
    const isExport = files.every(({ metadata }) =>
      metadata.key_value_metadata?.some(({ key }) => key === exportMark),
    );
    return new ParquetFiles(files, isExport ? exportedFields : fields, namespaceOf);
  }

  async describe(): Promise<SourceDescription> {
    const rows = this.#files.reduce((sum, { metadata }) => sum + Number(metadata.num_rows), 0);
    const identity = identityOf(this.#files.map(({ file }) => file));
    return { rows, dims: null, metric: null, notes: [], identity };
  }

  async *pages(after: Cursor | null): AsyncGenerator<SourcePage> {
    const skipped = rowsBefore(after);
    const all = this.#files.reduce((sum, { metadata }) => sum + Number(metadata.num_rows), 0);
    let before = 0;
    for (const opened of this.#files) {
      const fileStart = before;
      const { file, metadata } = opened;
      const namespace = this.#namespaceOf(file.name);
      for (const group of metadata.row_groups) {
        const groupRows = Number(group.num_rows);
        const behind = Math.max(0, skipped - before);
        for await (const { start, limit } of behind < groupRows ? windowsOf(opened, group) : []) {
          if (limit <= behind) continue;
          const first = Math.max(start, behind);
          const rows = await opened.rows(group, { start: first, limit });
          for (let at = 0; at < rows.length; at += pageRowsMax) {
            const row = before - fileStart + first + at;
            const items: SourceItem[] = rows.slice(at, at + pageRowsMax).map((fields, i) => ({
              at: this.#files.length > 1 ? `${file.name} row ${row + i}` : `row ${row + i}`,
              row: { metadata: fields, ...(namespace === undefined ? {} : { namespace }) },
            }));
            const done = before + first + at + items.length;
            yield { items, cursor: { row: done }, progress: { done, all } };
          }
        }
        before += groupRows;
      }
    }
  }

  async close(): Promise<void> {
    for (const { file } of this.#files) await file.close();
  }
}

/** Ranges of a row group's rows, each read at a time. */
async function* windowsOf(opened: ParquetFile, group: RowGroup): AsyncGenerator<Rows> {
  const rows = Number(group.num_rows);
  const starts = await opened.pageRows(group);
  if (starts !== null) return yield* pageWindows(starts, rows);
  if (Number(group.total_byte_size) > readBytesMax)
    throw invalid(
      `${opened.file.name}: a row group of it has ${group.total_byte_size} bytes and no offset index, and would be read whole; ` +
        "write it again with row groups of 50,000 rows or fewer",
    );
  yield { start: 0, limit: rows };
}

/** As many whole pages as a window has rows for, since a page that two windows share is decoded twice; of a page of very many rows a part. */
function* pageWindows(starts: readonly number[], rows: number): Generator<Rows> {
  let from = 0;
  const ends = [...starts.slice(1), rows];
  for (const [i, end] of ends.entries()) {
    while (end - from > windowRowsMax) {
      yield { start: from, limit: from + windowRowsMax };
      from += windowRowsMax;
    }
    const isFull = i === ends.length - 1 || ends[i + 1]! - from > pageRowsMax;
    if (!isFull || end === from) continue;
    yield { start: from, limit: end };
    from = end;
  }
}
