/**
 * The rows of a Parquet file: footer, offset indexes and pages are looked at (parquet-bounds.ts) before hyparquet decodes them, a page
 * at a time. It is given one column's pages by their bytes; which bytes those are is decided here.
 */
import {
  type ColumnChunk,
  type ColumnMetaData,
  type DecodedArray,
  type FileMetaData,
  type PageHeader,
  parquetMetadata,
  parquetSchema,
  type RowGroup,
  readOffsetIndex,
  type SchemaTree,
} from "hyparquet";
import { parquetHeader, readPage } from "hyparquet/src/column.js";
import { convert, DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { assembleAsync } from "hyparquet/src/rowgroup.js";
import { getTreePath, isFlatColumn } from "hyparquet/src/schema.js";
import { flatten } from "hyparquet/src/utils.js";
import { compressors } from "hyparquet-compressors";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import type { InputFile } from "../inputs.ts";
import { emptyFields } from "../source.ts";
import { ChunkPages, checkMetadata, quoted, ReadBudget, thriftLimit } from "./parquet-bounds.ts";

/** Read with the end of the file: most footers are shorter. */
const tailBytes = 64 * 1024;
/** Of a footer, and of an offset index. */
const metadataBytesMax = 16 * 1024 * 1024;
const magic = "PAR1";

/** Half-open range of rows in a row group. */
export interface Rows {
  readonly start: number;
  readonly limit: number;
}

/** Where a page is: bytes of the file, and its first row in the row group. */
interface Page {
  readonly start: number;
  readonly limit: number;
  readonly row: number;
}

/** The part of a column chunk that is decoded, with the dictionary in front of it, and its first row. */
interface ColumnPart {
  readonly bytes: Uint8Array;
  readonly row: number;
}

export class ParquetFile {
  readonly file: InputFile;
  readonly metadata: FileMetaData;
  readonly #schema: SchemaTree;
  /** Offset indexes that were read, of the row group that is read. */
  readonly #pages = new Map<ColumnChunk, readonly Page[]>();

  private constructor(file: InputFile, metadata: FileMetaData) {
    this.file = file;
    this.metadata = metadata;
    this.#schema = parquetSchema(metadata);
  }

  /** Throws `invalid` when it is no Parquet file. */
  static async open(file: InputFile): Promise<ParquetFile> {
    const { read, bytes, name } = file;
    if (read === null || bytes === null)
      throw invalid(`${name}: Parquet cannot be read from a stream, its index is at its end; give a file`);
    return reading(name, async () => {
      let tail = await read(Math.max(0, bytes - tailBytes), bytes);
      if (tail.length < 12 || tail.toString("latin1", tail.length - 4) !== magic)
        throw new Error(`it does not end with ${magic}`);
      const footerBytes = tail.readUInt32LE(tail.length - 8);
      if (footerBytes > Math.min(bytes - 8, metadataBytesMax))
        throw new Error(`its footer cannot be of ${footerBytes} bytes`);
      if (footerBytes + 8 > tail.length) tail = await read(bytes - footerBytes - 8, bytes);
      thriftLimit(tail.subarray(0, -8), tail.length - 8 - footerBytes);
      const metadata = parquetMetadata(tail, { geoparquet: false });
      checkMetadata(metadata, bytes);
      return new ParquetFile(file, metadata);
    });
  }

  /** Begins a row group. First rows of the pages of its largest column; null where a column has no offset index. */
  async pageRows(group: RowGroup): Promise<readonly number[] | null> {
    const { columns } = group;
    this.#pages.clear();
    if (!isIndexed(group)) return null;
    const size = ({ meta_data: of }: ColumnChunk) => Number(of?.total_uncompressed_size ?? 0);
    const largest = columns.reduce((most, column) => (size(column) > size(most) ? column : most));
    const pages = await this.#reading(group, largest, () => this.#pagesOf(largest));
    return pages.map(({ row }) => row);
  }

  /** Rows of one row group, as objects of columns. */
  async rows(group: RowGroup, { start, limit }: Rows): Promise<Record<string, unknown>[]> {
    const budget = new ReadBudget();
    const decoded = await Promise.allSettled(
      group.columns.map((chunk) =>
        this.#reading(group, chunk, async () => {
          const column = chunk.meta_data!;
          const part = await this.#partOf(group, chunk, { start, limit });
          return decodeColumn(part, column, {
            schemaPath: getTreePath(this.#schema, column.path_in_schema),
            rows: { start, limit },
            budget,
          });
        }),
      ),
    );
    const failed = decoded.find(({ status }) => status === "rejected") as PromiseRejectedResult | undefined;
    if (failed !== undefined) throw failed.reason;
    const asyncColumns = group.columns.map(({ meta_data: of }, i) => ({
      pathInSchema: of!.path_in_schema,
      data: Promise.resolve((decoded[i] as PromiseFulfilledResult<Decoded>).value),
    }));
    const groupRows = Number(group.num_rows);
    const parts = { groupStart: 0, groupRows, selectStart: start, selectEnd: limit, asyncColumns };
    return reading(this.file.name, async () => {
      const columns = await Promise.all(
        assembleAsync(parts, this.#schema).asyncColumns.map(async ({ pathInSchema, data }) => {
          const { data: chunks, skipped } = await data;
          return { name: pathInSchema[0]!, values: flatten(chunks), skipped };
        }),
      );
      return Array.from({ length: limit - start }, (_, i) => {
        const fields = emptyFields();
        for (const { name, values, skipped } of columns) fields[name] = values[start + i - skipped];
        return fields;
      });
    });
  }

  /** The bytes of the pages that hold the rows: all of the chunk where there is no index for every column. */
  async #partOf(group: RowGroup, chunk: ColumnChunk, { start, limit }: Rows): Promise<ColumnPart> {
    const read = this.file.read!;
    const { first, end } = chunkRange(chunk.meta_data!, this.file.bytes!);
    const isWhole = start === 0 && limit === Number(group.num_rows);
    if (isWhole || !isIndexed(group)) return { bytes: joined([await read(first, end)]), row: 0 };
    const pages = await this.#pagesOf(chunk);
    const from = pages.findLastIndex(({ row }) => row <= start);
    const to = pages.findLastIndex(({ row }) => row < limit);
    if (from < 0 || to < from) throw new Error(`its offset index has no page of row ${start}`);
    const data = await read(pages[from]!.start, pages[to]!.limit);
    const dictionary = first < pages[0]!.start ? [await read(first, pages[0]!.start)] : [];
    return { bytes: joined([...dictionary, data]), row: pages[from]!.row };
  }

  async #pagesOf(chunk: ColumnChunk): Promise<readonly Page[]> {
    const known = this.#pages.get(chunk);
    if (known !== undefined) return known;
    const start = Number(chunk.offset_index_offset);
    const bytes = Number(chunk.offset_index_length);
    if (!(start >= 0 && bytes > 0 && bytes <= metadataBytesMax && start + bytes <= this.file.bytes!))
      throw new Error(`its offset index cannot be of ${bytes} bytes at ${start}`);
    const index = await this.file.read!(start, start + bytes);
    thriftLimit(index, 0);
    const view = new DataView(index.buffer, index.byteOffset, index.length);
    const { first, end } = chunkRange(chunk.meta_data!, this.file.bytes!);
    let before: Page = { start: first, limit: first, row: -1 };
    const pages = readOffsetIndex({ view, offset: 0 }).page_locations.map((at): Page => {
      const [offset, row] = [Number(at.offset), Number(at.first_row_index)];
      const page = { start: offset, limit: offset + at.compressed_page_size, row };
      if (!(page.start >= before.limit && page.limit > page.start && page.limit <= end && row > before.row))
        throw new Error(`its offset index has a page of row ${row} at ${offset} to ${page.limit}`);
      before = page;
      return page;
    });
    this.#pages.set(chunk, pages);
    return pages;
  }

  /** Errors name the file, the row group and the column. */
  #reading<T>(group: RowGroup, { meta_data: of }: ColumnChunk, work: () => Promise<T>): Promise<T> {
    const at = `row group ${this.metadata.row_groups.indexOf(group)}, column ${quoted(of?.path_in_schema.join(".") ?? "")}`;
    return reading(
      this.file.name,
      async () => {
        if (of === undefined) throw new Error("a column chunk has no metadata");
        return work();
      },
      at,
    );
  }
}

const isIndexed = ({ columns }: RowGroup): boolean =>
  columns.every(({ offset_index_offset: offset, offset_index_length: bytes }) => offset && bytes);

function chunkRange(
  { dictionary_page_offset, data_page_offset, total_compressed_size }: ColumnMetaData,
  fileBytes: number,
): { first: number; end: number } {
  const first = Number(dictionary_page_offset || data_page_offset);
  const end = first + Number(total_compressed_size);
  if (!(first >= magic.length && end >= first && end <= fileBytes))
    throw new Error(`its chunk cannot be at ${first} to ${end}`);
  return { first, end };
}

/** In memory of their own: small buffers share theirs, and a text's length may go beyond its page. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Of a column: lists of values as its pages came, and the row of the row group that the first is of. */
interface Decoded {
  readonly data: DecodedArray[];
  readonly skipped: number;
}

/** Decodes page after page, up to the last row that is wanted. */
function decodeColumn(
  { bytes, row }: ColumnPart,
  column: ColumnMetaData,
  { schemaPath, rows, budget }: { schemaPath: SchemaTree[]; rows: Rows; budget: ReadBudget },
): Decoded {
  const pages = new ChunkPages(column, schemaPath, budget);
  const unpack = compressors[column.codec];
  const { element } = schemaPath.at(-1)!;
  let header: PageHeader;
  const checked = (input: Uint8Array, size: number): Uint8Array => {
    // LZ4 is not asked for nothing, which it refuses.
    const content = size === 0 ? new Uint8Array(0) : unpack!(input, size);
    pages.checkContent(header, content);
    return content;
  };
  const decoder = {
    ...column,
    pathInSchema: column.path_in_schema,
    element,
    schemaPath,
    parsers: DEFAULT_PARSERS,
    ...(unpack === undefined ? {} : { compressors: { [column.codec]: checked } }),
  };
  const isFlat = isFlatColumn(schemaPath);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const reader = { view, offset: 0 };
  const data: DecodedArray[] = [];
  let dictionary: DecodedArray | undefined;
  let skipped = row;
  let next = row;
  while (reader.offset < bytes.length - 1 && !(isFlat && next >= rows.limit)) {
    thriftLimit(bytes, reader.offset);
    header = parquetHeader(reader);
    const { compressed_page_size: size } = header;
    if (!(size >= 0 && size <= bytes.length - reader.offset))
      throw new Error(`a page of it has ${size} bytes, and its chunk ${bytes.length - reader.offset} more`);
    pages.checkHeader(header, bytes.subarray(reader.offset, reader.offset + size));
    if (header.type === "DICTIONARY_PAGE") {
      const page = readPage(reader, header, decoder, dictionary, undefined, 0);
      if (page.data !== undefined) dictionary = convert(page.data, decoder);
      continue;
    }
    const last = data.at(-1);
    const lastLength = last?.length ?? 0;
    const page = readPage(reader, header, decoder, dictionary, last, rows.start - next);
    if (page.skipped > 0) {
      if (data.length === 0) skipped += page.skipped;
      next += page.skipped;
    } else if (page.data !== undefined && page.data === last) next += page.data.length - lastLength;
    else if (page.data !== undefined && page.data.length > 0) {
      data.push(page.data);
      next += page.data.length;
    }
  }
  if (next < rows.limit)
    throw new Error(`it ends behind row ${next}; its row group has ${rows.limit} and more`);
  return { data, skipped };
}

async function reading<T>(name: string, work: () => Promise<T>, at?: string): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SiltstoneError) throw error;
    const where = at === undefined ? "" : `${at}: `;
    throw invalid(`${name} cannot be read as Parquet: ${where}${(error as Error).message}`);
  }
}
