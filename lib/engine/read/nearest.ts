/**
 * The nearest rows of several views. Their graphs share the rows, and so the answer: each is searched first for what its share of the rows
 * is likely to have of the answer, and once more, in full, when it turns out to have more than that. So what the graphs cost
 * together goes with the answer, and not with their number, wherever the nearest rows lie (docs/adr/0013-effort-by-share.md).
 */
import { mergeTopK } from "../../core/model/top-k.ts";
import type { OpenSegment } from "../../segment/open-segment.ts";
import { efOfAll, efOfShare, hasMore } from "../../segment/search-cost.ts";
import type { Hit, SearchOptions, SnapshotView } from "./snapshot-view.ts";

export interface Wanted extends Omit<SearchOptions, "excludeIds" | "efOf"> {
  /** How many of the nearest nodes one graph of all rows would be searched for; at least twice as many as are wanted are. */
  readonly ef: number;
  readonly excludeIdsOf: (view: SnapshotView) => readonly string[];
}

/** The nearest live rows, nearest first; null where a view cannot tell before its graphs are there. */
export async function nearestOf(
  views: readonly SnapshotView[],
  query: Float32Array,
  { ef, excludeIdsOf, ...asked }: Wanted,
): Promise<Hit[] | null> {
  const { topK, filter } = asked;
  const ofAll = efOfAll(topK, ef);
  const segments = views.flatMap(({ warm }) => warm?.segments ?? []);
  const among = segments.reduce((sum, { rows }) => sum + rows, 0);
  // Which graphs have what a filter accepts, their rows do not tell.
  const efOf = ({ rows }: OpenSegment) => (filter === null ? efOfShare(topK, ofAll, { rows, among }) : ofAll);
  const found = await Promise.all(
    views.map(async (view) => view.search(query, { ...asked, excludeIds: excludeIdsOf(view), efOf })),
  );
  const lists = found.filter((list) => list !== null);
  if (lists.length < views.length) return null;
  const best = mergeTopK(lists, topK);
  const again = segmentsWithMore(best, { topK, ofAll, efOf });
  if (again.size === 0) return best;
  const kept = lists.map((list) => list.filter(({ segment }) => segment === null || !again.has(segment)));
  for (const view of views) {
    const ofView = view.warm?.segments.filter((segment) => again.has(segment)) ?? [];
    const inFull = { ...asked, excludeIds: excludeIdsOf(view), efOf: () => ofAll };
    if (ofView.length > 0) kept.push(view.warm!.searchIn(ofView, query, inFull));
  }
  return mergeTopK(kept, topK);
}

function segmentsWithMore(
  best: readonly Hit[],
  { topK, ofAll, efOf }: { topK: number; ofAll: number; efOf: (segment: OpenSegment) => number },
): Set<OpenSegment> {
  const counts = new Map<OpenSegment, number>();
  for (const { segment } of best)
    if (segment !== null && segment.segment.kind === "hnsw")
      counts.set(segment, (counts.get(segment) ?? 0) + 1);
  const withMore = [...counts].filter(([segment, count]) => hasMore(count, topK, ofAll, efOf(segment)));
  return new Set(withMore.map(([segment]) => segment));
}
