/**
 * Deltas of the backlog as segments, so that they are searched like any other. They lie in pieces, each at least twice as
 * large as the next: more deltas become a piece together with those that are not larger by that much. So what a delta costs
 * grows with the logarithm of the backlog, and a read searches few pieces.
 */
import pLimit from "p-limit";
import { type DeltaId, segmentId } from "../../core/model/ids.ts";
import type { Row } from "../../core/model/row.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import type { Clock } from "../ports.ts";
import { heldBytes, laidOverBytes } from "./open-segments.ts";
import type { ShardViews } from "./shard-views.ts";
import type { View } from "./view.ts";

/** A piece is at least so many times as large as the next one. */
const growth = 2;

interface Piece {
  readonly deltas: readonly DeltaId[];
  readonly rows: number;
  readonly segment: OpenSegment;
}

export class LaidOver {
  readonly #views: ShardViews;
  readonly #clock: Clock;
  #pieces: readonly Piece[] = [];
  /** The view over which they were laid last, for reads of the same version with the same backlog. */
  #last: { readonly base: View; readonly pieces: readonly Piece[]; readonly over: View } | null = null;
  #comingBytes = 0;
  /** One at a time: they share their pieces. */
  readonly #turn = pLimit(1);

  constructor(views: ShardViews, clock: Clock) {
    this.#views = views;
    this.#clock = clock;
  }

  /** Of the pieces, and of the one that comes. */
  get bytes(): number {
    return heldBytes(this.#pieces.map(({ segment }) => segment.segment)) + this.#comingBytes;
  }
  get comingBytes(): number {
    return this.#comingBytes;
  }

  /** The view with exactly these deltas over it; `rowsOf` gives the rows of each. */
  over(view: View, deltas: readonly DeltaId[], rowsOf: (delta: DeltaId) => readonly Row[]): Promise<View> {
    return this.#turn(async () => {
      const pieces = await this.#piecesOf(view, deltas, rowsOf);
      if (this.#last?.base !== view || this.#last.pieces !== pieces) {
        const segments = pieces.map(({ segment }) => segment);
        this.#last = { base: view, pieces, over: view.over(segments, deltas) };
      }
      return this.#last.over;
    });
  }

  /** Retires the pieces that hold anything else. */
  keepOnly(isWanted: (delta: DeltaId) => boolean): void {
    this.#replace(this.#pieces.filter(({ deltas }) => deltas.every(isWanted)));
  }

  /** Lets go of the view over which they were laid. */
  leaveView(): void {
    this.#last = null;
  }

  async #piecesOf(
    view: View,
    deltas: readonly DeltaId[],
    rowsOf: (delta: DeltaId) => readonly Row[],
  ): Promise<readonly Piece[]> {
    const wanted = new Set(deltas);
    this.keepOnly((delta) => wanted.has(delta));
    for (const piece of this.#pieces) for (const delta of piece.deltas) wanted.delete(delta);
    if (wanted.size === 0) return this.#pieces;
    const kept = [...this.#pieces];
    const joined = [...wanted];
    let size = joined.reduce((sum, delta) => sum + rowsOf(delta).length, 0);
    for (let last = kept.at(-1); last !== undefined && last.rows < growth * size; last = kept.at(-1)) {
      joined.push(...last.deltas);
      size += last.rows;
      kept.pop();
    }
    const segment = await this.#open(view, joined.flatMap(rowsOf));
    this.#replace([...kept, { deltas: joined, rows: size, segment }]);
    return this.#pieces;
  }

  async #open(view: View, rows: readonly Row[]): Promise<OpenSegment> {
    const addedBytes = laidOverBytes(rows);
    const viewBytes = heldBytes(view.manifest.segments) + this.bytes + addedBytes;
    await this.#views.takeSpace({ viewBytes, addedBytes }, () => {
      this.#comingBytes += addedBytes;
    });
    try {
      return await this.#views.segments.openRows(segmentId(this.#clock.ulid()), rows);
    } finally {
      this.#comingBytes -= addedBytes;
    }
  }

  #replace(pieces: readonly Piece[]): void {
    if (pieces.length === this.#pieces.length && pieces.every((piece, i) => piece === this.#pieces[i]))
      return;
    for (const piece of this.#pieces) if (!pieces.includes(piece)) this.#views.segments.retire(piece.segment);
    this.#pieces = pieces;
    this.#last = null;
  }
}
