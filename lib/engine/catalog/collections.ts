/** Creating, listing and deleting collections. */
import pLimit from "p-limit";
import { encodeCollection } from "../../core/format/collection-json.ts";
import { exportedFolder } from "../../core/format/exported-snapshot.ts";
import {
  aliasKey,
  collectionKey,
  collectionPrefix,
  deletedKey,
  nameKey,
  pointerKey,
} from "../../core/format/keys.ts";
import { encodePointer, firstPointer } from "../../core/format/pointer.ts";
import { sealedBytesMax } from "../../core/format/sealed-json.ts";
import {
  type Collection,
  type CollectionOptions,
  checkCollectionName,
  newCollection,
  sameConfiguration,
} from "../../core/model/collection.ts";
import { invalid, isKind, SiltstoneError } from "../../core/model/errors.ts";
import type { ObjectStore, World } from "../ports.ts";
import { countManifests, readCollection, readPointer } from "../shard/head.ts";
import { aliasesOf, readAliases } from "./aliases.ts";
import { claimName, listNames, readClaim, remainsOf } from "./names.ts";

/** Keys deleted by one call. */
const deleteBatch = 1_000;

/**
 * Creates a collection: name.json, create-if-absent, makes the name a collection's; collection.json, create-if-absent, decides whose
 * configuration it is; then each shard's pointer is written at version 0, create-if-absent. A crash in between is mended by creating it again. Creating the
 * same again changes nothing; another configuration under the same name is a `conflict`.
 */
export async function createCollection(
  world: World,
  options: CollectionOptions,
): Promise<{ collection: Collection; created: boolean }> {
  const wanted = newCollection(options, world.clock.ulid(), world.clock.nowMs());
  const existing = await collectionIfAny(world.store, wanted.name);
  if (existing === null) {
    if (wanted.name === exportedFolder)
      throw invalid(`name: ${exportedFolder}/ is where exported snapshots lie; take another name`);
    await refuseRemains(world.store, wanted.name);
    await claimName(world.store, wanted.name, "collection");
    await world.store.put(collectionKey(wanted.name), encodeCollection(wanted), { ifAbsent: true });
  }
  // Whose it is, is told by the id: a refused PUT may have been our own that won when its first answer was lost.
  const collection = existing ?? (await readCollection(world.store, wanted.name));
  const created = collection.id === wanted.id;
  if (!sameConfiguration(collection, wanted)) throw differs(collection, wanted);
  for (let shard = 0; shard < collection.shards; shard++) await placePointer(world.store, collection, shard);
  return { collection, created };
}

/**
 * Only a shard that never published has no pointer by right. One with manifests of its own has lost it: version 0 in its
 * place would be an empty index, so readPointer is left to say what is wrong.
 */
async function placePointer(store: ObjectStore, collection: Collection, shard: number): Promise<void> {
  const ref = { collection: collection.name, shard };
  if ((await countManifests(store, collection, ref)) === 0) {
    const pointer = encodePointer(firstPointer(collection, shard));
    const put = await store.put(pointerKey(ref), pointer, { ifAbsent: true });
    if (put.kind === "written") return;
    if ((await store.head(pointerKey(ref))) === null) {
      throw new SiltstoneError("unavailable", `${pointerKey(ref)} could not be written; repeat the call`);
    }
  }
  // There already: then it must be this collection's, which readPointer checks.
  await readPointer(store, collection, shard);
}

/** A deletion that did not finish would mix the old collection's objects with the new one's. */
async function refuseRemains(store: ObjectStore, name: string): Promise<void> {
  const key = await remainsOf(store, name);
  if (key === null) return;
  if (key === aliasKey(name)) throw new SiltstoneError("conflict", `${name} is an alias; take another name`);
  throw new SiltstoneError(
    "conflict",
    `collection ${name}: objects of a deleted collection are still there (${key}); ` +
      `finish with \`silt collection delete ${name} --confirm ${name}\`, or, if its ${collectionKey(name)} was lost, ` +
      'bring that back (docs/runbook.md, "Strangers")',
  );
}

function differs(existing: Collection, wanted: Collection): SiltstoneError {
  const fields = (Object.keys(wanted) as (keyof Collection)[]).filter(
    (field) =>
      field !== "id" &&
      field !== "createdAt" &&
      JSON.stringify(existing[field]) !== JSON.stringify(wanted[field]),
  );
  const differences = fields.map(
    (field) => `${field} is ${JSON.stringify(existing[field])}, not ${JSON.stringify(wanted[field])}`,
  );
  return new SiltstoneError(
    "conflict",
    `collection ${wanted.name} exists with another configuration: ${differences.join("; ")}; ` +
      "a configuration never changes: make another collection",
  );
}

async function collectionIfAny(store: ObjectStore, name: string): Promise<Collection | null> {
  try {
    return await readCollection(store, name);
  } catch (error) {
    if (isKind(error, "notFound")) return null;
    throw error;
  }
}

/** Collections read side by side. */
const readConcurrency = 16;

export interface Listing {
  /** Sorted by name. A folder without a collection.json is not a collection. */
  readonly collections: readonly Collection[];
  /** Those whose configuration cannot be read or trusted: each concerns itself alone in a walk through all of them. */
  readonly unreadable: readonly UnreadableCollection[];
  /** What lies beside them: keys, and folders (ending in "/") whose name is not a collection's, or that have neither collection.json nor alias.json. */
  readonly strangers: readonly string[];
}
export interface UnreadableCollection {
  readonly name: string;
  readonly error: SiltstoneError;
}

export async function listCollections(store: ObjectStore): Promise<Listing> {
  const { names, strangers } = await listNames(store);
  const read = await readCollections(store, names);
  const known = new Set([...read.collections, ...read.unreadable].map(({ name }) => name));
  const others = names.filter((name) => !known.has(name));
  const { aliases, unreadable } = await readAliases(store, others);
  const named = new Set([...aliases.map(({ alias }) => alias.name), ...unreadable.map(({ name }) => name)]);
  const unconfigured = others.filter((name) => !named.has(name));
  return { ...read, strangers: [...strangers, ...strangersAmong(unconfigured)] };
}

/** Of folders that have neither collection.json nor alias.json: all but that of exported snapshots. */
export const strangersAmong = (unconfigured: readonly string[]): string[] =>
  unconfigured.filter((name) => name !== exportedFolder).map(collectionPrefix);

export async function readCollections(
  store: ObjectStore,
  names: readonly string[],
): Promise<Omit<Listing, "strangers">> {
  const collections: Collection[] = [];
  const unreadable: UnreadableCollection[] = [];
  const limit = pLimit(readConcurrency);
  const read = names.map((name) => limit(() => collectionIfAny(store, name)));
  for (const [i, outcome] of (await Promise.allSettled(read)).entries()) {
    if (outcome.status === "fulfilled") {
      if (outcome.value !== null) collections.push(outcome.value);
    } else if (outcome.reason instanceof SiltstoneError) {
      unreadable.push({ name: names[i]!, error: outcome.reason });
    } else throw outcome.reason;
  }
  return { collections, unreadable };
}

/**
 * Deletes a collection. Throws `conflict` where an alias leads to it. Safe to repeat after a crash. Returns how many objects were deleted.
 *
 *  1. Where an alias leads to it, nothing is done.
 *  2. deleted.json keeps what collection.json says; collection.json goes, so that no caller writes or reads it any more.
 *  3. Aliases are looked for again: who made one lead here meanwhile either sees that collection.json is gone, or is seen here
 *     (aliases.ts). Then collection.json is put back, also by a repetition after a crash, and nothing else has been touched.
 *  4. All the rest goes, deleted.json and the claim of the name last.
 */
export async function deleteCollection(store: ObjectStore, name: string): Promise<number> {
  const key = collectionKey(checkCollectionName(name));
  // A configuration that cannot be read, or that is alone, is deleted like any other.
  const found = await store.getBounded(key, sealedBytesMax);
  if (found.kind === "refused") throw found.error;
  if (found.kind === "absent" && (await isAlias(store, name)))
    throw new SiltstoneError(
      "invalid",
      `${name} is an alias: \`silt alias delete ${name} --confirm ${name}\``,
    );
  if (found.kind === "absent" && name === exportedFolder)
    throw invalid(`name: ${name} is no collection: exported snapshots lie below it`);
  await refuseLedTo(store, name);
  if (found.kind === "found") {
    const put = await store.put(deletedKey(name), found.body, { ifAbsent: true });
    // A refusal does not say that it is there; without it, what a new alias leads to could not be put back.
    if (put.kind !== "written" && (await store.head(deletedKey(name))) === null)
      throw new SiltstoneError("unavailable", `${deletedKey(name)} could not be written; repeat the call`);
  }
  await store.delete([key]);
  await refuseLedTo(store, name);
  return (found.kind === "absent" ? 0 : 1) + (await deleteAll(store, name));
}

/** Where an alias leads here, what a deletion took away is put back. */
async function refuseLedTo(store: ObjectStore, name: string): Promise<void> {
  const aliases = await aliasesOf(store, name);
  if (aliases.length === 0) return;
  const kept = await store.get(deletedKey(name), { bytesMax: sealedBytesMax });
  if (kept.kind === "found") {
    await store.put(collectionKey(name), kept.body, { ifAbsent: true });
    if ((await store.head(collectionKey(name))) !== null) await store.delete([deletedKey(name)]);
  }
  throw new SiltstoneError(
    "conflict",
    `collection ${name}: the alias ${aliases.join(", ")} leads to it; give it up there before ` +
      "(`silt alias set`), or delete the alias",
  );
}

async function deleteAll(store: ObjectStore, name: string): Promise<number> {
  const last = [deletedKey(name), nameKey(name)];
  let [deleted, claims] = [0, 0];
  for await (const page of store.list(collectionPrefix(name))) {
    const keys = page.map(({ key }) => key);
    const others = keys.filter((key) => !last.includes(key));
    for (let start = 0; start < others.length; start += deleteBatch)
      await store.delete(others.slice(start, start + deleteBatch));
    deleted += others.length;
    claims += keys.filter((key) => key === nameKey(name)).length;
  }
  // One after the other: what is left of a deletion that died must be seen to be that.
  for (const key of last) await store.delete([key]);
  return deleted + claims;
}

const isAlias = async (store: ObjectStore, name: string): Promise<boolean> =>
  (await store.head(aliasKey(name))) !== null || (await readClaim(store, name)) === "alias";
