/** The versions of a shard: its manifests as they lie on S3, and the chain of those that were really published. */

import {
  manifestKey,
  manifestOfKey,
  manifestPrefix,
  pinKey,
  pinOfKey,
  pinPrefix,
  type ShardRef,
} from "../../core/format/keys.ts";
import { decodeManifest, type Manifest, manifestBytesMax } from "../../core/format/manifest.ts";
import { decodeSealed, encodeSealed, sealedBytesMax } from "../../core/format/sealed-json.ts";
import { corrupt, isKind, isNewerFormat, SiltstoneError } from "../../core/model/errors.ts";
import type { CommitId, SnapshotVersion } from "../../core/model/ids.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import type { ByteRange, ObjectStore, World } from "../ports.ts";
import type { Head } from "./head.ts";
import { putNew } from "./put-new.ts";
import { ignoreStranger, type OnStranger } from "./strangers.ts";

export interface ManifestName {
  readonly version: SnapshotVersion;
  readonly commit: CommitId;
}
export interface Pin {
  readonly name: string;
  readonly version: SnapshotVersion;
  readonly commit: CommitId;
  readonly createdAt: string;
}

/** Every manifest object of a shard, published or left by a crash, by version. */
export async function listManifests(
  store: ObjectStore,
  shard: ShardRef,
  onStranger: OnStranger = ignoreStranger,
): Promise<ManifestName[]> {
  const names: ManifestName[] = [];
  for await (const page of store.list(manifestPrefix(shard))) {
    for (const { key } of page) {
      const name = manifestOfKey(shard, key);
      if (name) names.push(name);
      else onStranger(key);
    }
  }
  return names;
}

/** Where bodies are read from: the store, or what the bucket still keeps of what was deleted. */
export interface Bodies {
  get(
    key: string,
    options?: { range?: ByteRange; bytesMax?: number },
  ): Promise<{ readonly kind: "found"; readonly body: Buffer } | { readonly kind: "absent" | "notModified" }>;
}

export async function readManifest(
  store: Bodies,
  shard: ShardRef,
  { version, commit }: ManifestName,
): Promise<Manifest> {
  const key = manifestKey(shard, version, commit);
  const found = await store.get(key, { bytesMax: manifestBytesMax });
  if (found.kind !== "found") throw new SiltstoneError("notFound", `${key} does not exist, or was deleted`);
  const manifest = decodeManifest(found.body, key, shard);
  if (manifest.version !== version || manifest.commit !== commit)
    throw corrupt(key, "its version or commit is not that of its name");
  return manifest;
}

/** Manifests that were read, by `nameOf`: one never changes, and need not be read again. */
export type KnownManifests = Map<string, Manifest>;
export const nameOf = ({ version, commit }: ManifestName): string => `${version}-${commit}`;

/** Manifests read side by side: each names its parent alone, but the LIST has named them all. */
const readAhead = 16;

/**
 * The published versions, newest first: from the head back by parent, as far as manifests exist. A manifest that is
 * not on this chain was never published (a crash, or a lost race).
 */
export async function publishedChain(
  store: ObjectStore,
  head: Pick<Head, "manifest">,
  names: readonly ManifestName[],
  known: KnownManifests = new Map(),
): Promise<Manifest[]> {
  const there = new Map(names.map((name, i) => [nameOf(name), i]));
  const chain: Manifest[] = [head.manifest];
  for (;;) {
    const { parent } = chain[chain.length - 1]!;
    const at = parent === null ? undefined : there.get(nameOf(parent));
    if (at === undefined) return chain;
    const older =
      known.get(nameOf(names[at]!)) ?? (await readBack(store, head.manifest, { names, at, known }));
    if (older === null) return chain;
    chain.push(older);
  }
}

/**
 * The manifest `names[at]` and, into `known`, those listed before it; null when a collector was faster: the chain ends
 * there by now. What is wrong with one that the chain may never reach is not said here.
 */
async function readBack(
  store: ObjectStore,
  shard: ShardRef,
  { names, at, known }: { names: readonly ManifestName[]; at: number; known: KnownManifests },
): Promise<Manifest | null> {
  const wanted = names
    .slice(Math.max(0, at + 1 - readAhead), at + 1)
    .filter((name) => name === names[at] || !known.has(nameOf(name)));
  const read = await Promise.allSettled(wanted.map((name) => readManifest(store, shard, name)));
  for (const outcome of read)
    if (outcome.status === "fulfilled") known.set(nameOf(outcome.value), outcome.value);
  const own = read[read.length - 1]!;
  if (own.status === "fulfilled") return own.value;
  if (isKind(own.reason, "notFound")) return null;
  throw own.reason;
}

export async function listPins(
  store: ObjectStore,
  shard: ShardRef,
  onStranger: OnStranger = ignoreStranger,
): Promise<Pin[]> {
  const pins: Pin[] = [];
  for await (const page of store.list(pinPrefix(shard))) {
    for (const { key } of page) {
      if (pinOfKey(shard, key) === null) onStranger(key);
      else pins.push(...(await readPin(store, key)));
    }
  }
  return pins;
}

/** Empty when it is gone. */
export async function readPin(store: ObjectStore, key: string): Promise<Pin[]> {
  const found = await store.get(key, { bytesMax: sealedBytesMax });
  return found.kind === "found" ? [decodePin(found.body, key)] : [];
}

const pinFormat = 1;

function decodePin(body: Buffer, key: string): Pin {
  try {
    return decodeSealed(body, key, pinFormat) as Pin;
  } catch (error) {
    if (isNewerFormat(error)) throw error;
    const reason =
      "it is not an intact pin; garbage collection deletes nothing of this shard until the pin is deleted or mended";
    throw corrupt(key, reason, error);
  }
}

/**
 * Pins a published version: the collector keeps it, whatever its age. The pin is written first and the floor read
 * afterwards; a collector raises the floor first and lists pins afterwards: one of them sees the other. A repair in between
 * may have put another manifest in the version's place.
 */
export async function pinVersion(
  world: World,
  readHead: () => Promise<Head>,
  request: { name: string; version: SnapshotVersion },
): Promise<Pin> {
  const head = await readHead();
  const shard = head.manifest;
  const chain = await publishedChain(world.store, head, await listManifests(world.store, shard));
  const target = chain.find((manifest) => manifest.version === request.version);
  if (!target || target.version === 0) throw noVersion(shard, request.version, chain);
  const pin: Pin = {
    name: request.name,
    version: target.version,
    commit: target.commit,
    createdAt: new Date(world.clock.nowMs()).toISOString(),
  };
  const key = pinKey(shard, request.name);
  const body = encodeSealed({ format: pinFormat, ...pin });
  if (!(await putNew(world.store, key, body)))
    throw new SiltstoneError("conflict", `pin ${request.name} exists already; choose another name`);
  const now = await readHead();
  const isAbove = now.pointer.floor.version <= pin.version;
  const isKept =
    isAbove && (now.manifest.commit === head.manifest.commit || (await isOnChain(world, now, pin)));
  if (!isKept) {
    await world.store.delete([key]);
    throw noVersion(shard, request.version, chain);
  }
  return pin;
}

async function isOnChain(world: World, head: Head, { commit }: ManifestName): Promise<boolean> {
  const chain = await publishedChain(world.store, head, await listManifests(world.store, head.manifest));
  return chain.some((manifest) => manifest.commit === commit);
}

export const unpin = (store: ObjectStore, shard: ShardRef, name: string): Promise<void> =>
  store.delete([pinKey(shard, name)]);

export function noVersion(
  shard: ShardRef,
  version: SnapshotVersion,
  chain: readonly Manifest[],
): SiltstoneError {
  const kept = chain.map((manifest) => manifest.version).filter((kept) => kept > 0);
  const range =
    kept.length === 0 ? "nothing is published yet" : `kept: ${kept[kept.length - 1]} to ${kept[0]}`;
  return new SiltstoneError(
    "notFound",
    `${shard.collection}/${shard.shard} has no version ${version}, or not any more; ${range}`,
  );
}

/** Age of a manifest by its own commit. */
export const commitTimeMs = ({ commit }: ManifestName): number => ulidTimeMs(commit);
