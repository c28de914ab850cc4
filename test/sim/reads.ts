/**
 * Judging what a reader was told, from what the oracle knows.
 *
 * - An eventual or bounded read at version v is exactly the content of v (I6), and v is not older than its age allows.
 * - A read with tokens is exactly the content of v with the tokens' deltas laid over it.
 * - A strong read at v holds the content of v and every write acknowledged before the read began (I7). It may also hold
 *   writes that were on their way (unacknowledged, or acknowledged while it ran), and nothing else.
 * - A version is never older than one that the same reader saw before (I6).
 */

import { shardOf } from "../../lib/core/shard-of.ts";
import type { Consistency } from "../../lib/engine/read-request.ts";
import type { KnownDelta, Oracle } from "./oracle.ts";
import type { Published } from "./published.ts";
import { describeWrite, differenceOf, foldWrites, isLater, liveDocuments, type Write } from "./writes.ts";

export interface ReadWindow {
  readonly beganAt: number;
  readonly beganMs: number;
  /** Version of each shard that was current when the read began. */
  readonly currentVersions: readonly number[];
}
export interface ReadOutcome {
  readonly collection: string;
  readonly consistency: Consistency;
  /** How old the view may be: refresh interval, or the bound of a bounded read. */
  readonly maxAgeMs: number;
  /** Deltas of the tokens that were given. */
  readonly tokens: readonly string[];
  /** Version per shard, as the answer said. */
  readonly versions: readonly number[];
  /** Every id that was asked for. */
  readonly ids: readonly string[];
  /** Document by id. */
  readonly found: ReadonlyMap<string, string>;
  /** An older view may serve: a check of the pointer failed. */
  readonly mayBeOld: boolean;
}

export function beginRead(oracle: Oracle, collection: string, shards: number): ReadWindow {
  const currentVersions = Array.from(
    { length: shards },
    (_, i) => oracle.current(`${collection}/${i}`).version,
  );
  return { beganAt: oracle.tick(), beganMs: oracle.nowMs(), currentVersions };
}

/** What is wrong with an answer; null when nothing is. */
export function readFault(oracle: Oracle, window: ReadWindow, read: ReadOutcome): string | null {
  const what = `${read.consistency} read${read.tokens.length > 0 ? " with tokens" : ""} of ${read.collection}`;
  for (const [shard, version] of read.versions.entries()) {
    const name = `${read.collection}/${shard}`;
    const published = version === 0 ? zero(oracle, name) : oracle.shard(name).versions.get(version);
    if (!published) return `${what}: version ${version} of ${name} was never published`;
    const ids = read.ids.filter((id) => shardOf(id, read.versions.length) === shard);
    const found = new Map([...read.found].filter(([id]) => ids.includes(id)));
    const least = leastVersion(oracle, name, window, read, shard);
    if (version < least) return `${what}: it saw version ${version} of ${name}; at least ${least} was due`;
    const difference =
      read.consistency === "strong"
        ? strongFault(oracle, window, { published, name, ids, found })
        : exactFault(oracle, window, read.tokens, { published, name, ids, found });
    if (difference !== null) return `${what} at version ${version} of ${name}: ${difference}`;
  }
  return null;
}

const zero = (oracle: Oracle, shard: string): Published => ({
  ...oracle.current(`${shard}:none`),
  version: 0,
});

/** A strong read looks at the pointer after it began; others at most maxAgeMs before that. */
function leastVersion(
  oracle: Oracle,
  name: string,
  window: ReadWindow,
  read: ReadOutcome,
  shard: number,
): number {
  if (read.consistency === "strong") return window.currentVersions[shard]!;
  if (read.mayBeOld) return 0;
  const dueMs = window.beganMs - read.maxAgeMs;
  let least = 0;
  for (const { version, atMs } of oracle.shard(name).versions.values()) {
    if (atMs < dueMs) least = Math.max(least, version);
  }
  return least;
}

interface Part {
  readonly name: string;
  readonly ids: readonly string[];
  readonly found: ReadonlyMap<string, string>;
}

/** A delta that was put aside while the read ran may have been laid over before. */
function exactFault(
  oracle: Oracle,
  window: ReadWindow,
  tokens: readonly string[],
  part: Part & { published: Published },
): string | null {
  const { published } = part;
  const named = tokens
    .map((delta) => oracle.deltas.get(delta)!)
    .filter(({ shard, delta }) => shard === part.name && !published.takenBack.has(delta));
  const asked = new Set(part.ids);
  const differenceWith = (laidOver: readonly KnownDelta[]): string | null => {
    const state = foldWrites(published.state.values(), ...laidOver.map(({ writes }) => writes ?? []));
    const expected = new Map([...liveDocuments(state)].filter(([id]) => asked.has(id)));
    return differenceOf(expected, part.found);
  };
  const difference = differenceWith(named.filter(({ quarantinedAt }) => quarantinedAt === null));
  const before = named.filter(
    ({ quarantinedAt }) => quarantinedAt === null || quarantinedAt > window.beganAt,
  );
  return difference === null || differenceWith(before) === null ? null : difference;
}

function strongFault(
  oracle: Oracle,
  window: ReadWindow,
  part: Part & { published: Published },
): string | null {
  const { published } = part;
  const others: KnownDelta[] = [];
  for (const known of oracle.deltas.values()) {
    if (known.shard !== part.name || known.writes === null) continue;
    if (!published.included.has(known.delta) && !published.takenBack.has(known.delta)) others.push(known);
  }
  const due = others.filter(
    ({ ackedAt, quarantinedAt }) => ackedAt !== null && ackedAt < window.beganAt && quarantinedAt === null,
  );
  const least = foldWrites(published.state.values(), ...due.map(({ writes }) => writes!));
  // What lies below the low watermark came too late: it was never acknowledged, and will never be merged.
  const watermark = published.manifest?.watermark ?? "";
  const possible: Write[] = others.filter(({ delta }) => delta > watermark).flatMap(({ writes }) => writes!);
  for (const id of part.ids) {
    const required = least.get(id);
    const document = part.found.get(id) ?? null;
    const explains = (write: Write) => write.id === id && write.document === document;
    if (required ? explains(required) : document === null) continue;
    if (possible.some((write) => explains(write) && (!required || isLater(write, required)))) continue;
    return `${id} should be ${describeWrite(required)} or later and is ${document ?? "absent"}`;
  }
  return null;
}
