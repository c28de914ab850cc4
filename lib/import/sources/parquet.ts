/**
 * Parquet files, a window of whole pages at a time where the file has an offset index, else a row group at a time: what wrote it
 * without one decides how much is held in memory.
 */
import {
  type AsyncBuffer,
  type ColumnChunk,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  type RowGroup,
  readOffsetIndex,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
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

/** Of a page with more, a part is read at a time. */
const windowRowsMax = 4 * pageRowsMax;
/** Of a row group that has to be read whole. */
const groupBytesMax = 1024 * 1024 * 1024;
/** In the metadata of files that `silt export` wrote, with the name of the fields. */
export const exportMark = "siltstone";
export const exportedFields: FieldNames = {
  id: "id",
  document: "document",
  vector: "vector",
  metadata: "metadata",
  version: "version",
};

interface OpenFile {
  readonly file: InputFile;
  readonly buffer: AsyncBuffer;
  readonly metadata: FileMetaData;
}

export class ParquetFiles implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #files: readonly OpenFile[];
  readonly #namespaceOf: (name: string) => string | undefined;

  private constructor(
    files: readonly OpenFile[],
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
    const files: OpenFile[] = [];
    for (const file of inputs) {
      const buffer = bufferOf(file);
      const metadata = await reading(file, () => parquetMetadataAsync(buffer));
      files.push({ file, buffer, metadata });
    }
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
      const { file, buffer, metadata } = opened;
      const namespace = this.#namespaceOf(file.name);
      for await (const { start, limit } of windowsOf(opened)) {
        if (before + limit <= skipped) continue;
        const first = Math.max(start, skipped - before);
        const options = { metadata, compressors, rowStart: first, rowEnd: limit, useOffsetIndex: true };
        const rows = await reading(file, () =>
          unlessFailed(buffer, (gated) => parquetReadObjects({ ...options, file: gated })),
        );
        for (let at = 0; at < rows.length; at += pageRowsMax) {
          const items: SourceItem[] = rows.slice(at, at + pageRowsMax).map((row, i) => ({
            at: this.#files.length > 1 ? `${file.name} row ${first + at + i}` : `row ${first + at + i}`,
            row: { metadata: row, ...(namespace === undefined ? {} : { namespace }) },
          }));
          const done = before + first + at + items.length;
          yield { items, cursor: { row: done }, progress: { done, all } };
        }
      }
      before += Number(metadata.num_rows);
    }
  }

  async close(): Promise<void> {
    for (const { file } of this.#files) await file.close();
  }
}

interface Window {
  readonly start: number;
  readonly limit: number;
}

/** Half-open ranges of rows, each read at a time. */
async function* windowsOf({ file, buffer, metadata }: OpenFile): AsyncGenerator<Window> {
  let start = 0;
  for (const group of metadata.row_groups) {
    const limit = start + Number(group.num_rows);
    const isIndexed = group.columns.every(({ offset_index_offset: offset }) => offset != null);
    if (!isIndexed && Number(group.total_byte_size) > groupBytesMax) {
      throw invalid(
        `${file.name}: a row group of it has ${group.total_byte_size} bytes and no offset index, and would be read whole; ` +
          "write it again with row groups of 50,000 rows or fewer",
      );
    }
    if (isIndexed) yield* pageWindows(await reading(file, () => pageStarts(buffer, group)), { start, limit });
    else yield { start, limit };
    start = limit;
  }
}

/** Where the pages of the largest column begin, in rows of the group: a page that two windows share is decoded twice. */
async function pageStarts(buffer: AsyncBuffer, { columns }: RowGroup): Promise<number[]> {
  const size = ({ meta_data: of }: ColumnChunk) => Number(of?.total_uncompressed_size ?? 0);
  const largest = columns.reduce((most, column) => (size(column) > size(most) ? column : most));
  const offset = Number(largest.offset_index_offset);
  const index = await buffer.slice(offset, offset + Number(largest.offset_index_length));
  const { page_locations: pages } = readOffsetIndex({ view: new DataView(index), offset: 0 });
  return pages.map(({ first_row_index: row }) => Number(row));
}

/** As many whole pages as a window has rows for; of a page of very many rows a part. */
function* pageWindows(starts: readonly number[], { start, limit }: Window): Generator<Window> {
  let from = start;
  const ends = [...starts.slice(1).map((row) => start + row), limit];
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

function bufferOf(file: InputFile): AsyncBuffer {
  const { read, bytes, name } = file;
  if (read === null || bytes === null)
    throw invalid(`${name}: Parquet cannot be read from a stream, its index is at its end; give a file`);
  return {
    byteLength: bytes,
    async slice(start, end = bytes) {
      const [from, to] = [start < 0 ? bytes + start : start, end < 0 ? bytes + end : Math.min(end, bytes)];
      const part = await read(from, Math.max(from, to));
      // A copy of its own: small buffers share memory.
      return part.buffer.slice(part.byteOffset, part.byteOffset + part.length) as ArrayBuffer;
    },
  };
}

/**
 * hyparquet begins to read all columns before it finds that it understands one of them not, and nobody hears how the others end: their
 * failure would end the process. So a call that has failed is given nothing more to fail at.
 */
async function unlessFailed<T>(buffer: AsyncBuffer, read: (gated: AsyncBuffer) => Promise<T>): Promise<T> {
  let hasFailed = false;
  const slice = async (start: number, end?: number) => {
    const part = await buffer.slice(start, end);
    return hasFailed ? new Promise<never>(() => {}) : part;
  };
  try {
    return await read({ byteLength: buffer.byteLength, slice });
  } catch (error) {
    hasFailed = true;
    throw error;
  }
}

async function reading<T>({ name }: InputFile, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SiltstoneError) throw error;
    throw invalid(`${name} cannot be read as Parquet: ${(error as Error).message}`);
  }
}
