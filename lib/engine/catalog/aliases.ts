/**
 * Making, changing and deleting aliases (lib/core/model/alias.ts). Each change is one PUT with If-Match on what it was made from.
 *
 * An alias must lead to collections that are there. Who makes one lead to a collection writes first and looks for its collection.json
 * second; who deletes a collection removes collection.json first and looks for aliases second (collections.ts). So of the two, whatever they
 * do at the same time, one sees the other, and withdraws.
 */
import pLimit from "p-limit";
import { decodeAlias, encodeAlias } from "../../core/format/alias-json.ts";
import { aliasKey, collectionKey, nameKey } from "../../core/format/keys.ts";
import { sealedBytesMax } from "../../core/format/sealed-json.ts";
import {
  type Alias,
  type ChangedBy,
  isOverdue,
  newAlias,
  refuseBarrier,
  type Side,
  type SideName,
  sideNamed,
  sideNames,
  sideOf,
  withoutBarrier,
  withTarget,
} from "../../core/model/alias.ts";
import { type Collection, checkCollectionName } from "../../core/model/collection.ts";
import { isKind, SiltstoneError } from "../../core/model/errors.ts";
import type { ObjectStore, World } from "../ports.ts";
import { readCollection } from "../shard/head.ts";
import { claimName, listNames, readClaim, remainsOf } from "./names.ts";

export type AliasWorld = Pick<World, "store" | "clock">;

/** An alias as it was read, or written. */
export interface KnownAlias {
  readonly alias: Alias;
  readonly etag: string;
}

/** Who changes an alias, and why; `revision`, when given, must be the one that it has. */
export interface AliasCall {
  readonly name: string;
  readonly actor: string;
  readonly reason: string;
  readonly revision?: number | undefined;
  readonly migrationRevision?: number | undefined;
}

/** Null when there is none. Costs one request. */
export async function readAlias(store: ObjectStore, name: string): Promise<KnownAlias | null> {
  const key = aliasKey(checkCollectionName(name));
  const found = await store.get(key, { bytesMax: sealedBytesMax });
  return found.kind === "found" ? { alias: decodeAlias(found.body, key, name), etag: found.etag } : null;
}

/** What is known where that still stands; null when there is none any more. */
export async function readAliasAgain(store: ObjectStore, known: KnownAlias): Promise<KnownAlias | null> {
  const { name } = known.alias;
  const key = aliasKey(name);
  const found = await store.get(key, { bytesMax: sealedBytesMax, ifNoneMatch: known.etag });
  if (found.kind === "notModified") return known;
  return found.kind === "found" ? { alias: decodeAlias(found.body, key, name), etag: found.etag } : null;
}

export async function mustReadAlias(store: ObjectStore, name: string): Promise<KnownAlias> {
  const known = await readAlias(store, name);
  if (known !== null) return known;
  throw new SiltstoneError(
    "notFound",
    `alias ${name} does not exist; \`silt alias list\` shows those that do`,
  );
}

/** What a name leads to: of a collection's it costs the one request that reads its configuration. Throws `notFound`. */
export async function readNamed(
  store: ObjectStore,
  name: string,
): Promise<{ readonly collection: Collection } | { readonly known: KnownAlias }> {
  try {
    return { collection: await readCollection(store, name) };
  } catch (error) {
    if (!(error instanceof SiltstoneError) || !error.isNoCollection) throw error;
    const known = await readAlias(store, name);
    if (known === null) throw error;
    return { known };
  }
}

/** The collection that is a side. Throws `conflict` where another has its name by now. */
export async function readSide(store: ObjectStore, alias: Alias, side: SideName): Promise<Collection> {
  const { collection: name, collectionId } = sideNamed(alias, side);
  const collection = await readCollection(store, name);
  if (collection.id === collectionId) return collection;
  throw new SiltstoneError(
    "conflict",
    `alias ${alias.name} leads to a collection ${name} that was deleted, and another was made under its name; set its sides anew`,
  );
}

/** Aliases read side by side. */
const readConcurrency = 16;

export interface AliasListing {
  /** Sorted by name. */
  readonly aliases: readonly KnownAlias[];
  readonly unreadable: readonly { readonly name: string; readonly error: SiltstoneError }[];
}

export const listAliases = async (store: ObjectStore): Promise<AliasListing> =>
  readAliases(store, (await listNames(store)).names);

/** Those of the names that are aliases. */
export async function readAliases(store: ObjectStore, names: readonly string[]): Promise<AliasListing> {
  const aliases: KnownAlias[] = [];
  const unreadable: { name: string; error: SiltstoneError }[] = [];
  const limit = pLimit(readConcurrency);
  const read = names.map((name) => limit(() => readAlias(store, name)));
  for (const [i, outcome] of (await Promise.allSettled(read)).entries()) {
    if (outcome.status === "fulfilled") {
      if (outcome.value !== null) aliases.push(outcome.value);
    } else if (outcome.reason instanceof SiltstoneError)
      unreadable.push({ name: names[i]!, error: outcome.reason });
    else throw outcome.reason;
  }
  return { aliases, unreadable };
}

/** Names of the aliases that lead to a collection. Throws where one cannot be read: it may be one of them. */
export async function aliasesOf(store: ObjectStore, collection: string): Promise<string[]> {
  const { aliases, unreadable } = await listAliases(store);
  if (unreadable.length > 0) throw unreadable[0]!.error;
  const leadsThere = ({ alias }: KnownAlias) =>
    sideNames.some((side) => alias[side]?.collection === collection);
  return aliases.filter(leadsThere).map(({ alias }) => alias.name);
}

/** Making the same again changes nothing; an alias that leads elsewhere is a `conflict`. */
export async function createAlias(
  world: AliasWorld,
  call: AliasCall & { readonly collection: string },
): Promise<{ alias: Alias; created: boolean }> {
  const { store, clock } = world;
  const name = checkCollectionName(call.name);
  const side = sideOf(await readCollection(store, call.collection));
  const wanted = newAlias(name, clock.ulid(), side, byOf(world, call));
  if ((await readAlias(store, name)) === null) {
    const remains = await remainsOf(store, name);
    if (remains !== null) throw taken(name, remains);
    await claimName(store, name, "alias");
    await store.put(aliasKey(name), encodeAlias(wanted), { ifAbsent: true });
  }
  const { alias } = await mustReadAlias(store, name);
  const created = alias.id === wanted.id;
  if (created) {
    const fault = await goneFault(store, side);
    // Older code makes collections without a claim.
    const isTaken = (await store.head(collectionKey(name))) !== null;
    if (fault !== null || isTaken) await store.delete([aliasKey(name), nameKey(name)]);
    if (isTaken) throw taken(name, collectionKey(name));
    if (fault !== null) throw fault;
  } else if (alias.source.collectionId !== side.collectionId || alias.target !== null) {
    throw new SiltstoneError(
      "conflict",
      `alias ${name} exists and leads to ${alias.source.collection}${alias.target ? ` and ${alias.target.collection}` : ""}; ` +
        "change it with `silt alias set`",
    );
  }
  return { alias, created };
}

const taken = (name: string, key: string): SiltstoneError =>
  new SiltstoneError(
    "conflict",
    `${name} is the name of a collection, or of what is left of one (${key}); take another name`,
  );

/** Makes a collection the target: until it is given up, it cannot be deleted. */
export async function setTarget(
  world: AliasWorld,
  call: AliasCall & { readonly collection: string },
): Promise<KnownAlias> {
  const { store } = world;
  const target = await readCollection(store, call.collection);
  const before = await readToChange(world, call);
  const source = await readCollection(store, before.alias.source.collection);
  if (source.ordering !== target.ordering)
    throw new SiltstoneError(
      "invalid",
      `target: ${target.name} orders writes by ${target.ordering} and ${source.name} by ${source.ordering}; the sides of an alias have one order`,
    );
  const side = sideOf(target);
  const known = await write(world, before, withTarget(before.alias, side, byOf(world, call)));
  const fault = await goneFault(store, side);
  if (fault === null) return known;
  await giveUpTarget(world, known, side, call);
  throw fault;
}

/** Another change may come in between; any but this one's own leaves the side where it is. */
const withdrawalsMax = 12;

async function giveUpTarget(
  world: AliasWorld,
  known: KnownAlias,
  side: Side,
  call: AliasCall,
): Promise<void> {
  let current: KnownAlias | null = known;
  for (let attempt = 1; current?.alias.target?.collectionId === side.collectionId; attempt++) {
    const { alias } = current;
    const by = { ...byOf(world, call), reason: "its collection was deleted meanwhile" };
    const change = { ...withoutBarrier(alias, by), target: null, readShare: 0, writing: "source" } as const;
    try {
      await write(world, current, change);
      return;
    } catch (error) {
      if (!isKind(error, "conflict") || attempt === withdrawalsMax) throw error;
    }
    current = await readAlias(world.store, alias.name);
  }
}

/** Null while the collection is there, the very one. */
async function goneFault(store: ObjectStore, side: Side): Promise<SiltstoneError | null> {
  try {
    const { id } = await readCollection(store, side.collection);
    return id === side.collectionId
      ? null
      : new SiltstoneError("conflict", `${side.collection} was made again; repeat the call`);
  } catch (error) {
    if (isKind(error, "notFound")) return error;
    throw error;
  }
}

/** Makes a change of what the alias is now. Throws `conflict` when another one came in between. */
export async function changeAlias(
  world: AliasWorld,
  call: AliasCall,
  change: (alias: Alias, by: ChangedBy) => Alias,
): Promise<KnownAlias> {
  const known = await readToChange(world, call);
  return write(world, known, change(known.alias, byOf(world, call)));
}

/** The alias that a call means to change; a barrier that nobody lifted in time is lifted before. */
export async function readToChange(world: AliasWorld, call: AliasCall): Promise<KnownAlias> {
  const known = await mustReadAlias(world.store, call.name);
  const { revision } = known.alias;
  if (call.revision !== undefined && call.revision !== revision)
    throw new SiltstoneError(
      "conflict",
      `alias ${call.name} has revision ${revision}, not ${call.revision}: look at it again (\`silt alias show ${call.name}\`)`,
    );
  return (await liftOverdue(world, known, call.actor)) ?? known;
}

/** Lifts a barrier whose deadline is over, and with it what its driver may be about to do; null where none is. */
export async function liftOverdue(
  world: AliasWorld,
  known: KnownAlias,
  actor: string,
): Promise<KnownAlias | null> {
  const { name, barrier } = known.alias;
  if (barrier === null || !isOverdue(barrier, world.clock.nowMs())) return null;
  const by = byOf(world, { name, actor, reason: "its deadline is over" });
  return write(world, known, withoutBarrier(known.alias, by));
}

/**
 * Writes what an alias becomes over what it was. A lost answer, and a refusal, say nothing: the change's own ULID tells whether it is
 * there. Throws `conflict` when another change is, also one on top of this one.
 */
export async function write(world: AliasWorld, from: KnownAlias, to: Alias): Promise<KnownAlias> {
  const { store } = world;
  const key = aliasKey(to.name);
  let lost: unknown = null;
  try {
    const put = await store.put(key, encodeAlias(to), { ifMatch: from.etag });
    if (put.kind === "written") return { alias: to, etag: put.etag };
  } catch (error) {
    if (!isKind(error, "uncertain")) throw error;
    lost = error;
  }
  const current = await mustReadAlias(store, to.name);
  if (current.alias.changes[0]?.id === to.changes[0]!.id) return current;
  // Nothing has changed it, and the PUT may still land.
  if (lost !== null && current.etag === from.etag) throw lost;
  const last = current.alias.changes[0];
  throw new SiltstoneError(
    "conflict",
    `alias ${to.name} was changed meanwhile (revision ${current.alias.revision}, ${last?.what}, by ${last?.actor}); ` +
      "look at it again, and repeat the call if it is still wanted",
  );
}

export const byOf = (
  { clock }: Pick<World, "clock">,
  { actor, reason, migrationRevision }: AliasCall,
): ChangedBy => ({ actor, reason, id: clock.ulid(), atMs: clock.nowMs(), migrationRevision });

/** Safe to repeat. One that cannot be read is deleted like any other; false when there is none. */
export async function deleteAlias(world: AliasWorld, name: string): Promise<boolean> {
  const { store, clock } = world;
  const known = await readAlias(store, name).catch((error: unknown) => {
    if (!isKind(error, "corrupt")) throw error;
    return "damaged" as const;
  });
  if (known !== null && known !== "damaged") {
    const { barrier } = known.alias;
    if (barrier !== null && !isOverdue(barrier, clock.nowMs())) refuseBarrier(known.alias);
  }
  const isClaimed = (await readClaim(store, name)) === "alias";
  await store.delete([aliasKey(name)]);
  if (isClaimed) await store.delete([nameKey(name)]);
  return known !== null || isClaimed;
}
