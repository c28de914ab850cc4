/**
 * What a read asks of one version of a shard, whatever serves it. A warm view (view.ts) has all segments open and answers
 * everything at once. A cold view (cold-view.ts) serves while graphs are on their way: it answers searches, and `null` where
 * they have to be waited for.
 */
import type { Manifest } from "../../core/format/manifest.ts";
import type { Filter } from "../../core/model/filter.ts";
import type { Ranked } from "../../core/model/top-k.ts";
import type { AnswerRow, OpenSegment } from "../../segment/open-segment.ts";
import type { View } from "./view.ts";

export interface SnapshotView {
  readonly manifest: Manifest;
  /** Deltas of the backlog that are laid over the version. */
  readonly overlaid: readonly string[];
  /** How many it searches, that of the backlog laid over it included. */
  readonly segmentCount: number;
  /** Itself where all segments are open, for what only they can tell: records by id, counts, vectors. */
  readonly warm: View | null;
  /**
   * The nearest live rows; of each segment at least min(topK, matches), or of a graph as many as it is searched for. `query` is of
   * unit length for cosine. At once where nothing has to be fetched; null where only the graphs can tell.
   */
  search(query: Float32Array, options: SearchOptions): readonly Hit[] | Promise<readonly Hit[] | null>;
}

export interface SearchOptions {
  readonly topK: number;
  readonly filter: Filter | null;
  readonly excludeIds: readonly string[];
  /** Whether the answer has documents: a hit is read once, for its id and for what goes into the answer. */
  readonly document: boolean;
  /** How many of the nearest nodes a segment's graph is searched for. */
  readonly efOf: (segment: OpenSegment) => number;
}

/** A live row that a view found. */
export interface Found {
  /** What goes into an answer. */
  row(parts: { readonly document: boolean }): AnswerRow;
  /** Where the row is stored: messages about damage name it. */
  readonly source: string;
  /** What its vector is read from; null where a cold view found it. */
  readonly segment: OpenSegment | null;
}
export interface Hit extends Found, Ranked {}
