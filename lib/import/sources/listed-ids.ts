/**
 * Stores that list ids alone, and give vectors by id: a page of ids is listed, its vectors are fetched in parts, several at a time, and
 * come in the order of the list. An id that is gone when it is fetched was deleted meanwhile, and is passed over.
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
      return row === undefined ? { at, blank: true } : { at, row };
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
  const step = store.idsMax;
  let at = 0;
  const work = async () => {
    while (at < ids.length) {
      const part = ids.slice(at, at + step);
      at += step;
      for (const [id, row] of await store.fetch(part, place)) rows.set(id, row);
    }
  };
  await Promise.all(Array.from({ length: store.fetchesAtOnce }, work));
  return rows;
}
