/**
 * A view: open segments that together are one version of a shard (with or without unmerged deltas laid over it), and
 * which of their rows are dead because another segment of the view holds a later write of the id.
 *
 * A view is immutable. Segments are shared between views; `activate` tells them which rows are dead in this one, and
 * everything from there to the end of a search is synchronous. So no search ever sees parts of two views.
 */
import { invalid } from "../core/errors.ts";
import type { Filter } from "../core/filter.ts";
import type { Manifest } from "../core/manifest.ts";
import { compareOrder } from "../core/record.ts";
import type { OpenSegment, QueryVector } from "../segment/open-segment.ts";

export interface Found {
  readonly segment: OpenSegment;
  readonly label: number;
}
export interface ViewHit extends Found {
  readonly id: string;
  readonly distance: number;
}

export interface SearchOptions {
  readonly topK: number;
  readonly filter: Filter | null;
  readonly excludeIds: readonly string[];
}

/** Which of `loser`'s labels die of `winner`; kept for as long as both are open. */
const killed = new WeakMap<OpenSegment, WeakMap<OpenSegment, readonly number[]>>();
const nothing: ReadonlySet<number> = new Set();

export class View {
  readonly manifest: Manifest;
  readonly segments: readonly OpenSegment[];
  /** Unmerged deltas that are laid over the version. */
  readonly overlaid: readonly string[];
  readonly #dead: ReadonlyMap<OpenSegment, ReadonlySet<number>>;

  constructor(manifest: Manifest, segments: readonly OpenSegment[], overlaid: readonly string[] = []) {
    this.manifest = manifest;
    this.segments = segments;
    this.overlaid = overlaid;
    this.#dead = deadIn(segments);
  }

  /** This view with one more segment, of unmerged deltas, over it. */
  over(overlay: OpenSegment, deltas: readonly string[]): View {
    return new View(this.manifest, [...this.segments, overlay], deltas);
  }

  get liveRows(): number {
    return this.segments.reduce(
      (sum, segment) => sum + segment.segment.rows - (this.#dead.get(segment)?.size ?? 0),
      0,
    );
  }

  /** The nearest live rows of every segment; at least min(topK, matches) among them. */
  search(query: QueryVector, { topK, filter, excludeIds }: SearchOptions): ViewHit[] {
    this.#activate();
    return this.segments.flatMap((segment) => {
      const labels = filter === null ? null : segment.matching(filter);
      const hits = segment.nearest(query, topK, labels, labelsOf(segment, excludeIds));
      return hits.map(({ label, distance }) => ({ segment, label, distance, id: segment.row(label).id }));
    });
  }

  count(filter: Filter | null): number {
    if (filter === null) return this.liveRows;
    this.#activate();
    return this.segments.reduce((sum, segment) => sum + segment.matching(filter).length, 0);
  }

  /** The live row of an id; null when there is none. */
  find(id: string): Found | null {
    let last: { order: Parameters<typeof compareOrder>[0]; found: Found | null } | null = null;
    for (const segment of this.segments) {
      const row = segment.find(id);
      if (row === null || (last !== null && compareOrder(row, last.order) <= 0)) continue;
      last = { order: row, found: row.label === null ? null : { segment, label: row.label } };
    }
    return last?.found ?? null;
  }

  #activate(): void {
    for (const segment of this.segments) segment.setDead(this.#dead.get(segment) ?? nothing);
  }
}

function deadIn(segments: readonly OpenSegment[]): Map<OpenSegment, Set<number>> {
  const dead = new Map<OpenSegment, Set<number>>();
  for (const [i, a] of segments.entries()) {
    for (const b of segments.slice(i + 1)) learn(a, b);
  }
  for (const segment of segments) {
    const labels = new Set<number>();
    for (const other of segments) {
      if (other !== segment) for (const label of killed.get(segment)!.get(other)!) labels.add(label);
    }
    if (labels.size > 0) dead.set(segment, labels);
  }
  return dead;
}

function learn(a: OpenSegment, b: OpenSegment): void {
  const [ofA, ofB] = [killsOf(a), killsOf(b)];
  if (ofA.has(b)) return;
  // The same write in two segments must die in one and the same of them, whatever the order of the question.
  const [first, second] = a.segment.id < b.segment.id ? [a, b] : [b, a];
  const { mine, theirs } = first.shadows(second);
  ofA.set(b, first === a ? mine : theirs);
  ofB.set(a, first === a ? theirs : mine);
}

function killsOf(segment: OpenSegment): WeakMap<OpenSegment, readonly number[]> {
  const known = killed.get(segment) ?? new WeakMap<OpenSegment, readonly number[]>();
  killed.set(segment, known);
  return known;
}

function labelsOf(segment: OpenSegment, ids: readonly string[]): ReadonlySet<number> {
  if (ids.length === 0) return nothing;
  const labels = ids.map((id) => segment.find(id)?.label ?? null).filter((label) => label !== null);
  return new Set(labels.filter((label) => !segment.isDead(label)));
}

/** Bound on ids in one call, for queries and gets. */
export const idsMax = 1_000;
export function checkIds(field: string, ids: readonly string[]): readonly string[] {
  if (ids.length > idsMax) throw invalid(`${field}: at most ${idsMax} ids, got ${ids.length}`);
  return ids;
}
