/**
 * An alias: a stable name that applications use in place of a collection's. It leads to one collection, its *source*, or, while one
 * takes the other's place, to two: the *source* and the *target*, its **sides**. One of them is the **writing side**, which all writes go to
 * and which strong, bounded and token reads are answered by; eventual reads are shared out among both. A **barrier** stands while
 * the writing side is about to change: no write is acknowledged then.
 *
 * Here is what an alias may become, and nothing of when: each change makes the next **revision**, names who made it and why, and is
 * one conditional write (lib/engine/catalog/aliases.ts).
 */
import { hash } from "node:crypto";
import { type Collection, checkCollectionName } from "./collection.ts";
import { invalid, type Problem, SiltstoneError } from "./errors.ts";
import { shown } from "./metadata.ts";
import { isUlid } from "./ulid.ts";

export const aliasFormat = 1;
export const sideNames = ["source", "target"] as const;
export type SideName = (typeof sideNames)[number];

export interface Side {
  readonly collection: string;
  /** ULID of exactly that collection. */
  readonly collectionId: string;
  readonly embeddingVersion: string;
}

export interface Barrier {
  /** The writing side to be. */
  readonly to: SideName;
  /** ISO 8601, by the clock of who set it: until then it names the new side, or lifts the barrier. From then on anybody may lift it. */
  readonly deadline: string;
}

/** One change: the alias had `revision` from then on. */
export interface AliasChange {
  /** ULID: by it who wrote it knows that it is there. */
  readonly id: string;
  readonly revision: number;
  /** ISO 8601. */
  readonly at: string;
  readonly actor: string;
  readonly reason: string;
  /** For people: what was changed. */
  readonly what: string;
}

export interface Alias {
  readonly format: typeof aliasFormat;
  readonly name: string;
  /** ULID given at creation: an alias made again under its name is another one. */
  readonly id: string;
  /** 1 when it is made; each change adds one. So the bytes of two revisions, and their ETags, are never the same. */
  readonly revision: number;
  readonly source: Side;
  readonly target: Side | null;
  readonly writing: SideName;
  /** Thousandths of eventual reads that the target answers. */
  readonly readShare: number;
  readonly barrier: Barrier | null;
  /** Of the migration whose effect was applied last, 0 before any; a lower one is refused. */
  readonly migrationRevision: number;
  /** The last ones, the newest first. */
  readonly changes: readonly AliasChange[];
}

/** Who makes a change, and why. */
export interface ChangedBy {
  readonly actor: string;
  readonly reason: string;
  /** ULID of the change. */
  readonly id: string;
  readonly atMs: number;
  readonly migrationRevision?: number | undefined;
}

export const readShareMax = 1_000;
/** With texts of their longest it has some 48 KiB; a sealed object may have 64. */
export const changesKeptMax = 32;
export const actorCharsMax = 100;
export const reasonCharsMax = 200;
const textPattern = /^\P{C}*$/u;

/** What an answer says of the alias by which it was asked for. */
export interface LedBy {
  readonly name: string;
  /** The side that was written to, or read. */
  readonly collection: string;
  readonly side: SideName;
  /** Of the alias: as it was when a write was acknowledged, or when a read chose its side. */
  readonly revision: number;
}
export const ledBy = (alias: Alias, side: SideName): LedBy => ({
  ...{ name: alias.name, collection: sideNamed(alias, side).collection, side, revision: alias.revision },
});

/**
 * Throws `invalid` where a call has vectors, its alias has sides of two embedding spaces, and the call says of neither that they are of it: a
 * vector does not show where it is from.
 */
export function checkSpaces({ name, source, target }: Alias, embeddingVersion: string | undefined): void {
  if (embeddingVersion !== undefined || target === null) return;
  const [first, second] = [source.embeddingVersion, target.embeddingVersion];
  if (first === second) return;
  const reason =
    `the sides of alias ${name} hold ${shown(first)} and ${shown(second)}; ` +
    "say of which the vectors are, until it leads to one of them alone";
  throw invalid(`embeddingVersion: ${reason}`, [{ field: "embeddingVersion", reason }]);
}

export const sideOf = (collection: Collection): Side => ({
  collection: collection.name,
  collectionId: collection.id,
  embeddingVersion: collection.embeddingVersion,
});

/** The side that an alias has, or throws. */
export function sideNamed(alias: Alias, side: SideName): Side {
  const found = alias[side];
  if (found === null)
    throw invalid(`alias ${alias.name} has no target: it leads to ${alias.source.collection} alone`);
  return found;
}

export const writingSide = (alias: Alias): Side => sideNamed(alias, alias.writing);

/** The side that is a collection of this name; the source where both are. Throws `invalid`. */
export function sideWith(alias: Alias, collection: string): SideName {
  const side = sideNames.find((name) => alias[name]?.collection === collection);
  if (side !== undefined) return side;
  const names = sideNames.flatMap((name) => alias[name]?.collection ?? []).join(" and ");
  throw invalid(`alias ${alias.name} does not lead to ${shown(collection)}; it leads to ${names}`);
}

/**
 * The side that answers an eventual read. The same key always has the same one of a thousand places, and the target has the lowest of
 * them: so a larger share takes none of its keys away, and a smaller one gives none back.
 */
export const sideOfKey = (alias: Pick<Alias, "name" | "readShare">, key: string): SideName =>
  placeOf(alias.name, key) < alias.readShare ? "target" : "source";

/** From 0 to 999. */
function placeOf(name: string, key: string): number {
  const first = hash("sha256", `${name}\n${key}`, "buffer").readUInt32BE(0);
  return Math.floor((first * readShareMax) / 2 ** 32);
}

export function newAlias(name: string, id: string, source: Side, by: ChangedBy): Alias {
  const first: Alias = {
    ...{ format: aliasFormat, name: checkCollectionName(name), id, revision: 0 },
    ...{ source, target: null, writing: "source", readShare: 0, barrier: null },
    ...{ migrationRevision: 0, changes: [] },
  };
  return next(first, {}, `made; leads to ${source.collection}`, by);
}

export function withTarget(alias: Alias, target: Side, by: ChangedBy): Alias {
  if (alias.target !== null)
    throw conflict(
      `alias ${alias.name} has a target already, ${alias.target.collection}; give that up before`,
    );
  return next(alias, { target }, `target ${target.collection}`, by);
}

/** With one side less; `kept` is the source from then on. It must be what is written to, and answer all reads. */
export function withOnly(alias: Alias, kept: SideName, by: ChangedBy): Alias {
  const source = sideNamed(alias, kept);
  refuseBarrier(alias);
  const share = kept === "target" ? readShareMax : 0;
  if (alias.writing !== kept || alias.readShare !== share)
    throw conflict(
      `alias ${alias.name} writes to its ${alias.writing} and its target answers ${percent(alias.readShare)} of the reads; ` +
        `before it leads to ${source.collection} alone, move both there`,
    );
  return next(
    alias,
    { source, target: null, writing: "source", readShare: 0 },
    `only ${source.collection}`,
    by,
  );
}

export function withReadShare(alias: Alias, readShare: number, by: ChangedBy): Alias {
  // Whoever set the barrier changes or lifts it by what he wrote.
  refuseBarrier(alias);
  sideNamed(alias, "target");
  if (!isShare(readShare))
    throw invalid(`reads: must be 0 to ${readShareMax} thousandths, got ${shown(readShare)}`);
  return next(alias, { readShare }, `reads: ${percent(readShare)} by the target`, by);
}

/** With a barrier before that side becomes the writing side. */
export function withBarrier(alias: Alias, to: SideName, deadlineMs: number, by: ChangedBy): Alias {
  refuseBarrier(alias);
  const { collection } = sideNamed(alias, to);
  const barrier = { to, deadline: new Date(deadlineMs).toISOString() };
  return next(alias, { barrier }, `barrier before writes go to ${collection}`, by);
}

export const withoutBarrier = (alias: Alias, by: ChangedBy): Alias =>
  next(alias, { barrier: null }, "barrier lifted", by);

/** With another writing side, and no barrier. */
export function withWriting(alias: Alias, writing: SideName, by: ChangedBy): Alias {
  const { collection } = sideNamed(alias, writing);
  return next(alias, { writing, barrier: null }, `writes: ${collection}`, by);
}

export const isOverdue = ({ deadline }: Barrier, nowMs: number): boolean => Date.parse(deadline) <= nowMs;

export function refuseBarrier({ name, barrier }: Alias): void {
  if (barrier === null) return;
  throw conflict(
    `alias ${name}: its writing side is being moved, until ${barrier.deadline} at the latest; repeat the call afterwards`,
  );
}

function next(alias: Alias, change: Partial<Alias>, what: string, by: ChangedBy): Alias {
  const { actor, reason, id, atMs, migrationRevision = alias.migrationRevision } = by;
  checkText("actor", actor, actorCharsMax);
  checkText("reason", reason, reasonCharsMax);
  if (migrationRevision < alias.migrationRevision)
    throw conflict(
      `alias ${alias.name}: revision ${migrationRevision} of its migration has been overtaken by ${alias.migrationRevision}`,
    );
  const revision = alias.revision + 1;
  const made = { id, revision, at: new Date(atMs).toISOString(), actor, reason, what };
  const changes = [made, ...alias.changes].slice(0, changesKeptMax);
  return { ...alias, ...change, revision, migrationRevision, changes };
}

const conflict = (message: string): SiltstoneError => new SiltstoneError("conflict", message);
export const percent = (thousandths: number): string => `${thousandths / 10} %`;
const isShare = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= readShareMax;

function checkText(field: string, text: string, charsMax: number): void {
  if (isText(text, charsMax)) return;
  throw invalid(`${field}: must be 1 to ${charsMax} printable characters, got ${shown(text)}`);
}

const isText = (value: unknown, charsMax: number): boolean =>
  typeof value === "string" && value.length >= 1 && value.length <= charsMax && textPattern.test(value);
const isTime = (value: unknown): boolean => typeof value === "string" && !Number.isNaN(Date.parse(value));
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

/** What is wrong with a stored alias, of this code or of any other. */
export function aliasProblems(alias: Alias): Problem[] {
  const { source, target, barrier, changes } = alias;
  const isSideName = (value: unknown) => sideNames.some((side) => side === value);
  const rules: readonly (readonly [field: string, holds: boolean])[] = [
    ["name", isName(alias.name)],
    ["id", typeof alias.id === "string" && isUlid(alias.id)],
    ["revision", isCount(alias.revision) && alias.revision > 0],
    ["source", isSide(source)],
    ["target", target === null || isSide(target)],
    ["writing", isSideName(alias.writing) && (alias.writing === "source" || target !== null)],
    ["readShare", isShare(alias.readShare) && (alias.readShare === 0 || target !== null)],
    ["barrier", barrier === null || (isSideName(barrier?.to) && isTime(barrier.deadline) && target !== null)],
    ["migrationRevision", isCount(alias.migrationRevision)],
    ["changes", Array.isArray(changes) && changes.length <= changesKeptMax && changes.every(isChange)],
  ];
  return rules.flatMap(([field, holds]) =>
    holds ? [] : [{ field, reason: "is not what an alias has there" }],
  );
}

const isSide = (side: Side | null | undefined): boolean =>
  typeof side === "object" &&
  side !== null &&
  isName(side.collection) &&
  typeof side.collectionId === "string" &&
  side.collectionId !== "" &&
  typeof side.embeddingVersion === "string";

const isChange = (change: AliasChange | null): boolean =>
  typeof change?.id === "string" &&
  isCount(change.revision) &&
  isTime(change.at) &&
  [change.actor, change.reason, change.what].every((text) => typeof text === "string");

function isName(name: unknown): boolean {
  try {
    checkCollectionName(name);
    return true;
  } catch {
    return false;
  }
}
