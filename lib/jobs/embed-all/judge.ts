/**
 * How items stand, judged by what is stored now: an item is embedded when its collection has exactly the chunks of its newest text, each
 * with the text's hash, its own span and the item's metadata. What became of its jobs says only why it is not.
 */
import pLimit from "p-limit";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, type SiltstoneError } from "../../core/model/errors.ts";
import { encodeMetadata } from "../../core/model/metadata.ts";
import type { Metadata } from "../../core/model/row.ts";
import type { ObjectStore } from "../../engine/ports.ts";
import { chunkId, chunkMetadata, itemChunks } from "../chunk-rows.ts";
import { type Item, type ItemKey, isActive } from "../item.ts";
import type { JobTable } from "../ports.ts";
import { readText } from "../spilled-texts.ts";

export const standings = ["with", "without", "stale", "failed", "pending", "deleted", "unreadable"] as const;
/**
 * - `with`: every chunk is there as it should be, and no other;
 * - of the others: `pending`, its job waits or runs; `failed`, its job has failed; `without`, no chunk is there; `stale`, chunks of another
 *   text, too few or too many are there;
 * - `deleted`: it was, and no chunk is there;
 * - `unreadable`: its record or its text is damaged.
 */
export type Standing = (typeof standings)[number];

export interface Judged {
  readonly item: Item;
  readonly standing: Standing;
  /** Of its text: what embedding it takes. 0 for a delete. */
  readonly chunks: number;
  readonly bytes: number;
  /** Why it is unreadable. */
  readonly reason?: string;
}

/** The metadata of records of a collection as a strong read sees them; null where there is none. */
export type ReadChunks = (
  collection: string,
  ids: readonly string[],
) => Promise<ReadonlyMap<string, Metadata | null>>;

export interface JudgeWorld {
  readonly table: JobTable;
  readonly store: ObjectStore;
  readonly readChunks: ReadChunks;
}

/** Ids of one look-up, and what their records' metadata may have together: the answer of a Lambda has 6 MB. */
const idsAtOnce = 500;
const metadataBytesAtOnce = 2_000_000;
const readsAtOnce = 32;

interface Expected {
  readonly kind: "expected";
  readonly item: Item;
  /** By id; null where no chunk may be. */
  readonly chunks: ReadonlyMap<string, string | null>;
  readonly count: number;
}

/** Told of each record that cannot be read. */
export type OnDamaged = (key: ItemKey, reason: string) => void;

/** Every item of the collection, `batchItems` at a time. `of`: only those. */
export async function* judgeItems(
  world: JudgeWorld,
  collection: Collection,
  {
    batchItems,
    of = () => true,
    onDamaged = () => {},
  }: { batchItems: number; of?: (item: Item) => boolean; onDamaged?: OnDamaged },
): AsyncIterable<readonly Judged[]> {
  for await (const page of world.table.items(collection.id))
    for (let at = 0; at < page.length; at += batchItems) {
      const items = await readItems(world.table, page.slice(at, at + batchItems), onDamaged);
      yield await judge(world, collection, items.filter(of));
    }
}

async function readItems(table: JobTable, keys: readonly ItemKey[], onDamaged: OnDamaged): Promise<Item[]> {
  const limit = pLimit(readsAtOnce);
  const read = (key: ItemKey) =>
    table.read(key).catch((error: unknown) => {
      if (!isKind(error, "corrupt")) throw error;
      onDamaged(key, (error as SiltstoneError).message);
      return null;
    });
  const items = await Promise.all(keys.map((key) => limit(() => read(key))));
  return items.filter((item) => item !== null);
}

export async function judge(
  world: JudgeWorld,
  collection: Collection,
  items: readonly Item[],
): Promise<Judged[]> {
  const limit = pLimit(readsAtOnce);
  const expected = await Promise.all(items.map((item) => limit(() => expectedOf(world, collection, item))));
  const readable = expected.filter((one) => "kind" in one);
  const found = await stored(world, collection, readable);
  return expected.map((one) => ("kind" in one ? standingOf(one, found) : one));
}

async function expectedOf(
  { store, table }: Pick<JudgeWorld, "store" | "table">,
  collection: Collection,
  item: Item,
): Promise<Expected | Judged> {
  let text: string | null = null;
  try {
    text = item.operation === "delete" ? null : await readText(store, item);
  } catch (error) {
    if (!isKind(error, "corrupt")) throw error;
    const reason = (error as SiltstoneError).message;
    return { item, standing: "unreadable", chunks: 0, bytes: 0, reason };
  }
  if (text === null && item.operation !== "delete") {
    // A newer save took its text away; else it was lost.
    const now = await table.read(item);
    if (now !== null && now.job !== item.job) return expectedOf({ store, table }, collection, now);
    return { item, standing: "unreadable", chunks: 0, bytes: 0, reason: "its text is not on S3 any more" };
  }
  const chunks = text === null ? [] : itemChunks(collection, text);
  const byId = new Map<string, string | null>(
    chunks.map((chunk) => [chunkId(item.item, chunk.index), encodeMetadata(chunkMetadata(item, chunk))]),
  );
  for (let index = chunks.length; index < item.highWater; index++) byId.set(chunkId(item.item, index), null);
  return { kind: "expected", item, chunks: byId, count: chunks.length };
}

/** What is stored under the ids of all of them. */
async function stored(
  { readChunks }: JudgeWorld,
  { name }: Collection,
  expected: readonly Expected[],
): Promise<Map<string, Metadata | null>> {
  const found = new Map<string, Metadata | null>();
  let ids: string[] = [];
  let bytes = 0;
  const read = async () => {
    for (const [id, metadata] of ids.length === 0 ? [] : await readChunks(name, ids)) found.set(id, metadata);
    ids = [];
    bytes = 0;
  };
  for (const { chunks, item } of expected) {
    const each = item.metadata === null ? 500 : 500 + JSON.stringify(item.metadata).length;
    for (const id of chunks.keys()) {
      ids.push(id);
      bytes += each;
      if (ids.length >= idsAtOnce || bytes >= metadataBytesAtOnce) await read();
    }
  }
  await read();
  return found;
}

function standingOf({ item, chunks, count }: Expected, found: ReadonlyMap<string, Metadata | null>): Judged {
  const judged = (standing: Standing): Judged => ({ item, standing, chunks: count, bytes: item.textBytes });
  const isSo = [...chunks].every(([id, metadata]) => {
    const there = found.get(id);
    if (there === undefined) return metadata === null;
    return there !== null && encodeMetadata(there) === metadata;
  });
  if (isSo) return judged(item.operation === "delete" ? "deleted" : "with");
  if (isActive(item)) return judged("pending");
  if (item.status === "failed") return judged("failed");
  const isAny = [...chunks.keys()].some((id) => found.has(id));
  return judged(isAny ? "stale" : "without");
}
