/**
 * Stores that list ids alone, and give vectors by id: a page of ids is listed, its vectors are fetched in parts, several at a time, and
 * come in the order of the list. An id that is listed and not given was deleted meanwhile, or is not there yet where the store
 * answers: it is reported.
 */
import type { Cursor, SourceItem, SourcePage, SourceRow } from "../source.ts";

export interface IdPage {
  readonly ids: readonly string[];
  /** Behind this page; null where it is the last. */
  readonly next: Cursor | null;
  readonly all: number | null;
}

export interface ListedStore {
  list(after: Cursor | null): Promise<IdPage>;
  /** At most `idsMax` of one page. */
  fetch(ids: readonly string[], after: Cursor | null): Promise<ReadonlyMap<string, SourceRow>>;
  readonly idsMax: number;
  readonly fetchesAtOnce: number;
}

const ended = "ended";
const notGiven =
  "is listed and was not given: deleted meanwhile, or written a moment ago; import again to be sure";
/** Of the ids of one call, which may have to stand in a URL. */
const idCharsMax = 6_000;

export async function* listedPages(store: ListedStore, after: Cursor | null): AsyncGenerator<SourcePage> {
  if (after?.[ended] === 1) return;
  let place = after;
  let done = Number(after?.done ?? 0);
  for (;;) {
    const { ids, next, all } = await store.list(place);
    const rows = await fetchAll(store, ids, place);
    done += ids.length;
    const items = ids.map((id): SourceItem => {
      const at = `vector ${JSON.stringify(id)}`;
      const row = rows.get(id);
      return row === undefined ? { at, fault: { id, field: "vector", reason: notGiven } } : { at, row };
    });
    const cursor: Cursor = next === null ? { [ended]: 1, done } : { ...next, done };
    if (items.length > 0)
      yield { items, cursor, progress: all === null ? null : { done, all: Math.max(all, done) } };
    if (next === null) return;
    place = cursor;
  }
}

async function fetchAll(
  store: ListedStore,
  ids: readonly string[],
  place: Cursor | null,
): Promise<Map<string, SourceRow>> {
  const rows = new Map<string, SourceRow>();
  let at = 0;
  const work = async () => {
    while (at < ids.length) {
      const part = ids.slice(at, at + countOf(ids, at, store.idsMax));
      at += part.length;
      for (const [id, row] of await store.fetch(part, place)) rows.set(id, row);
    }
  };
  await Promise.all(Array.from({ length: store.fetchesAtOnce }, work));
  return rows;
}

function countOf(ids: readonly string[], start: number, idsMax: number): number {
  let count = 0;
  for (let chars = 0; count < idsMax && start + count < ids.length; count++) {
    chars += encodeURIComponent(ids[start + count]!).length;
    if (count > 0 && chars > idCharsMax) break;
  }
  return count;
}
