/**
 * Vectors without anything else: fvecs (per row an int32 dimension and that many float32, little endian) and NPY (a header,
 * then a matrix of little-endian floats). Their rows have no ids: those are derived from the rows' numbers, by --derive-ids.
 */
import { invalid } from "../../core/model/errors.ts";
import { Contents, type InputFile, identityOf } from "../inputs.ts";
import {
  type Cursor,
  type ImportSource,
  ownFields,
  pagesOf,
  rowsBefore,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
} from "../source.ts";

/** How the rows of one file are laid out. */
interface Layout {
  /** Bytes before the first row. */
  readonly head: number;
  readonly rowBytes: number;
  readonly dims: number;
  /** Null where only the file's end tells. */
  readonly rows: number | null;
  vector(row: Buffer): Float32Array | string;
}
interface Format {
  /** Of the first bytes; null while more are needed. Throws `invalid` when it is no such file. */
  layout(name: string, head: Buffer): Layout | null;
}

export class FixedRows implements ImportSource {
  readonly fields = ownFields;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #files: readonly InputFile[];
  readonly #format: Format;

  constructor(files: readonly InputFile[], format: "fvecs" | "npy") {
    this.#files = files;
    this.#format = format === "fvecs" ? fvecs : npy;
  }

  async describe(): Promise<SourceDescription> {
    const notes = ["its rows have no ids and no documents: ids are derived from their numbers"];
    let rows: number | null = 0;
    let dims: number | null = null;
    for (const file of this.#files) {
      if (file.bytes === null) return { rows: null, dims: null, metric: null, notes, identity: null };
      const { layout, isPacked } = await this.#head(file);
      dims ??= layout?.dims ?? null;
      const counted =
        layout?.rows ??
        (isPacked || layout === null ? null : Math.floor((file.bytes - layout.head) / layout.rowBytes));
      rows = rows === null || counted === null ? null : rows + counted;
    }
    return { rows, dims, metric: null, notes, identity: identityOf(this.#files) };
  }

  async #head(file: InputFile): Promise<{ layout: Layout | null; isPacked: boolean }> {
    const contents = new Contents([file], "binary");
    for await (const { chunks } of contents.each()) {
      let head: Buffer = Buffer.alloc(0);
      for await (const chunk of chunks) {
        head = Buffer.concat([head, chunk]);
        const layout = this.#format.layout(file.name, head);
        const raw = await file.read?.(0, Math.min(2, file.bytes ?? 0));
        if (layout !== null) return { layout, isPacked: raw?.equals(head.subarray(0, 2)) !== true };
      }
      if (head.length > 0) throw invalid(`${file.name} ends within its header`);
    }
    return { layout: null, isPacked: false };
  }

  pages(after: Cursor | null): AsyncIterable<SourcePage> {
    const contents = new Contents(this.#files, "binary");
    const skipped = rowsBefore(after);
    return pagesOf(this.#items(contents, skipped), skipped, () => contents.progress);
  }

  async *#items(contents: Contents, skipped: number): AsyncGenerator<SourceItem> {
    let row = 0;
    for await (const { file, chunks } of contents.each()) {
      const first = row;
      for await (const vector of vectorsIn(file.name, chunks, this.#format)) {
        row += 1;
        if (row <= skipped) continue;
        const at = this.#files.length > 1 ? `${file.name} row ${row - first - 1}` : `row ${row - 1}`;
        if (typeof vector === "string") yield { at, fault: { field: "vector", reason: vector } };
        else yield { at, row: { vector, metadata: {} } };
      }
    }
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
  }
}

async function* vectorsIn(
  name: string,
  chunks: AsyncIterable<Buffer>,
  format: Format,
): AsyncGenerator<Float32Array | string> {
  let held: Buffer = Buffer.alloc(0);
  let layout: Layout | null = null;
  let rows = 0;
  for await (const chunk of chunks) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    let start = 0;
    if (layout === null) {
      layout = format.layout(name, held);
      if (layout === null) continue;
      start = layout.head;
    }
    for (; start + layout.rowBytes <= held.length; start += layout.rowBytes) {
      if (rows === layout.rows) throw invalid(`${name} has more bytes than its ${rows} rows`);
      rows += 1;
      yield layout.vector(held.subarray(start, start + layout.rowBytes));
    }
    held = held.subarray(start);
  }
  if (held.length > 0 || (layout !== null && layout.rows !== null && rows < layout.rows))
    throw invalid(`${name} ends within a row, behind ${rows} whole ones`);
}

const dimsMax = 65_536;

const fvecs: Format = {
  layout(name, head) {
    if (head.length < 4) return null;
    const dims = head.readInt32LE(0);
    if (dims < 1 || dims > dimsMax) throw invalid(`${name} is not an fvecs file: it begins with ${dims}`);
    return {
      head: 0,
      rowBytes: 4 + dims * 4,
      dims,
      rows: null,
      vector: (row) =>
        row.readInt32LE(0) === dims
          ? floats(row, 4, dims)
          : `says it has ${row.readInt32LE(0)} dimensions instead of ${dims}`,
    };
  },
};

const magic = Buffer.from("\x93NUMPY", "latin1");
const headBytesMax = 65_536;

const npy: Format = {
  layout(name, head) {
    if (head.length < 12) return null;
    if (!head.subarray(0, magic.length).equals(magic)) throw invalid(`${name} is not an NPY file`);
    const isFirst = head[6] === 1;
    const length = isFirst ? head.readUInt16LE(8) : head.readUInt32LE(8);
    const start = isFirst ? 10 : 12;
    if (length > headBytesMax) throw invalid(`${name}: its header has ${length} bytes`);
    if (head.length < start + length) return null;
    const text = head.toString("latin1", start, start + length);
    const type = /'descr':\s*'([^']*)'/.exec(text)?.[1];
    const shape = /'shape':\s*\((\d+),\s*(\d+)\s*,?\)/.exec(text);
    const element = type === undefined ? undefined : elements[type];
    if (element === undefined)
      throw invalid(`${name}: its type is ${type}; ${Object.keys(elements).join(", ")} can be read`);
    if (shape === null) throw invalid(`${name}: it must have two dimensions, rows and components`);
    if (!/'fortran_order':\s*False/.test(text))
      throw invalid(`${name}: it is in Fortran order; save it by np.save(…, np.ascontiguousarray(a))`);
    const dims = Number(shape[2]);
    if (dims < 1 || dims > dimsMax) throw invalid(`${name}: it has ${dims} dimensions`);
    return {
      head: start + length,
      rowBytes: dims * element.bytes,
      dims,
      rows: Number(shape[1]),
      vector: (row) => element.read(row, dims),
    };
  },
};

const elements: Readonly<
  Record<string, { bytes: number; read: (row: Buffer, dims: number) => Float32Array }>
> = {
  "<f4": { bytes: 4, read: (row, dims) => floats(row, 0, dims) },
  "<f8": {
    bytes: 8,
    read: (row, dims) => Float32Array.from({ length: dims }, (_, i) => row.readDoubleLE(i * 8)),
  },
  "<f2": {
    bytes: 2,
    read: (row, dims) => Float32Array.from({ length: dims }, (_, i) => float16(row.readUInt16LE(i * 2))),
  },
};

/** A copy: the buffer may begin at any byte. */
export function floats(bytes: Uint8Array, start: number, dims: number): Float32Array {
  const vector = new Float32Array(dims);
  new Uint8Array(vector.buffer).set(bytes.subarray(start, start + dims * 4));
  return vector;
}

/** IEEE 754 binary16. */
export function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
