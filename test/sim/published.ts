/** Published versions as the oracle knows them, and what one move of a pointer may be. */
import type { Manifest } from "../../lib/core/format/manifest.ts";
import type { Pointer } from "../../lib/core/format/pointer.ts";
import type { State } from "./writes.ts";

export interface Published {
  readonly version: number;
  readonly commit: string;
  readonly cause: Manifest["cause"];
  readonly manifest: Manifest | null;
  readonly included: ReadonlySet<string>;
  readonly takenBack: ReadonlySet<string>;
  readonly state: State;
  /** True time. */
  readonly atMs: number;
}

/** A manifest's object, published or not. */
export interface ManifestPut {
  readonly version: number;
  readonly commit: string;
  readonly parent: string | null;
  /** When it was deleted. */
  goneAt: number | null;
}

/**
 * What the repair of a lost pointer infers the floor from, newest first: the oldest of the newest version's manifests, whether it
 * was published or not, and those before it by parent, of all that were there since the pointer was lost.
 */
export function inferredChain({
  manifests,
  lostAt,
}: {
  readonly manifests: readonly ManifestPut[];
  readonly lostAt: number;
}): ManifestPut[] {
  const there = manifests.filter(({ goneAt }) => goneAt === null || goneAt > lostAt);
  const version = Math.max(0, ...there.map((one) => one.version));
  const rivals = there.filter((one) => one.version === version);
  const chain: ManifestPut[] = [];
  let next = rivals.length === 0 ? undefined : rivals.reduce((a, b) => (a.commit < b.commit ? a : b));
  while (next !== undefined) {
    chain.push(next);
    const { parent }: ManifestPut = next;
    next = there.find(({ commit }) => commit === parent);
  }
  return chain;
}

/** What is wrong with a pointer's move; null when nothing is. `isKnown`: its commit was published before. */
export function moveFault(before: Pointer, after: Pointer, isKnown: boolean): string | null {
  if (after.version < before.version) return `went back from version ${before.version} to ${after.version}`;
  if (after.epoch < before.epoch) return `went back from epoch ${before.epoch} to ${after.epoch}`;
  if (after.floor.version < before.floor.version || after.floor.ulid < before.floor.ulid)
    return "lowered the floor";
  if (after.version === before.version && after.commit !== before.commit) {
    return `published version ${after.version} twice: ${before.commit} and ${after.commit}`;
  }
  if (after.version > before.version && (isKnown || after.version !== before.version + 1)) {
    return `jumped from version ${before.version} to ${after.version}`;
  }
  return null;
}

export const noVersion: Published = {
  version: 0,
  commit: "",
  cause: "create",
  manifest: null,
  included: new Set(),
  takenBack: new Set(),
  state: new Map(),
  atMs: 0,
};

export function filesOf(shard: string, { version, commit, manifest }: Published): string[] {
  if (manifest === null) return [];
  const segments = manifest.segments.flatMap(({ id, files }) =>
    Object.keys(files).map((file) => `${shard}/segments/${id}/${file}`),
  );
  return [`${shard}/manifests/${String(version).padStart(12, "0")}-${commit}.json`, ...segments];
}

/** What a manifest holds, whatever its segments are called. */
export const contentOf = ({ segments, ledger }: Manifest): string =>
  JSON.stringify([ledger, ...segments.map(({ kind, sum, files }) => [kind, sum, files])]);

/** The segment that a manifest was written for. */
export const newest = (manifest: Pick<Manifest, "segments">): string => manifest.segments.at(-1)?.id ?? "";

export function parseKey(key: string): { shard: string; kind: string; name: string } {
  const [collection, shard, kind = "", ...rest] = key.split("/");
  return { shard: `${collection}/${shard}`, kind, name: rest.join("/") };
}
