/**
 * The versions that may serve while the newest is damaged: the published ones before it, as far as the floor, newest first.
 *
 * A manifest names its parent, so the chain is followed back from the newest as usual. Where a manifest of it is damaged
 * itself, its parent may be any manifest of the version before; crashes and lost races leave some that were never
 * published. So each version keeps its candidates, and only a version that has one left is offered: nothing above the
 * floor is ever deleted, so that one was published.
 */

import type { Manifest } from "../../core/format/manifest.ts";
import type { Pointer } from "../../core/format/pointer.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind, isUnreadable } from "../../core/model/errors.ts";
import type { CommitId } from "../../core/model/ids.ts";
import type { ObjectStore } from "../ports.ts";
import { fitsCollection } from "../shard/head.ts";
import { commitTimeMs, listManifests, type ManifestName, readManifest } from "../shard/history.ts";

export interface Fallback {
  readonly manifest: Manifest;
  /** When the version after it was being committed: until then it was the newest. By the clock of that compactor. */
  readonly newestUntilMs: number;
}

/** Versions looked at: a shard damaged further back than this is one for a human. */
const versionsMax = 64;

/** Those above `above` and before the version that `pointer` names; `damaged` is that version, null when it cannot be read. */
export async function* versionsBefore(
  store: ObjectStore,
  collection: Collection,
  pointer: Pointer,
  { damaged, above }: { damaged: Manifest | null; above: number },
): AsyncGenerator<Fallback> {
  const least = Math.max(above + 1, pointer.floor.version, pointer.version - versionsMax, 1);
  if (least >= pointer.version) return;
  const byVersion = Map.groupBy(await listManifests(store, pointer), ({ version }): number => version);
  let parents = parentsOf([damaged]);
  let newestUntilMs = commitTimeMs(pointer);
  for (let version = pointer.version - 1; version >= least; version--) {
    const names = (byVersion.get(version) ?? []).filter(({ commit }) => parents?.has(commit) ?? true);
    const manifests = await Promise.all(names.map((name) => readIfWhole(store, collection, pointer, name)));
    const [only] = manifests;
    if (manifests.length === 1 && only) yield { manifest: only, newestUntilMs };
    newestUntilMs = Math.min(newestUntilMs, ...names.map(commitTimeMs));
    parents = parentsOf(manifests);
  }
}

/** Commits of the manifests' parents; null when one of them cannot be read: then it may be any. */
function parentsOf(manifests: readonly (Manifest | null)[]): ReadonlySet<CommitId> | null {
  const commits = manifests.map((manifest) => manifest?.parent?.commit);
  const known = commits.filter((commit) => commit !== undefined);
  return known.length === commits.length && known.length > 0 ? new Set(known) : null;
}

async function readIfWhole(
  store: ObjectStore,
  collection: Collection,
  shard: Pointer,
  name: ManifestName,
): Promise<Manifest | null> {
  try {
    const manifest = await readManifest(store, shard, name);
    return fitsCollection(manifest, collection) ? manifest : null;
  } catch (error) {
    if (isUnreadable(error) || isKind(error, "notFound")) return null;
    throw error;
  }
}
