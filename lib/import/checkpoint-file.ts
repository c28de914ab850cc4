/**
 * Where an import stands, in a small file beside its rejects file: written after each batch that is durable, gone when all is
 * done. It is used by the same call alone, of the same source with the same content; any other begins anew. A crash between
 * a batch and its checkpoint writes that batch again, which changes nothing.
 */
import { hash } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { isPlainObject } from "../core/model/metadata.ts";
import type { Cursor } from "./source.ts";

export interface Checkpoint {
  readonly cursor: Cursor;
  readonly lines: number;
  readonly written: number;
  readonly rejects: { readonly rows: number; readonly bytes: number };
}

export class CheckpointFile {
  readonly path: string;
  readonly #of: string;

  /** `of`: all that decides what is imported, and into what. */
  constructor(path: string, of: object) {
    this.path = path;
    this.#of = hash("sha256", JSON.stringify(of), "hex");
  }

  /** Null where there is none of this import. */
  read(): Checkpoint | null {
    try {
      const { of, ...checkpoint } = JSON.parse(readFileSync(this.path, "utf8")) as Checkpoint & {
        of: string;
      };
      return of === this.#of && isPlainObject(checkpoint.cursor) ? checkpoint : null;
    } catch {
      return null;
    }
  }

  write(checkpoint: Checkpoint): void {
    const draft = `${this.path}.new`;
    writeFileSync(draft, JSON.stringify({ of: this.#of, ...checkpoint }));
    renameSync(draft, this.path);
  }

  remove(): void {
    rmSync(this.path, { force: true });
  }
}
