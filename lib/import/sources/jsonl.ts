/**
 * JSON objects, one a line. `jsonl`: each line is an object of fields. `records`: each is a record as `silt put` takes it, or a
 * line of a rejects file, whose record it is.
 */
import { isPlainObject, shown } from "../../core/model/metadata.ts";
import { parseWithIntegers } from "../exact-integers.ts";
import { Contents, type InputFile, identityOf } from "../inputs.ts";
import { recordLines } from "../record-lines.ts";
import {
  type Cursor,
  type FieldNames,
  type ImportSource,
  ownFields,
  pagesOf,
  rowsBefore,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
  type SourceRow,
  usualFields,
} from "../source.ts";
import type { VectorFile } from "../vector-file.ts";

/** A line's object as a row, or what is wrong with it. */
export type RowOfObject = (value: Readonly<Record<string, unknown>>) => SourceRow | string;

export class JsonLines implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = true;
  readonly givesVersions: boolean;
  readonly #files: readonly InputFile[];
  readonly #vectors: VectorFile | null;
  readonly #rowOf: RowOfObject;

  /** `vectors`: row i belongs to line i, blank lines included. */
  constructor(
    files: readonly InputFile[],
    {
      fields = usualFields,
      rowOf = (metadata) => ({ metadata }),
      vectors = null,
    }: { fields?: FieldNames; rowOf?: RowOfObject; vectors?: VectorFile | null } = {},
  ) {
    this.fields = vectors === null ? fields : { ...fields, vector: null };
    this.givesVersions = rowOf === rowOfRecord;
    this.#files = files;
    this.#vectors = vectors;
    this.#rowOf = rowOf;
  }

  async describe(): Promise<SourceDescription> {
    const vectors = this.#vectors;
    const identity = identityOf(this.#files);
    return {
      rows: null,
      dims: null,
      metric: null,
      notes: [],
      identity: vectors && identity ? `${identity}\n${vectors.path} ${vectors.rows}` : identity,
    };
  }

  pages(after: Cursor | null): AsyncIterable<SourcePage> {
    const contents = new Contents(this.#files, "text");
    const skipped = rowsBefore(after);
    return pagesOf(this.#items(contents, skipped), skipped, () => contents.progress);
  }

  async *#items(contents: Contents, skipped: number): AsyncGenerator<SourceItem> {
    let before = 0;
    for await (const { file, chunks } of contents.each()) {
      let last = 0;
      for await (const { number, text, fault } of recordLines(chunks, skipped - before)) {
        last = number;
        if (before + number <= skipped) continue;
        const at = this.#files.length > 1 ? `${file.name} line ${number}` : `line ${number}`;
        const vector = await this.#vectors?.vector(before + number - 1);
        if (text === null) yield { at, fault: { field: "line", reason: fault ?? "" } };
        else if (text.trim() === "") yield { at, blank: true };
        else yield itemOf(at, text, this.#rowOf, vector);
      }
      before += last;
    }
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
    await this.#vectors?.close();
  }
}

function itemOf(
  at: string,
  text: string,
  rowOf: RowOfObject,
  vector: Float32Array | string | undefined,
): SourceItem {
  const faulty = (field: string, reason: string): SourceItem => ({ at, fault: { field, reason }, text });
  if (typeof vector === "string") return faulty("vector", vector);
  let value: unknown;
  try {
    value = parseWithIntegers(text);
  } catch (error) {
    return faulty("line", `is not JSON: ${(error as Error).message}`);
  }
  if (!isPlainObject(value)) return faulty("line", `must be a JSON object, got ${shown(value)}`);
  if (vector !== undefined && value.vector != null)
    return faulty("vector", "is in the line and in --vectors");
  const row = rowOf(value);
  if (typeof row === "string") return faulty("line", row);
  return { at, row: vector === undefined ? row : { ...row, vector } };
}

/** The same where each line is a record as `silt put` takes it, or a line of a rejects file. */
export const recordJsonLines = (files: readonly InputFile[], vectors: VectorFile | null = null): JsonLines =>
  new JsonLines(files, { fields: ownFields, rowOf: rowOfRecord, vectors });

function rowOfRecord(value: Readonly<Record<string, unknown>>): SourceRow | string {
  const rejected = "problems" in value && "at" in value;
  const record = rejected ? value.record : value;
  if (!isPlainObject(record)) return `its record must be an object, got ${shown(record)}`;
  const { id, vector, document, metadata, version, ...others } = record;
  const unknown = Object.keys(others)[0];
  if (unknown !== undefined)
    return `has ${shown(unknown)}; a record has id, vector, document, metadata and version`;
  if (metadata != null && !isPlainObject(metadata))
    return `metadata must be an object, got ${shown(metadata)}`;
  return { id, vector, document, metadata: metadata ?? {}, version };
}
