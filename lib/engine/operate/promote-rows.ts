/**
 * Promotion row by row: what the target lacks of the source's newest writes joins it in segments of bounded size, each row with its
 * vector, byte for byte, and its place in the order of writes.
 *
 *  1. Each write is judged as in the plan (promotion-plan.ts).
 *  2. What is carried is gathered for its shard, written as a flat segment, proved, uploaded, and joined (join-segments.ts).
 *
 * A run that ends in between has carried what it published; the next one finds that there, and goes on.
 */
import { shardName } from "../../core/format/keys.ts";
import { equalSums, sumOf } from "../../core/format/row-checksum.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt, invalid } from "../../core/model/errors.ts";
import { segmentId } from "../../core/model/ids.ts";
import type { Row } from "../../core/model/row.ts";
import { withFolder } from "../../segment/files.ts";
import { writeFlatSegment } from "../../segment/write-flat.ts";
import type { World } from "../ports.ts";
import { uploadSegment } from "../shard/segment-transfer.ts";
import { joinSegments } from "./join-segments.ts";
import {
  checkSides,
  judged,
  onlyInTarget,
  type PromotionOptions,
  problemThere,
  type Side,
  withSides,
} from "./promotion-plan.ts";

/** Rows of one segment, unless the caller says fewer; numbers and characters that are held of it. */
export const batchRowsMax = 10_000;
const batchComponentsMax = 8_000_000;
const batchCharsMax = 64 * 1024 * 1024;

export interface RowsCarried {
  readonly rows: number;
  readonly deletes: number;
  readonly segments: number;
  readonly interrupted: boolean;
}

export interface CarryOptions extends PromotionOptions {
  readonly batchRows: number;
  /** Vectors of the documents of a batch, in their order, where rows come without. Throws where one of them cannot be had. */
  readonly embed: ((documents: readonly string[]) => Promise<readonly Float32Array[]>) | null;
  readonly onProgress: (carried: number) => void;
  /** Aborted: what was gathered is not written. */
  readonly interrupted: AbortSignal;
}

/** Throws `invalid` when a row breaks a rule of the target; the plan names all of them beforehand. */
export async function promoteRows(from: Side, to: Side, options: CarryOptions): Promise<RowsCarried> {
  checkSides(from.collection, to.collection, options);
  const { withoutVectors, mirror, interrupted } = options;
  const target = new Batches(to, options);
  const carried = (end: boolean) => ({ ...target.carried, interrupted: end });
  return withSides(from, to, { withVectors: !withoutVectors }, async (sides) => {
    for (const { write, shard, fate } of judged(to, sides, to.world.clock.nowMs())) {
      if (interrupted.aborted) return carried(true);
      if (fate === "same" || fate === "older") continue;
      const problem = problemThere(to.collection, write, options);
      if (problem !== null)
        throw invalid(`${JSON.stringify(write.id)}: ${problem.field} ${problem.reason}`, [problem]);
      const { isDelete, vector, ...row } = write;
      const given = isDelete || withoutVectors ? null : vector()!.slice();
      await target.add(shard, { ...row, vector: given });
    }
    // A delete just above the row that was seen: whatever was written to the target after it stands.
    for (const { write, shard } of mirror ? onlyInTarget(sides, from.collection) : []) {
      if (interrupted.aborted) return carried(true);
      const { id, version, delta, row } = write;
      await target.add(shard, {
        id,
        version,
        delta,
        row: row + 1,
        vector: null,
        document: null,
        metadata: null,
      });
    }
    await target.flushAll();
    return carried(false);
  });
}

class Batches {
  rows = 0;
  deletes = 0;
  segments = 0;
  readonly #world: World;
  readonly #collection: Collection;
  readonly #rowsMax: number;
  readonly #options: CarryOptions;
  readonly #waiting = new Map<number, { rows: Row[]; chars: number }>();

  constructor({ world, collection }: Side, options: CarryOptions) {
    this.#world = world;
    this.#collection = collection;
    this.#options = options;
    const rowsMax = Math.floor(batchComponentsMax / collection.dims);
    this.#rowsMax = Math.max(1, Math.min(options.batchRows, rowsMax));
  }

  get carried(): Omit<RowsCarried, "interrupted"> {
    return { rows: this.rows, deletes: this.deletes, segments: this.segments };
  }

  async add(shard: number, row: Row): Promise<void> {
    const batch = this.#waiting.get(shard) ?? { rows: [], chars: 0 };
    this.#waiting.set(shard, batch);
    batch.rows.push(row);
    batch.chars += row.id.length + (row.document?.length ?? 0) + (row.metadata?.length ?? 0);
    // Many shards hold as much together as one.
    const [rows, chars] = [...this.#waiting.values()].reduce(
      ([n, of], one) => [n + one.rows.length, of + one.chars],
      [0, 0],
    );
    if (batch.rows.length >= this.#rowsMax) await this.#flush(shard);
    else if (rows >= 2 * this.#rowsMax || chars >= batchCharsMax) await this.flushAll();
  }

  async flushAll(): Promise<void> {
    for (const shard of [...this.#waiting.keys()]) await this.#flush(shard);
  }

  async #flush(shard: number): Promise<void> {
    const waiting = this.#waiting.get(shard)?.rows ?? [];
    this.#waiting.delete(shard);
    if (waiting.length === 0) return;
    const rows = await this.#withVectors(waiting);
    const ref = { collection: this.#collection.name, shard };
    const segment = await withFolder(async (folder) => {
      const made = await writeFlatSegment(
        folder,
        this.#collection,
        segmentId(this.#world.clock.ulid()),
        rows,
      );
      if (!equalSums(made.sum, sumOf(rows)))
        throw corrupt(
          shardName(ref),
          "a segment does not hold the rows that were carried; nothing of it was published",
        );
      await uploadSegment(this.#world, ref, made, folder);
      return made;
    });
    await joinSegments(this.#world, this.#collection, shard, [segment]);
    this.segments += 1;
    this.rows += segment.rows;
    this.deletes += segment.tombstones;
    this.#options.onProgress(this.rows + this.deletes);
  }

  /** Rows that came without; a delete has no document. */
  async #withVectors(rows: readonly Row[]): Promise<readonly Row[]> {
    const { embed } = this.#options;
    const isBare = ({ vector, document }: Row) => vector === null && document !== null;
    const documents = rows.flatMap((row) => (isBare(row) ? [row.document!] : []));
    if (embed === null || documents.length === 0) return rows;
    const vectors = (await embed(documents)).values();
    return rows.map((row) => (isBare(row) ? { ...row, vector: vectors.next().value! } : row));
  }
}
