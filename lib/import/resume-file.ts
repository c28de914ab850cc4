/**
 * Where an import stands, in a small file beside its rejects file: written after each batch that is durable, gone when all is
 * done. It is used by the same call alone, of the same source with the same content; any other begins anew. A crash between
 * a batch and its resume point writes that batch again, which changes nothing. A second file has the ids that were met (id-set.ts),
 * appended before the resume point that counts them: an id that comes again behind it is a repeated one all the same.
 */
import { hash } from "node:crypto";
import {
  appendFileSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import type { DeltaId } from "../core/model/ids.ts";
import { isPlainObject } from "../core/model/metadata.ts";
import { IdSet, idBytes } from "./id-set.ts";
import type { Cursor } from "./source.ts";

export interface ResumePoint {
  readonly cursor: Cursor;
  readonly lines: number;
  readonly written: number;
  readonly repeated: number;
  /** What was written so far, for who waits until all of it is ingested. */
  readonly deltas: readonly { readonly shard: number; readonly delta: DeltaId }[];
  readonly rejects: { readonly rows: number; readonly bytes: number };
}
type Kept = ResumePoint & { readonly of: string; readonly ids: number };

export class ResumeFile {
  readonly path: string;
  readonly #idsPath: string;
  /** Null: nothing tells whether the source is the same, and no resume point is used. */
  readonly #of: string | null;
  #ids = 0;

  /** `of`: all that decides what is imported, and into what; null where that cannot be told. */
  constructor(path: string, of: object | null) {
    this.path = path;
    this.#idsPath = `${path}.ids`;
    this.#of = of === null ? null : hash("sha256", JSON.stringify(of), "hex");
  }

  /** Null where there is none of this import. */
  read(): ResumePoint | null {
    return this.#kept();
  }

  #kept(): Kept | null {
    try {
      const kept = JSON.parse(readFileSync(this.path, "utf8")) as Kept;
      const isOurs = this.#of !== null && kept.of === this.#of && isPlainObject(kept.cursor);
      return isOurs && statSync(this.#idsPath).size >= kept.ids * idBytes ? kept : null;
    } catch {
      return null;
    }
  }

  /** The resume point, with the ids up to it: from here on ids are appended behind them. */
  resume(): { readonly point: ResumePoint | null; readonly ids: IdSet } {
    const point = this.#kept();
    if (point === null) {
      this.remove();
      return { point: null, ids: new IdSet() };
    }
    truncateSync(this.#idsPath, point.ids * idBytes);
    this.#ids = point.ids;
    return { point, ids: IdSet.of(readFileSync(this.#idsPath)) };
  }

  write(point: ResumePoint, ids: IdSet): void {
    if (this.#of === null) return;
    const news = ids.taken();
    appendFileSync(this.#idsPath, news);
    this.#ids += news.length / idBytes;
    const draft = `${this.path}.new`;
    writeFileSync(draft, JSON.stringify({ of: this.#of, ids: this.#ids, ...point }));
    renameSync(draft, this.path);
  }

  remove(): void {
    rmSync(this.path, { force: true });
    rmSync(this.#idsPath, { force: true });
    this.#ids = 0;
  }
}
