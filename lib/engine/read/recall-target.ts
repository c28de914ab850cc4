/**
 * Searching until an answer is likely to have a given share of the nearest rows. How many nodes that takes, nothing but searching
 * tells: from one set of vectors to another it differs tenfold. So the search is repeated with four times as many, until two that
 * follow each other agree. What the later one keeps of the earlier is the earlier one's recall, as far as the later can tell; the later
 * answers, which is the better one (docs/lab/performance.md, "Recall by its target").
 */
import { efSearchRange } from "../../core/model/collection.ts";
import type { Hit } from "./snapshot-view.ts";

/** What came of a target. */
export interface Recall {
  readonly target: number;
  /** The share of the search before that the last one kept, 0 to 1. Below the target when more nodes are not searched for. */
  readonly estimated: number;
  /** How many of the nearest nodes the last search was for; absent when it was exact. */
  readonly ef?: number;
}

/** With 16, or with only twice as many the next time, both searches often miss the same rows. */
const firstEf = 24;
const growth = 4;

/** Null where the search cannot tell. `target`: above 0, at most 1, which is exact search. */
export async function searchedTo(
  target: number,
  topK: number,
  search: (ef: number) => Promise<Hit[] | null>,
): Promise<{ hits: Hit[]; recall: Recall } | null> {
  if (target === 1) {
    const hits = await search(Number.POSITIVE_INFINITY);
    return hits && { hits, recall: { target, estimated: 1 } };
  }
  const most = Math.max(efSearchRange.max, growth * topK);
  let ef = Math.max(firstEf, topK);
  let before = await search(ef);
  while (before !== null) {
    ef = Math.min(growth * ef, most);
    const hits = await search(ef);
    if (hits === null) return null;
    const estimated = keptOf(before, hits);
    if (estimated >= target || ef === most) return { hits, recall: { target, estimated, ef } };
    before = hits;
  }
  return null;
}

/** By distance: of rows that are equally near one is as good as another. */
function keptOf(before: readonly Hit[], hits: readonly Hit[]): number {
  const last = hits.at(-1);
  if (last === undefined) return 1;
  return before.filter(({ distance }) => distance <= last.distance).length / hits.length;
}

/** Of the parts of an answer, each of which was searched to the target. */
export const mergeRecall = (parts: readonly Recall[]): Recall => {
  const efs = parts.map(({ ef }) => ef).filter((ef) => ef !== undefined);
  return {
    target: parts[0]!.target,
    estimated: Math.min(...parts.map(({ estimated }) => estimated)),
    ...(efs.length > 0 ? { ef: Math.max(...efs) } : {}),
  };
};
