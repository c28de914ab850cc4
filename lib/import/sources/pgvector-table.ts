/**
 * A table of a running Postgres with pgvector, read by one cursor in one REPEATABLE READ transaction: all of it is of one moment, also
 * when it is read a second time to verify it. A resumed import goes on behind the last key, in a transaction of its own.
 */
import { Client } from "pg";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import { serverUrl } from "../http-json.ts";
import {
  type Cursor,
  emptyFields,
  type FieldNames,
  type ImportSource,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
} from "../source.ts";
import { ofText, typeName, vectorTypes } from "./pg-values.ts";

export const pgPassword = "PGPASSWORD";

export interface PgColumn {
  readonly name: string;
  readonly type: string;
}

const documentNames = ["text", "document", "content"];

/** Rows may have long texts. */
const fetchRows = 250;

/** What columns are, by their types and usual names; --id-field and its like say otherwise. */
export function fieldsOf(columns: readonly PgColumn[], key: string | null): FieldNames {
  const names = columns.map(({ name }) => name);
  return {
    id: key ?? "id",
    vector: columns.find(({ type }) => vectorTypes.has(type))?.name ?? "embedding",
    document: documentNames.find((name) => names.includes(name)) ?? "text",
    metadata: null,
    version: null,
  };
}

/** The values of a row by column, or what is wrong with one. */
export function rowOf(
  at: string,
  columns: readonly PgColumn[],
  values: readonly (string | null)[],
): SourceItem {
  const metadata = emptyFields();
  for (const [i, { name, type }] of columns.entries()) {
    const value = values[i] ?? null;
    if (value === null) continue;
    try {
      metadata[name] = ofText(type, value);
    } catch (error) {
      return { at, fault: { field: name, reason: (error as Error).message } };
    }
  }
  return { at, row: { metadata } };
}

export class PgTable implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #client: Client;
  readonly #table: string;
  readonly #columns: readonly PgColumn[];
  /** Of the primary key, where it is one column: its order is that of the rows. */
  readonly #key: string | null;
  readonly #identity: string;
  readonly #url: URL;

  private constructor(
    { client, url }: { client: Client; url: URL },
    table: string,
    parts: { columns: PgColumn[]; key: string | null; identity: string },
  ) {
    this.#client = client;
    this.#url = url;
    this.#table = table;
    this.#columns = parts.columns;
    this.#key = parts.key;
    this.#identity = parts.identity;
    this.fields = fieldsOf(parts.columns, parts.key);
  }

  /** `postgres://USER@HOST:PORT/DATABASE?table=[SCHEMA.]TABLE`; the password is in the environment, or in ~/.pgpass. */
  static async open(location: string): Promise<PgTable> {
    const url = serverUrl(location, pgPassword);
    const table = url.searchParams.get("table");
    if (table === null) throw invalid(`${location}: say which table, by ?table=NAME`);
    url.searchParams.delete("table");
    // Every value as text: what it is, pg-values.ts decides.
    const types = { getTypeParser: () => (text: string) => text };
    const client = new Client({ connectionString: url.href, types: types as never });
    // What breaks the connection is told by the query that fails.
    client.on("error", () => {});
    try {
      await client.connect();
      await client.query(
        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 1; " +
          // The transaction stands still while rows are written.
          "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0",
      );
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      const parts = await describeTable(client, table);
      return new PgTable({ client, url }, parts.name, {
        ...parts,
        identity: `${url.host}${url.pathname} ${table}`,
      });
    } catch (error) {
      await client.end().catch(() => {});
      throw failure(url, error);
    }
  }

  async describe(): Promise<SourceDescription> {
    const rows = await this.#count();
    const notes = [
      `columns: ${this.#columns.map(({ name, type }) => `${name} ${type}`).join(", ")}`,
      `the id is ${this.fields.id}, the vector ${this.fields.vector}, the document ${this.fields.document}`,
      ...(this.#key === null
        ? ["it has no primary key of one column: a resumed import counts rows, and is wrong if they change"]
        : []),
    ];
    return { rows, dims: null, metric: null, notes, identity: this.#identity };
  }

  async #count(): Promise<number> {
    const [row] = await this.#query(`SELECT count(*) AS rows FROM ${this.#table}`);
    return Number(row![0]);
  }

  /** Rows as lists of texts. Throws `unavailable` when the connection is lost. */
  async #query(text: string): Promise<(string | null)[][]> {
    try {
      const { rows } = await this.#client.query<(string | null)[]>({ text, rowMode: "array" });
      return rows;
    } catch (error) {
      throw failure(this.#url, error);
    }
  }

  async *pages(after: Cursor | null): AsyncGenerator<SourcePage> {
    const all = await this.#count();
    let done = Number(after?.done ?? 0);
    const key = this.#key === null ? null : quoted(this.#key);
    const names = this.#columns.map(({ name }) => quoted(name)).join(", ");
    const from = `SELECT ${names} FROM ${this.#table}`;
    const last = after?.key ?? null;
    const query =
      key === null
        ? `${from} ORDER BY ctid OFFSET ${done}`
        : `${from} ${last === null ? "" : `WHERE ${key} > ${this.#client.escapeLiteral(String(last))}`} ORDER BY ${key}`;
    await this.#query(`DECLARE rows NO SCROLL CURSOR FOR ${query}`);
    try {
      for (;;) {
        const rows = await this.#query(`FETCH ${fetchRows} FROM rows`);
        if (rows.length === 0) return;
        const keyAt = this.#columns.findIndex(({ name }) => name === this.#key);
        const items = rows.map((values, i) =>
          rowOf(keyAt < 0 ? `row ${done + i}` : `row ${values[keyAt]}`, this.#columns, values),
        );
        done += rows.length;
        const behind = keyAt < 0 ? null : rows.at(-1)![keyAt]!;
        yield { items, cursor: { done, key: behind }, progress: { done, all } };
      }
    } finally {
      await this.#client.query("CLOSE rows").catch(() => {});
    }
  }

  async close(): Promise<void> {
    await this.#client.end();
  }
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

async function describeTable(
  client: Client,
  table: string,
): Promise<{ name: string; columns: PgColumn[]; key: string | null }> {
  const found = await client.query<{ name: string | null }>("SELECT to_regclass($1)::text AS name", [table]);
  const name = found.rows[0]?.name;
  if (name == null) throw invalid(`there is no table ${table}`);
  const columns = await client.query<{ name: string; type: string }>(
    `SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute
     WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    [name],
  );
  const keys = await client.query<{ name: string }>(
    `SELECT a.attname AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
     WHERE i.indrelid = $1::regclass AND i.indisprimary`,
    [name],
  );
  return {
    name,
    columns: columns.rows.map((column) => ({ name: column.name, type: typeName(column.type) })),
    key: keys.rows.length === 1 ? keys.rows[0]!.name : null,
  };
}

function failure(url: URL, error: unknown): SiltstoneError {
  if (error instanceof SiltstoneError) return error;
  const { message, code } = error as { message: string; code?: string };
  const isCallers = code !== undefined && /^(28|42|3D)/.test(code);
  const advice = code?.startsWith("28") ? `; its password comes from the environment: ${pgPassword}` : "";
  return new SiltstoneError(
    isCallers ? "invalid" : "unavailable",
    `${url.host}${url.pathname}: ${message}${advice}`,
    {
      cause: error,
    },
  );
}
