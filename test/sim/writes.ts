/**
 * The model: what last-writer-wins means, written a second time and as plainly as possible, so that a mistake in
 * lib/core/model/fold.ts or lib/core/model/row.ts is met by a different opinion.
 *
 * Every write carries a document of its own, so that a read record says which write it is.
 */

export interface Write {
  readonly id: string;
  readonly version: number;
  readonly delta: string;
  readonly row: number;
  /** Null for a delete. */
  readonly document: string | null;
  readonly vector: readonly number[] | null;
}
/** The last write of each id, deletes included. */
export type State = ReadonlyMap<string, Write>;

export function isLater(a: Write, b: Write): boolean {
  if (a.version > b.version) return true;
  if (a.version < b.version) return false;
  if (a.delta > b.delta) return true;
  if (a.delta < b.delta) return false;
  return a.row > b.row;
}

export function foldWrites(...lists: Iterable<Write>[]): Map<string, Write> {
  const state = new Map<string, Write>();
  for (const list of lists) {
    for (const write of list) {
      const known = state.get(write.id);
      if (known === undefined || isLater(write, known)) state.set(write.id, write);
    }
  }
  return state;
}

/** Documents of the live records by id. */
export function liveDocuments(state: State): Map<string, string> {
  const live = new Map<string, string>();
  for (const { id, document } of state.values()) if (document !== null) live.set(id, document);
  return live;
}

/** The vector that goes with a document: a mixed-up label shows as a vector of another document. */
export function vectorOf(document: string, dims: number): number[] {
  let hash = 2166136261;
  for (const char of document) hash = Math.imul(hash ^ char.charCodeAt(0), 16777619) >>> 0;
  return Array.from({ length: dims }, (_, i) =>
    Math.fround(Math.sin(hash * 1e-3 + i * 1.7) * 3 + (i === 0 ? 4 : 0)),
  );
}

/** The metadata that goes with a document, for filters. */
export const groups = 3;
export const groupOf = (document: string): number => Number(document.slice(1)) % groups;

/** What differs between two maps of documents, in a few words; null when nothing does. */
export function differenceOf(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): string | null {
  const parts: string[] = [];
  for (const [id, document] of expected) {
    if (found.get(id) !== document)
      parts.push(`${id} should be ${document} and is ${found.get(id) ?? "absent"}`);
  }
  for (const [id, document] of found)
    if (!expected.has(id)) parts.push(`${id} should be absent and is ${document}`);
  return parts.length === 0 ? null : parts.slice(0, 4).join("; ");
}
