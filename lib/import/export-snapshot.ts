/**
 * Another store's records become an exported snapshot (lib/core/format/exported-snapshot.ts): parts first, the descriptor last. What
 * was interrupted is begun again, and writes the same parts.
 */
import {
  descriptorKey,
  type ExportedPart,
  encodeExported,
  exportedPart,
  exportedPartBytesMax,
  exportedPartRowsMax,
  exportedPartsMax,
  partKey,
} from "../core/format/exported-snapshot.ts";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import { vectorToBase64 } from "../core/model/vector.ts";
import type { ImportSource, SourceItem } from "./source.ts";

export interface ExportTarget {
  /** Where the snapshot lies: ends with a slash. */
  readonly path: string;
  readonly collection: string;
  /** False where the key has an object. */
  readonly create: (key: string, body: Uint8Array) => Promise<boolean>;
  /** The object, or null. */
  readonly read: (key: string) => Promise<Uint8Array | null>;
  readonly onProgress: (progress: { done: number; all: number } | null, rows: number) => void;
  readonly interrupted: AbortSignal;
}

export interface Exported {
  /** False where it was interrupted: then there is no snapshot yet. */
  readonly complete: boolean;
  readonly rows: number;
  readonly parts: readonly ExportedPart[];
}

/** Throws `conflict` where another snapshot lies there, `invalid` for a source without vectors or one that is too large. */
export async function exportSnapshot(source: ImportSource, target: ExportTarget): Promise<Exported> {
  const { dims, metric } = await source.describe();
  if (dims === null) throw invalid("the source has no vectors: there is nothing to export");
  const writer = new PartWriter(target);
  for await (const page of source.pages(null)) {
    if (target.interrupted.aborted) return { complete: false, rows: writer.rows, parts: writer.parts };
    for (const item of page.items) if (!("blank" in item)) await writer.add(lineOf(item));
    target.onProgress(page.progress, writer.rows);
  }
  await writer.flush();
  const { rows, parts } = writer;
  const { path, collection } = target;
  const descriptor = encodeExported({ collection, dims, metric, parts });
  const key = descriptorKey(path);
  if (!(await target.create(key, descriptor))) {
    const found = await target.read(key);
    if (found === null || !descriptor.equals(found))
      throw new SiltstoneError(
        "conflict",
        `${key} is there already, of another export: choose another prefix, or delete what lies below this one`,
      );
  }
  return { complete: true, rows, parts };
}

/** As `--from records:` reads it; what cannot be read of the source is a line of a rejects file, for who takes it over to report. */
function lineOf(item: Exclude<SourceItem, { blank: true }>): string {
  if ("fault" in item) {
    const { id, ...problem } = item.fault;
    return jsonOf({ at: item.at, problems: [problem], record: id === undefined ? null : { id } });
  }
  const { id, vector, document, metadata } = item.row;
  const encoded = vector instanceof Float32Array && vector.every(Number.isFinite);
  return jsonOf({
    id,
    vector: encoded ? vectorToBase64(vector) : vector,
    ...(document == null ? {} : { document }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
  });
}

/** What JSON has no number for becomes an object, which no collection takes: a text or null would be taken for what was meant. */
const jsonOf = (value: object): string => `${JSON.stringify(value, exact)}\n`;
const exact = (_: string, value: unknown): unknown => {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array, String);
  if (typeof value === "bigint" && Number.isSafeInteger(Number(value))) return Number(value);
  const isNumber = typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value));
  return isNumber ? { number: String(value) } : value;
};

class PartWriter {
  rows = 0;
  readonly parts: ExportedPart[] = [];
  readonly #target: ExportTarget;
  #lines: string[] = [];
  #bytes = 0;

  constructor(target: ExportTarget) {
    this.#target = target;
  }

  async add(line: string): Promise<void> {
    const bytes = Buffer.byteLength(line);
    if (this.#bytes + bytes > exportedPartBytesMax || this.#lines.length >= exportedPartRowsMax)
      await this.flush();
    this.#lines.push(line);
    this.#bytes += bytes;
  }

  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    if (this.parts.length >= exportedPartsMax)
      throw invalid(`the source makes more than ${exportedPartsMax} parts: use \`silt import\``);
    const body = Buffer.from(this.#lines.join(""));
    const part = exportedPart(this.parts.length, body, this.#lines.length);
    // What is there has the same content, by its name.
    await this.#target.create(partKey(this.#target.path, part), body);
    this.parts.push(part);
    this.rows += part.rows;
    this.#lines = [];
    this.#bytes = 0;
  }
}
