/**
 * The best k of several result lists: of a view's segments, or of a collection's shards.
 */

/** A smaller distance is better. */
export interface Ranked {
  readonly id: string;
  readonly distance: number;
}

/** Nearest first; equal distances by id, so that one snapshot gives one answer whatever the order of its segments. */
export function compareRanked(a: Ranked, b: Ranked): number {
  if (a.distance !== b.distance) return a.distance - b.distance;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/**
 * The k nearest hits of all lists, which may be in any order. An id that comes several times is taken once, nearest
 * first. Distances must be finite. Lists hold at most k or a few times k hits each, so sorting all of them is cheap.
 */
export function mergeTopK<Hit extends Ranked>(lists: readonly (readonly Hit[])[], k: number): Hit[] {
  const sorted = lists.flat().sort(compareRanked);
  const seen = new Set<string>();
  const best: Hit[] = [];
  for (const hit of sorted) {
    if (best.length >= k) break;
    if (seen.has(hit.id)) continue;
    seen.add(hit.id);
    best.push(hit);
  }
  return best;
}
