/**
 * A LanceDB folder, read by the user's own `@lancedb/lancedb`, which is large and needs another apache-arrow than ours: its rows come
 * over as an Arrow stream's bytes, and are read as any other's (arrow.ts). It is read as it was at one version of the table.
 */
import { type Metric, metrics } from "../../core/model/collection.ts";
import {
  type Cursor,
  type FieldNames,
  type ImportSource,
  rowsBefore,
  type SourceDescription,
  type SourcePage,
} from "../source.ts";
import { ArrowFiles } from "./arrow.ts";

export interface LanceDb {
  /** The table as it is now, whatever is written to it later. `name`: null where there is only one. Throws `invalid`. */
  open(folder: string, name: string | null): Promise<LanceTable>;
}
export interface LanceTable {
  readonly name: string;
  readonly version: number;
  readonly rows: number;
  /** Of its first column of vectors; null where it has none. */
  readonly dims: number | null;
  /** As its index says: l2, cosine, dot, hamming; null where it has none. */
  readonly distance: string | null;
  /** All of its rows as one Arrow IPC stream, in an order that a version keeps. */
  stream(): AsyncIterable<Uint8Array>;
  close(): void;
}

export class LanceRows implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #table: LanceTable;
  readonly #rows: ArrowFiles;
  readonly #identity: string;

  private constructor(table: LanceTable, rows: ArrowFiles, identity: string) {
    this.#table = table;
    this.#rows = rows;
    this.#identity = identity;
    this.fields = rows.fields;
  }

  /** `DIR` or `DIR#TABLE`. */
  static async open(db: LanceDb, location: string): Promise<LanceRows> {
    const at = location.indexOf("#");
    const [folder, name] = at < 0 ? [location, null] : [location.slice(0, at), location.slice(at + 1)];
    const table = await db.open(folder, name);
    const rows = await ArrowFiles.open([
      {
        ...{ name: `${folder}#${table.name}`, bytes: null, identity: null, read: null },
        stream: () => table.stream(),
        close: async () => table.close(),
      },
    ]);
    return new LanceRows(table, rows, `${folder}#${table.name} ${table.version}`);
  }

  async describe(): Promise<SourceDescription> {
    const { rows, dims, distance } = this.#table;
    const found = distance === "dot" ? "ip" : metrics.find((one) => one === distance);
    const metric: Metric | null = found ?? null;
    const notes =
      distance !== null && metric === null
        ? [`its index compares by ${distance}, which has no counterpart`]
        : [];
    return { rows, dims, metric, notes, identity: this.#identity };
  }

  async *pages(after: Cursor | null): AsyncGenerator<SourcePage> {
    let done = rowsBefore(after);
    for await (const page of this.#rows.pages(after)) {
      done += page.items.length;
      yield { ...page, progress: { done, all: this.#table.rows } };
    }
  }

  close(): Promise<void> {
    return this.#rows.close();
  }
}
