/**
 * Judging what a reader was told, from what the oracle knows.
 *
 * - An eventual or bounded read at version v is exactly the content of v (I6), and v is not older than its age allows. Only
 *   an eventual one may be, with a warning; and in every answer, v is no older than the answer itself says.
 * - A read with tokens is exactly the content of v with the tokens' deltas laid over it.
 * - A strong read at v holds the content of v and every write acknowledged before the read began (I7). It may also hold
 *   writes that were on their way (unacknowledged, or acknowledged while it ran), and nothing else.
 * - A version is never older than one that the same reader saw before (I6).
 * - A count lies between the least and the most that these leave open.
 * - A collection that was deleted answers only reads whose view was checked while its pointer was there, as long as the age
 *   of views allows, and with its own rows alone.
 */

import { shardOf } from "../../lib/core/model/shard-of.ts";
import type { Consistency } from "../../lib/engine/read/read-request.ts";
import type { Generation, KnownDelta } from "./generation.ts";
import { type Oracle, skewMaxMs } from "./oracle.ts";
import { noVersion, type Published } from "./published.ts";
import { foldWrites, isLater, type Write } from "./writes.ts";

export interface ReadWindow {
  readonly beganAt: number;
  readonly beganMs: number;
  /** The collection that had the name when the read began. */
  readonly generation: Generation;
  /** Version of each shard that was current when the read began. */
  readonly currentVersions: readonly number[];
}
/** What a read was promised. */
export interface ReadPromise {
  readonly collection: string;
  readonly consistency: Consistency;
  /** How old the view may be: refresh interval, or the bound of a bounded read. */
  readonly maxAgeMs: number;
  /** Deltas of the tokens that were given. */
  readonly tokens: readonly string[];
}
export interface ReadOutcome extends ReadPromise {
  /** Version and age per shard, as the answer said. */
  readonly versions: readonly number[];
  readonly ageSeconds: readonly number[];
  /** The answer warns that a newer version may be there. */
  readonly warned: boolean;
  /** Deltas of the tokens of which the answer says that a roll back may have taken them back. */
  readonly takenBack: readonly string[];
  /** Every id that was asked for. */
  readonly ids: readonly string[];
  /** Which of their records the read wanted: a filter, or all of them. */
  readonly wants: (document: string) => boolean;
  /** Document by id, or only how many there are. */
  readonly found: ReadonlyMap<string, string> | number;
}

export function beginRead(oracle: Oracle, collection: string, shards: number): ReadWindow {
  const currentVersions = Array.from(
    { length: shards },
    (_, i) => oracle.current(`${collection}/${i}`).version,
  );
  const { generation } = oracle;
  return { beganAt: oracle.tick(), beganMs: oracle.nowMs(), generation, currentVersions };
}

/** What is wrong with an answer, and which collection of the name gave it. */
export function judgeRead(
  oracle: Oracle,
  window: ReadWindow,
  read: ReadOutcome,
): { fault: string | null; generation: Generation } {
  const faults = oracle.generations.map((generation) =>
    oracle.of(generation, () =>
      oracle.isDeleted ? formerFault(oracle, window, read) : readFault(oracle, window, read),
    ),
  );
  const right = faults.indexOf(null);
  const generation = oracle.generations[Math.max(0, right)]!;
  return { fault: right < 0 ? faults.join("; or of a former collection: ") : null, generation };
}

/** What is wrong with an answer; null when nothing is. */
export function readFault(oracle: Oracle, window: ReadWindow, read: ReadOutcome): string | null {
  const what = `${read.consistency} read${read.tokens.length > 0 ? " with tokens" : ""} of ${read.collection}`;
  const misfit = misfitOf(oracle, read);
  if (misfit !== null) return `${what}: ${misfit}`;
  const bounds = { least: 0, most: 0 };
  for (const [shard, version] of read.versions.entries()) {
    const name = `${read.collection}/${shard}`;
    const published = version === 0 ? [noVersion] : oracle.allOf(name, version);
    if (published.length === 0) return `${what}: version ${version} of ${name} was never published`;
    const ids = read.ids.filter((id) => shardOf(id, read.versions.length) === shard);
    const ageSeconds = read.ageSeconds[shard]!;
    // How old the version before a damaged one is, is told by the clock of the process that superseded it.
    const clocksMs = read.warned ? 2 * skewMaxMs : 0;
    const stated = newestBefore(oracle, name, oracle.nowMs() - ageSeconds * 1000 - clocksMs);
    if (version < stated)
      return `${what}: it saw version ${version} of ${name}, and ${stated} is older than ${ageSeconds} s`;
    const isExcused = read.warned && read.consistency === "eventual";
    const least = isExcused ? 0 : dueVersion(oracle, window, read, shard);
    if (version < least) return `${what}: it saw version ${version} of ${name}; at least ${least} was due`;
    const unsaid = published.map((one) => unsaidOf(oracle, name, one, read));
    if (unsaid.every((delta) => delta !== null))
      return `${what} at version ${version} of ${name}: delta ${unsaid[0]} was taken back, and the answer does not say so`;
    const answers = published.flatMap((one) => {
      const part: Part = { published: one, name, ids, wants: read.wants };
      return read.consistency === "strong"
        ? strongAnswers(oracle, window, part)
        : exactAnswers(oracle, window, read.tokens, part);
    });
    if (typeof read.found === "number") {
      const counts = answers.map((one) => [...one.values()]);
      bounds.least += Math.min(
        ...counts.map((one) => one.filter((documents) => !documents.has(null)).length),
      );
      bounds.most += Math.max(
        ...counts.map((one) => one.filter((documents) => [...documents].some((it) => it !== null)).length),
      );
      continue;
    }
    const found = read.found;
    const differences = answers.map((one) => differenceFrom(one, found));
    if (differences.every((difference) => difference !== null))
      return `${what} at version ${version} of ${name}: ${differences[0]}`;
  }
  const isWrong = typeof read.found === "number" && (read.found < bounds.least || read.found > bounds.most);
  return isWrong ? `${what}: it counted ${read.found}; ${bounds.least} to ${bounds.most} are there` : null;
}

/** A write of a token that a roll back took back, and of which the answer says nothing. One that was put again has another name. */
const unsaidOf = (
  oracle: Oracle,
  shard: string,
  { takenBack }: Published,
  read: ReadOutcome,
): string | null =>
  read.tokens.find(
    (delta) =>
      takenBack.has(delta) &&
      oracle.deltas.get(delta)?.shard === shard &&
      oracle.followed(delta).delta === delta &&
      !read.takenBack.includes(delta),
  ) ?? null;

/** Why it cannot be an answer of this collection; null when it can. */
function misfitOf({ generation, deltas }: Oracle, { versions, tokens }: ReadOutcome): string | null {
  const shards = generation.collection?.shards ?? versions.length;
  if (versions.length !== shards) return `it looked at ${versions.length} shards of ${shards}`;
  const foreign = tokens.find((delta) => deltas.get(delta)?.writes == null);
  return foreign === undefined ? null : `delta ${foreign} of its token is another collection's`;
}

/** What is wrong with an answer as one of a collection that is gone. */
function formerFault(oracle: Oracle, window: ReadWindow, read: ReadOutcome): string | null {
  const what = `${read.consistency} read of ${read.collection}, which is gone`;
  const misfit = misfitOf(oracle, read);
  if (misfit !== null) return `${what}: ${misfit}`;
  for (const shard of read.versions.keys()) {
    const gone = oracle.generation.pointersGone.get(`${read.collection}/${shard}`);
    if (gone === undefined) continue;
    if (read.consistency === "strong" && gone.at < window.beganAt)
      return `${what}: its pointer was gone before the read began`;
    const statedMs = oracle.nowMs() - read.ageSeconds[shard]! * 1000 - (read.warned ? 2 * skewMaxMs : 0);
    if (gone.atMs < statedMs) return `${what}: its pointer was gone longer than the answer says`;
    if (!read.warned && gone.atMs < window.beganMs - read.maxAgeMs)
      return `${what}: its pointer was gone longer than views live`;
  }
  if (typeof read.found === "number")
    return read.found > read.ids.length ? `${what}: it counted ${read.found}` : null;
  const rows = new Set(
    [...oracle.deltas.values()]
      .flatMap(({ writes }) => writes ?? [])
      .map(({ id, document }) => `${id} ${document}`),
  );
  const foreign = [...read.found].find(([id, document]) => !rows.has(`${id} ${document}`));
  return foreign === undefined ? null : `${what}: ${foreign.join(" is ")}, which is another collection's`;
}

/** A strong read looks at the pointer after it began; others at most maxAgeMs before that. */
export function dueVersion(
  oracle: Oracle,
  window: ReadWindow,
  { collection, consistency, maxAgeMs }: ReadPromise,
  shard: number,
): number {
  if (consistency === "strong") return currentVersion(oracle, window, shard);
  return newestBefore(oracle, `${collection}/${shard}`, window.beganMs - maxAgeMs);
}

/** That the collection had when the read began; nothing, where it was made since. */
export const currentVersion = (oracle: Oracle, { generation, currentVersions }: ReadWindow, shard: number) =>
  generation === oracle.generation ? currentVersions[shard]! : 0;

function newestBefore(oracle: Oracle, shard: string, dueMs: number): number {
  let newest = 0;
  for (const { version, atMs } of oracle.shard(shard).versions.values()) {
    if (atMs < dueMs) newest = Math.max(newest, version);
  }
  return newest;
}

interface Part {
  readonly published: Published;
  readonly name: string;
  readonly ids: readonly string[];
  readonly wants: (document: string) => boolean;
}
/** By id, what may be answered for it: a document, or null for nothing. */
type Answers = ReadonlyMap<string, ReadonlySet<string | null>>;

function differenceFrom(answers: Answers, found: ReadonlyMap<string, string>): string | null {
  for (const [id, documents] of answers) {
    const document = found.get(id) ?? null;
    if (!documents.has(document))
      return `${id} should be ${[...documents].map((one) => one ?? "absent").join(" or ")} and is ${document ?? "absent"}`;
  }
  return null;
}

const shownBy = (write: Write | undefined, { wants }: Part): string | null =>
  write?.document != null && wants(write.document) ? write.document : null;

/** A delta that was put aside while the read ran may have been laid over before: then there are two right answers. */
function exactAnswers(
  oracle: Oracle,
  window: ReadWindow,
  tokens: readonly string[],
  part: Part,
): readonly Answers[] {
  const { published } = part;
  const named = tokens
    .map((delta) => oracle.followed(delta))
    .filter(({ shard, delta }) => shard === part.name && !published.takenBack.has(delta));
  const answersWith = (laidOver: readonly KnownDelta[]): Answers => {
    const state = foldWrites(published.state.values(), ...laidOver.map(({ writes }) => writes ?? []));
    return new Map(part.ids.map((id) => [id, new Set([shownBy(state.get(id), part)])]));
  };
  return [
    answersWith(named.filter(({ quarantinedAt }) => quarantinedAt === null)),
    // Put aside means gone from the backlog: a process that dies in between leaves it there.
    answersWith(
      named.filter(
        ({ quarantinedAt, goneAt }) =>
          quarantinedAt === null ||
          quarantinedAt > window.beganAt ||
          goneAt === null ||
          goneAt > window.beganAt,
      ),
    ),
  ];
}

function strongAnswers(oracle: Oracle, window: ReadWindow, part: Part): readonly Answers[] {
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
  // What lies below the low watermark came too late: it was never acknowledged, and will never be ingested.
  const watermark = published.manifest?.watermark ?? "";
  const possible: Write[] = others.filter(({ delta }) => delta > watermark).flatMap(({ writes }) => writes!);
  const answers = part.ids.map((id) => {
    const required = least.get(id);
    const later = possible.filter((write) => write.id === id && (!required || isLater(write, required)));
    return [id, new Set([required, ...later].map((write) => shownBy(write, part)))] as const;
  });
  return [new Map(answers)];
}
