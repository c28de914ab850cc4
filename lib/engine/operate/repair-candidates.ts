/**
 * What a repair of a lost pointer chooses from. A *candidate* is a manifest that may be the one that the pointer named: one of
 * the newest version's, or a parent of these. What it *lacks* are deltas that are gone and that it does not include, and
 * files that it names and that are missing. *Proven* is a candidate of which it is certain that it was published.
 */

import {
  deltaOfKey,
  deltaPrefix,
  pointerKey,
  quarantinedOfKey,
  quarantinePrefix,
  type SegmentFile,
  type ShardRef,
  segmentKey,
  segmentPrefix,
} from "../../core/format/keys.ts";
import { emptyManifest, type Manifest } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt, isKind } from "../../core/model/errors.ts";
import type { CommitId, DeltaId } from "../../core/model/ids.ts";
import type { World } from "../ports.ts";
import { listPins, type ManifestName, readManifest } from "../shard/history.ts";

export interface Candidate {
  readonly manifest: Manifest;
  readonly isPinned: boolean;
  /** Deltas that are part of it and not of its parent. */
  readonly added: readonly DeltaId[];
  /** Deltas that are gone and not part of it. */
  readonly missingDeltas: number;
  readonly missingFiles: number;
}

/**
 * All manifests of the newest version that this collection has any of (a former one of the name may have left some), newest
 * first, and merges last: to pass one over costs nothing, since what it merged is all there.
 */
export async function newestManifests(
  world: World,
  collection: Collection,
  ref: ShardRef,
  names: readonly ManifestName[],
): Promise<Manifest[]> {
  const newest: Manifest[] = [];
  for (const name of [...names].reverse()) {
    if (newest.length > 0 && name.version < newest[0]!.version) break;
    const manifest = await readManifest(world.store, ref, name);
    if (manifest.collectionId === collection.id) newest.push(manifest);
  }
  return newest.sort((a, b) => Number(a.cause === "merge") - Number(b.cause === "merge"));
}

/** The newest manifests and their parents, with what each lacks; and the deltas that wait. */
export async function surveyCandidates(
  world: World,
  collection: Collection,
  ref: ShardRef,
  { names, newest }: { names: readonly ManifestName[]; newest: readonly Manifest[] },
): Promise<{ candidates: Candidate[]; waiting: ReadonlySet<DeltaId> }> {
  const parents = new Map<CommitId, Manifest>();
  for (const { parent } of newest) {
    if (parent?.version === 0) parents.set(parent.commit, emptyManifest(collection, ref.shard));
    const name = names.find(({ commit }) => commit === parent?.commit);
    if (name) parents.set(name.commit, await readManifest(world.store, ref, name));
  }
  const waiting = await listed(world, deltaPrefix(ref), (key) => deltaOfKey(ref, key));
  const aside = await listed(world, quarantinePrefix(ref), (key) => quarantinedOfKey(ref, key));
  const files = new Map<string, number>();
  for await (const page of world.store.list(segmentPrefix(ref)))
    for (const { key, bytes } of page) files.set(key, bytes);

  const appliedBefore = ({ parent }: Manifest) => (parent && parents.get(parent.commit)?.applied) ?? [];
  const added = (manifest: Manifest) => without(manifest.applied, appliedBefore(manifest));
  const gone = newest.flatMap(added).filter((delta) => !waiting.has(delta) && !aside.has(delta));
  const pinned = await pinnedCommits(world, ref);
  const candidate = (manifest: Manifest): Candidate => {
    const included = new Set([...manifest.applied, ...appliedBefore(manifest)]);
    return {
      manifest,
      isPinned: pinned.has(manifest.commit),
      added: newest.includes(manifest) ? added(manifest) : [],
      missingDeltas: new Set(gone.filter((delta) => !included.has(delta))).size,
      missingFiles: manifest.segments
        .flatMap(({ id, files: named }) =>
          Object.entries(named).map(([file, { bytes }]) => ({ id, file: file as SegmentFile, bytes })),
        )
        .filter(({ id, file, bytes }) => files.get(segmentKey(ref, id, file)) !== bytes).length,
    };
  };
  const candidates = [...newest, ...parents.values()].map(candidate);
  // A pin tells which manifest of a version was published, not that nothing came after it.
  const byProof = (a: Candidate, b: Candidate) =>
    b.manifest.version - a.manifest.version || Number(b.isPinned) - Number(a.isPinned);
  return { candidates: candidates.sort(byProof), waiting };
}

/** Only a published version is ever pinned. A damaged pin says nothing, and does not keep a repair from being made. */
async function pinnedCommits(world: World, ref: ShardRef): Promise<Set<CommitId>> {
  try {
    return new Set((await listPins(world.store, ref)).map(({ commit }) => commit));
  } catch (error) {
    if (!isKind(error, "corrupt")) throw error;
    return new Set();
  }
}

async function listed(
  world: World,
  prefix: string,
  nameOf: (key: string) => DeltaId | null,
): Promise<Set<DeltaId>> {
  const names = new Set<DeltaId>();
  for await (const page of world.store.list(prefix)) {
    for (const { key } of page) {
      const name = nameOf(key);
      if (name !== null) names.add(name);
    }
  }
  return names;
}

const without = (all: readonly DeltaId[], some: readonly DeltaId[]): DeltaId[] => {
  const left = new Set(some);
  return all.filter((one) => !left.has(one));
};

/** The newest that lacks no delta, and if there is one, no file. Throws `corrupt` where each lacks some delta. */
export function chooseCandidate(ref: ShardRef, candidates: readonly Candidate[]): Candidate {
  const lossless = candidates.filter(({ missingDeltas }) => missingDeltas === 0);
  const best = lossless.find(({ missingFiles }) => missingFiles === 0) ?? lossless[0];
  if (best) return best;
  throw corrupt(
    pointerKey(ref),
    "it is missing, and no manifest includes all deltas that are gone; restore its newest S3 version",
  );
}

/** Whether it was certainly published: pinned, or named by another as its parent, or alone with what is gone. */
export function isProven(best: Candidate, candidates: readonly Candidate[]): boolean {
  const isParent = candidates.some(({ manifest }) => manifest.parent?.commit === best.manifest.commit);
  return best.isPinned || isParent || candidates.every((other) => other === best || other.missingDeltas > 0);
}

/** Deltas that only a candidate that was passed over has applied. */
export const leftOut = (
  best: Candidate,
  candidates: readonly Candidate[],
  waiting: ReadonlySet<DeltaId>,
): DeltaId[] => [
  ...new Set(
    without(
      candidates.flatMap(({ added }) => added),
      best.manifest.applied,
    ).filter((delta) => waiting.has(delta)),
  ),
];
