/**
 * The records.db of an open segment. SQLite keeps a file descriptor for each that it has open, and a process has only so
 * many: so of the open segments' records those are open that were used last, and the others again when they are asked for.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { arraysOf, openRecords } from "./records-db.ts";

interface Connection {
  readonly db: DatabaseSync;
  readonly selectRow: StatementSync;
  readonly selectOrder: StatementSync;
}

/** How many are open at a time. */
export class RecordsPool {
  readonly #max: number;
  /** The least recently used first. */
  readonly #open = new Set<OpenRecords>();
  #last: OpenRecords | null = null;

  constructor(max: number) {
    this.#max = max;
  }

  /** Called before each use. */
  use(records: OpenRecords): void {
    if (this.#last === records) return;
    this.#last = records;
    if (!this.#open.delete(records) && this.#open.size >= this.#max) {
      const [oldest] = this.#open;
      this.#open.delete(oldest!);
      oldest!.disconnect();
    }
    this.#open.add(records);
  }

  forget(records: OpenRecords): void {
    this.#open.delete(records);
    if (this.#last === records) this.#last = null;
  }
}

export class OpenRecords {
  readonly #path: string;
  readonly #pool: RecordsPool;
  #connection: Connection | null = null;

  /** Opens a finished file. Throws `corrupt` when it is no records.db of a known format. */
  constructor(path: string, pool: RecordsPool) {
    this.#path = path;
    this.#pool = pool;
    try {
      this.#now();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** For use at once: what is kept of it may be closed by the use of other records. */
  get db(): DatabaseSync {
    return this.#now().db;
  }
  /** id, version, document (where ?2 is 1), metadata of label ?1, as an array. */
  get selectRow(): StatementSync {
    return this.#now().selectRow;
  }
  /** label, version, delta, row of the row or tombstone of an id. */
  get selectOrder(): StatementSync {
    return this.#now().selectOrder;
  }

  disconnect(): void {
    this.#connection?.db.close();
    this.#connection = null;
  }

  close(): void {
    this.#pool.forget(this);
    this.disconnect();
  }

  #now(): Connection {
    this.#pool.use(this);
    this.#connection ??= connect(this.#path);
    return this.#connection;
  }
}

function connect(path: string): Connection {
  const db = openRecords(path);
  try {
    return {
      db,
      // A document that is not asked for is not read.
      selectRow: arraysOf(
        db,
        "SELECT id, version, iif(?2, document, NULL), metadata FROM rows WHERE label = ?1",
      ),
      selectOrder: db.prepare(
        `SELECT label, version, delta, row FROM rows WHERE id = ?1
         UNION ALL SELECT NULL, version, delta, row FROM tombstones WHERE id = ?1`,
      ),
    };
  } catch (error) {
    db.close();
    throw error;
  }
}
