/**
 * CSV with a header (RFC 4180: quotes, quotes doubled within them, line ends within them), or TSV where the header has tabs. A
 * field is text; the vector's is JSON, as other stores print it: [0.1,0.2]. An empty field that is not quoted is no field.
 */
import { invalid } from "../../core/model/errors.ts";
import { decodeUtf8, markBytes } from "../input-text.ts";
import { Contents, type InputFile, identityOf } from "../inputs.ts";
import { lineBytesMax } from "../record-lines.ts";
import {
  type Cursor,
  emptyFields,
  type FieldNames,
  type ImportSource,
  pagesOf,
  rowsBefore,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
  usualFields,
} from "../source.ts";

export class CsvFiles implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #files: readonly InputFile[];

  constructor(files: readonly InputFile[], fields: FieldNames = usualFields) {
    this.#files = files;
    this.fields = fields;
  }

  async describe(): Promise<SourceDescription> {
    const notes = ["every field of CSV is text, numbers and booleans too: JSONL or Parquet keep types"];
    return { rows: null, dims: null, metric: null, notes, identity: identityOf(this.#files) };
  }

  pages(after: Cursor | null): AsyncIterable<SourcePage> {
    const contents = new Contents(this.#files, "text");
    const skipped = rowsBefore(after);
    return pagesOf(this.#items(contents, skipped), skipped, () => contents.progress);
  }

  async *#items(contents: Contents, skipped: number): AsyncGenerator<SourceItem> {
    let row = 0;
    for await (const { file, chunks } of contents.each()) {
      let header: string[] | null = null;
      const dialect: Dialect = { separator: "," };
      for await (const { line, bytes } of logicalLines(file.name, chunks, dialect)) {
        if (header !== null && ++row <= skipped) continue;
        const at = this.#files.length > 1 ? `${file.name} line ${line}` : `line ${line}`;
        const text = bytes === null ? null : decodeUtf8(bytes);
        if (text === null) {
          yield { at, fault: { field: "line", reason: bytes === null ? "it is too long" : "is not UTF-8" } };
        } else if (header === null) {
          dialect.separator = text.includes("\t") ? "\t" : ",";
          header = csvFields(text, dialect.separator).map((name) => name ?? "");
          const seen = new Set<string>();
          const twice = header.find((name) => seen.size === seen.add(name).size);
          if (twice !== undefined)
            throw invalid(`${file.name}: its header has the field ${JSON.stringify(twice)} twice`);
        } else if (text.trim() === "") {
          yield { at, blank: true };
        } else {
          yield itemOf(at, header, csvFields(text, dialect.separator), text, this.fields.vector);
        }
      }
    }
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
  }
}

function itemOf(
  at: string,
  header: readonly string[],
  values: readonly (string | null)[],
  text: string,
  vectorField: string | null,
): SourceItem {
  if (values.length !== header.length) {
    const reason = `has ${values.length} fields, the header has ${header.length}`;
    return { at, fault: { field: "line", reason }, text };
  }
  const metadata = emptyFields();
  for (const [i, name] of header.entries()) {
    const value = values[i]!;
    if (value !== null) metadata[name] = name === vectorField ? listOf(value) : value;
  }
  return { at, row: { metadata } };
}

/** Numbers of JSON or of Postgres's text; any other text as it is: base64, or refused by the engine. */
export function listOf(text: string): unknown {
  const inner = /^\s*[[{(](.*)[\]})]\s*$/s.exec(text)?.[1];
  if (inner === undefined) return text;
  return inner.trim() === "" ? [] : inner.split(",").map((one) => (one.trim() === "" ? one : Number(one)));
}

/** What the header tells of the lines behind it. */
interface Dialect {
  separator: "," | "\t";
}

/**
 * Lines that end outside of quotes, with the number that each begins at; null for one that is too long. A quote opens a field at
 * its beginning only. One that is never closed would swallow all lines behind it, and is an error.
 */
async function* logicalLines(
  name: string,
  chunks: AsyncIterable<Buffer>,
  dialect: Dialect,
): AsyncGenerator<{ line: number; bytes: Buffer | null }> {
  const [quote, lineFeed] = [0x22, 0x0a];
  let parts: Buffer[] = [];
  let [length, line, next, isFirst] = [0, 1, 1, true];
  // Within a quoted field; at the beginning of one; behind a quote that may have ended it.
  let [quoted, begins, ended] = [false, true, false];
  const unclosed = () => invalid(`${name}: a quote in line ${line} is not closed`);
  const add = (part: Buffer) => {
    length += part.length;
    if (length <= lineBytesMax) parts.push(part);
    else if (quoted) throw unclosed();
  };
  const take = () => {
    const whole = length > lineBytesMax ? null : Buffer.concat(parts);
    const bytes = isFirst && whole !== null ? whole.subarray(markBytes(whole)) : whole;
    const taken = { line, bytes: bytes?.at(-1) === 0x0d ? bytes.subarray(0, -1) : bytes };
    parts = [];
    [length, line, isFirst] = [0, next, false];
    return taken;
  };
  for await (const chunk of chunks) {
    let start = 0;
    // The first line's separator is not known yet: any of the two ends a field.
    const ends = (byte: number) => byte === dialect.separator.charCodeAt(0) || (isFirst && byte === 0x09);
    for (let i = isFirst && length === 0 ? markBytes(chunk) : 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      if (byte === quote) {
        if (quoted) [quoted, ended] = [false, true];
        else if (begins || ended) quoted = true;
        if (quoted) ended = false;
        begins = false;
      } else if (byte === lineFeed) {
        next += 1;
        if (quoted) continue;
        [begins, ended] = [true, false];
        add(chunk.subarray(start, i));
        start = i + 1;
        yield take();
      } else if (!quoted) {
        [begins, ended] = [ends(byte), false];
      }
    }
    add(chunk.subarray(start));
  }
  if (quoted) throw unclosed();
  if (length > 0) yield take();
}

/** The fields of one record; null for an empty one that is not quoted. */
export function csvFields(text: string, separator: string): (string | null)[] {
  const fields: (string | null)[] = [];
  for (let at = 0; ; ) {
    if (text[at] === '"') {
      let value = "";
      for (at += 1; ; ) {
        const end = text.indexOf('"', at);
        if (end < 0) {
          value += text.slice(at);
          at = text.length;
          break;
        }
        value += text.slice(at, end);
        at = end + 1;
        if (text[at] !== '"') break;
        value += '"';
        at += 1;
      }
      const end = text.indexOf(separator, at);
      fields.push(value + text.slice(at, end < 0 ? text.length : end));
      if (end < 0) return fields;
      at = end + 1;
    } else {
      const end = text.indexOf(separator, at);
      const value = text.slice(at, end < 0 ? text.length : end);
      fields.push(value === "" ? null : value);
      if (end < 0) return fields;
      at = end + 1;
    }
  }
}
