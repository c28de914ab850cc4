/**
 * Versions of a shard that are not kept any more. Garbage collection deleted their manifests and files; the bucket keeps those as
 * noncurrent versions of their objects for a while (noncurrentVersionDays), and so they can be read.
 *
 * A manifest there may never have been published: its writer crashed, or lost its race. But a manifest names as its parent what was
 * the head when it was made. So a version was published as the manifest that one of the next version names; where two are
 * named, since a repair put one in the place of another, the later one counts: the head was built on it.
 */
import { deltaBytesMax } from "../../core/format/delta-header.ts";
import { manifestOfKey, manifestPrefix, shardName } from "../../core/format/keys.ts";
import type { Manifest } from "../../core/format/manifest.ts";
import { corrupt, isKind, SiltstoneError } from "../../core/model/errors.ts";
import { type SnapshotVersion, snapshotVersion } from "../../core/model/ids.ts";
import type { ByteRange, DeletedObject, DeletedObjects, World } from "../ports.ts";
import type { Head } from "../shard/head.ts";
import {
  type Bodies,
  commitTimeMs,
  listManifests,
  listPins,
  type ManifestName,
  noVersion,
  publishedChain,
  readManifest,
} from "../shard/history.ts";

/** A version by its number, or the one that was current at a time (ms since 1970). */
export type WantedVersion = { readonly version: SnapshotVersion } | { readonly atMs: number };

export interface FoundVersion {
  readonly manifest: Manifest;
  /** False where only the bucket's noncurrent objects hold it. */
  readonly isKept: boolean;
}

/** What is there, and what was deleted where nothing is. */
export class FormerObjects implements Bodies {
  readonly #store: Bodies;
  readonly #deleted: DeletedObjects;
  readonly #found = new Map<string, Promise<DeletedObject | null>>();

  constructor(store: Bodies, deleted: DeletedObjects) {
    this.#store = store;
    this.#deleted = deleted;
  }

  async get(key: string, options: { range?: ByteRange; bytesMax?: number } = {}) {
    const there = await this.#store.get(key, options);
    if (there.kind !== "absent") return there;
    const find = this.#found.get(key) ?? this.#find(key);
    this.#found.set(key, find);
    const object = await find;
    // Any writer may have put something under such a key.
    const { bytesMax = deltaBytesMax } = options;
    if (object !== null && options.range === undefined && object.bytes > bytesMax)
      throw corrupt(key, `it has ${object.bytes} bytes; at most ${bytesMax} are read`);
    const body = object === null ? null : await this.#deleted.get(object, options.range);
    return body === null ? { kind: "absent" as const } : { kind: "found" as const, body };
  }

  async #find(key: string): Promise<DeletedObject | null> {
    for await (const page of this.#deleted.list(key, { startAfter: key.slice(0, -1) }))
      for (const object of page) if (object.key === key) return object;
    return null;
  }
}

/** Throws `notFound` when neither the shard keeps such a version nor the bucket, or nothing was published by then. */
export async function findVersion(
  { store }: Pick<World, "store">,
  deleted: DeletedObjects,
  head: Head,
  wanted: WantedVersion,
): Promise<FoundVersion> {
  const kept = await listManifests(store, head.manifest);
  const chain = await publishedChain(store, head, kept);
  const inChain = chain.find((manifest) =>
    "version" in wanted ? manifest.version === wanted.version : commitTimeMs(manifest) <= wanted.atMs,
  );
  if (inChain !== undefined && inChain.version > 0) return { manifest: inChain, isKept: true };
  if ("version" in wanted) {
    const pin = (await listPins(store, head.manifest)).find(({ version }) => version === wanted.version);
    if (pin) return { manifest: await readManifest(store, head.manifest, pin), isKept: true };
  }
  const former = new FormerVersions(store, deleted, head, [...kept, ...(await deletedNames(deleted, head))]);
  const name = await ("version" in wanted ? former.published(wanted.version) : former.currentAt(wanted.atMs));
  if (name === null) throw notThere(head, wanted, chain);
  try {
    return { manifest: await former.read(name), isKept: false };
  } catch (error) {
    if (isKind(error, "notFound")) throw notThere(head, wanted, chain);
    throw error;
  }
}

const notThere = (head: Head, wanted: WantedVersion, chain: readonly Manifest[]): SiltstoneError => {
  if ("version" in wanted) return noVersion(head.manifest, wanted.version, chain);
  return new SiltstoneError(
    "notFound",
    `${shardName(head.manifest)} has no version of ${new Date(wanted.atMs).toISOString()}: nothing was published by then, or the bucket no longer keeps it`,
  );
};

async function deletedNames(deleted: DeletedObjects, { manifest }: Head): Promise<ManifestName[]> {
  const prefix = manifestPrefix(manifest);
  const names: ManifestName[] = [];
  for await (const page of deleted.list(prefix, { startAfter: prefix }))
    for (const { key } of page) {
      const name = manifestOfKey(manifest, key);
      if (name !== null) names.push(name);
    }
  return names;
}

class FormerVersions {
  readonly #bodies: FormerObjects;
  readonly #head: Manifest;
  readonly #byVersion: ReadonlyMap<SnapshotVersion, readonly ManifestName[]>;

  constructor(store: Bodies, deleted: DeletedObjects, head: Head, names: readonly ManifestName[]) {
    this.#bodies = new FormerObjects(store, deleted);
    this.#head = head.manifest;
    this.#byVersion = Map.groupBy(names, ({ version }) => version);
  }

  read(name: ManifestName): Promise<Manifest> {
    return readManifest(this.#bodies, this.#head, name);
  }

  /** The version as it was published; null when no manifest of the next version is this collection's and names it. */
  async published(version: SnapshotVersion): Promise<ManifestName | null> {
    if (version < 1 || version >= this.#head.version) return null;
    const next = this.#byVersion.get(snapshotVersion(version + 1)) ?? [];
    const read = await Promise.all(next.map((name) => this.read(name).catch(absent)));
    // A former collection of the name may have left some.
    const parents = read.flatMap((manifest) =>
      manifest?.collectionId === this.#head.collectionId && manifest.parent?.version === version
        ? [manifest.parent]
        : [],
    );
    return parents.sort((a, b) => (a.commit < b.commit ? 1 : -1))[0] ?? null;
  }

  async currentAt(atMs: number): Promise<ManifestName | null> {
    const versions = [...this.#byVersion]
      .filter(([, names]) => names.some((name) => commitTimeMs(name) <= atMs))
      .map(([version]) => version)
      .sort((a, b) => b - a);
    for (const version of versions) {
      const name = await this.published(version);
      // Of a version below the head one was published: where nothing tells which, an older one is not what was current.
      if (name === null && version < this.#head.version) return null;
      if (name !== null && commitTimeMs(name) <= atMs) return name;
    }
    return null;
  }
}

/** What is damaged or gone names no parent; others may. */
function absent(error: unknown): null {
  if (isKind(error, "notFound") || isKind(error, "corrupt")) return null;
  throw error;
}
