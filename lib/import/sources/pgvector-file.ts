/**
 * What `COPY … TO` and pg_dump wrote. A plain dump says what its columns are; a COPY file does not, so the caller does:
 * `FILE?columns=id:bigint,embedding:vector,body:text`. Binary COPY is told by its first bytes.
 */
import { invalid } from "../../core/model/errors.ts";
import { Contents, type InputFile, identityOf, readOnce } from "../inputs.ts";
import { recordLines } from "../record-lines.ts";
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
} from "../source.ts";
import { ofBinary, typeName, vectorTypes } from "./pg-values.ts";
import { fieldsOf, type PgColumn, rowOf } from "./pgvector-table.ts";

const signature = Buffer.from("PGCOPY\n\xff\r\n\0", "latin1");
const headBytes = signature.length + 8;
const fieldBytesMax = 64 * 1024 * 1024;
const archive = "PGDMP";

/** A COPY file says by its first bytes whether it is binary. */
type Format = "dump" | "copy";

export class PgFile implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #file: InputFile;
  readonly #format: Format;
  readonly #table: string | null;
  readonly #columns: readonly PgColumn[];

  private constructor(file: InputFile, format: Format, table: string | null, columns: readonly PgColumn[]) {
    this.#file = file;
    this.#format = format;
    this.#table = table;
    this.#columns = columns;
    this.fields = fieldsOf(columns, null);
  }

  /** `columns`: of a COPY file; `table`: of a dump, where several have vectors. */
  static async open(
    file: InputFile,
    { columns, table }: { columns: string | null; table: string | null },
  ): Promise<PgFile> {
    const given = columns?.split(",").map(columnOf) ?? null;
    if (given !== null) return new PgFile(file, "copy", null, given);
    if (file.bytes === null) throw readOnce("a dump is read for its columns first, then for its rows");
    const found = await tablesIn(file);
    const meant = [...found].filter(([name, of]) =>
      table === null
        ? of.some(({ type }) => vectorTypes.has(type))
        : bare(name) === bare(table) || name === table,
    );
    const [one] = meant;
    if (one !== undefined && meant.length === 1) return new PgFile(file, "dump", one[0], one[1]);
    const names = [...found.keys()].join(", ");
    throw invalid(
      names === ""
        ? `${file.name} is no plain pg_dump file with COPY; of a COPY file say what is in it: ?columns=id:bigint,embedding:vector`
        : `${file.name} has ${meant.length} such tables; choose one by ?table=NAME: ${names}`,
    );
  }

  async describe(): Promise<SourceDescription> {
    const columns = this.#columns.map(({ name, type }) => `${name} ${type}`).join(", ");
    const { id, vector, document } = this.fields;
    const notes = [`columns: ${columns}`, `the id is ${id}, the vector ${vector}, the document ${document}`];
    return { rows: null, dims: null, metric: null, notes, identity: identityOf([this.#file]) };
  }

  pages(after: Cursor | null): AsyncIterable<SourcePage> {
    const contents = new Contents([this.#file], "binary");
    const skipped = rowsBefore(after);
    return pagesOf(behind(this.#items(contents), skipped), skipped, () => contents.progress);
  }

  async *#items(contents: Contents): AsyncGenerator<SourceItem> {
    for await (const { file, chunks } of contents.each()) {
      if (this.#format === "dump") {
        yield* this.#text(file.name, chunks);
        continue;
      }
      const { head, all } = await withHead(chunks, signature.length);
      yield* head.equals(signature) ? this.#binary(file.name, all) : this.#text(file.name, all);
    }
  }

  async *#text(name: string, chunks: AsyncIterable<Buffer>): AsyncGenerator<SourceItem> {
    let columns: readonly PgColumn[] | null = this.#format === "copy" ? this.#columns : null;
    for await (const { number, text, fault } of recordLines(chunks)) {
      const at = `line ${number}`;
      if (columns === null) {
        const copy = text === null ? null : copyIn(text);
        if (copy !== null && copy.table === this.#table)
          columns = copy.columns.map(
            (name) => this.#columns.find((one) => one.name === name) ?? { name, type: "text" },
          );
      } else if (text === "\\.") {
        if (this.#format === "dump") return;
      } else if (text === null) {
        yield { at, fault: { field: "line", reason: fault ?? "" } };
      } else {
        yield this.#copied(at, columns, text.split("\t").map(unescaped));
      }
    }
    // A dump says where its rows end.
    if (this.#format === "dump")
      throw invalid(
        `${name} ends ${columns === null ? "before" : "within"} the rows of ${this.#table}: it was cut`,
      );
  }

  #copied(at: string, columns: readonly PgColumn[], values: readonly (string | null)[]): SourceItem {
    if (values.length === columns.length) return rowOf(at, columns, values);
    return {
      at,
      fault: { field: "line", reason: `has ${values.length} fields instead of ${columns.length}` },
    };
  }

  async *#binary(name: string, chunks: AsyncIterable<Buffer>): AsyncGenerator<SourceItem> {
    const bytes = new ByteReader(name, chunks);
    const head = await bytes.take(headBytes);
    await bytes.take(head.readUInt32BE(signature.length + 4));
    for (let row = 0; ; row++) {
      const count = (await bytes.take(2)).readInt16BE(0);
      if (count < 0) return;
      if (count !== this.#columns.length)
        throw invalid(`${name}: row ${row} has ${count} fields, ?columns names ${this.#columns.length}`);
      const values: (Buffer | null)[] = [];
      for (let i = 0; i < count; i++) {
        const length = (await bytes.take(4)).readInt32BE(0);
        if (length > fieldBytesMax) throw invalid(`${name}: a field of row ${row} has ${length} bytes`);
        values.push(length < 0 ? null : Buffer.from(await bytes.take(length)));
      }
      yield binaryRow(`row ${row}`, this.#columns, values);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function binaryRow(at: string, columns: readonly PgColumn[], values: readonly (Buffer | null)[]): SourceItem {
  const metadata = emptyFields();
  for (const [i, { name, type }] of columns.entries()) {
    const value = values[i]!;
    if (value === null) continue;
    try {
      metadata[name] = ofBinary(type, value);
    } catch (error) {
      return { at, fault: { field: name, reason: (error as Error).message } };
    }
  }
  return { at, row: { metadata } };
}

async function* behind(items: AsyncIterable<SourceItem>, skipped: number): AsyncGenerator<SourceItem> {
  let row = 0;
  for await (const item of items) if (++row > skipped) yield item;
}

function columnOf(text: string): PgColumn {
  const [, name, type] = /^\s*([^:]+):(.+)$/.exec(text) ?? [];
  if (name === undefined || type === undefined)
    throw invalid(`?columns: say NAME:TYPE for each column, got ${JSON.stringify(text)}`);
  return { name, type: typeName(type) };
}

/** The first bytes, and the stream with them. */
async function withHead(
  chunks: AsyncIterable<Buffer>,
  length: number,
): Promise<{ head: Buffer; all: AsyncIterable<Buffer> }> {
  const rest = chunks[Symbol.asyncIterator]();
  let held = Buffer.alloc(0);
  while (held.length < length) {
    const next = await rest.next();
    if (next.done === true) break;
    held = Buffer.concat([held, next.value]);
  }
  const all = async function* () {
    yield held;
    yield* { [Symbol.asyncIterator]: () => rest };
  };
  return { head: held.subarray(0, length), all: all() };
}

const bare = (name: string): string => name.slice(name.lastIndexOf(".") + 1).replaceAll('"', "");

/** The tables of a plain dump and their columns: it declares all before it copies any. */
async function tablesIn(file: InputFile): Promise<Map<string, PgColumn[]>> {
  const tables = new Map<string, PgColumn[]>();
  let now: PgColumn[] | null = null;
  for await (const { chunks } of new Contents([file], "binary").each()) {
    for await (const { text, number } of recordLines(chunks)) {
      if (number === 1 && text?.startsWith(archive) === true)
        throw invalid(
          `${file.name} is an archive of pg_dump; make it plain: pg_restore -f rows.sql ${file.name}`,
        );
      const made = /^CREATE TABLE (\S+) \($/.exec(text ?? "");
      if (made !== null) {
        now = [];
        tables.set(made[1]!, now);
      } else if (now !== null && text?.startsWith(");") === true) {
        now = null;
      } else if (now !== null) {
        const [, name, type] =
          /^\s+("[^"]+"|\S+) (.*?)(?: DEFAULT .*| NOT NULL.*| GENERATED .*)?,?$/.exec(text ?? "") ?? [];
        if (name !== undefined && name !== "CONSTRAINT")
          now.push({ name: name.replaceAll('"', ""), type: typeName(type!) });
      } else if (copyIn(text ?? "") !== null) {
        return tables;
      }
    }
  }
  return new Map();
}

function copyIn(line: string): { table: string; columns: string[] } | null {
  const found = /^COPY (\S+) \((.*)\) FROM stdin;$/.exec(line);
  if (found === null) return null;
  return { table: found[1]!, columns: found[2]!.split(", ").map((name) => name.replaceAll('"', "")) };
}

const escapes: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

/** Of a field of COPY's text format. */
function unescaped(field: string): string | null {
  if (field === "\\N") return null;
  return field.replaceAll(/\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)/g, (_, code: string) => {
    if (/^x./.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8));
    return escapes[code] ?? code;
  });
}

/** Bytes of a stream, so many at a time. */
class ByteReader {
  readonly #name: string;
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(name: string, chunks: AsyncIterable<Buffer>) {
    this.#name = name;
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Buffer> {
    while (this.#held.length < length) {
      const next = await this.#chunks.next();
      if (next.done === true) throw invalid(`${this.#name} ends within a row`);
      this.#held = Buffer.concat([this.#held, next.value]);
    }
    const taken = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return taken;
  }
}
