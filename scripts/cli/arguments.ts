/** Arguments that several commands take, and how their texts become values. */
import { InvalidArgumentError, Option } from "commander";
import { checkJsonBounds } from "../../lib/aws/json-text.ts";
import { type Collection, checkCollectionName } from "../../lib/core/model/collection.ts";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { readNamed, readSide } from "../../lib/engine/catalog/aliases.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import type { Deployment } from "./deployment.ts";
import type { Session } from "./session.ts";

export const integer =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (/^\d{1,16}$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be an integer from ${min} to ${max}.`);
  };

export function real(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("It must be a number.");
}

export function json(text: string): unknown {
  try {
    const value = JSON.parse(text) as unknown;
    checkJsonBounds(value);
    return value;
  } catch (error) {
    throw new InvalidArgumentError(`It must be JSON that a call may have: ${(error as Error).message}.`);
  }
}

/** A time as this command line prints it, or any other of ISO 8601 in UTC; in ms since 1970. */
export function instant(text: string): number {
  const isTime = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z)?$/.test(text);
  const ms = isTime ? Date.parse(text.replace(" ", "T")) : Number.NaN;
  if (ms >= 0) return ms;
  throw new InvalidArgumentError("It must be a time in UTC, as 2026-11-21T03:08:45Z.");
}

/** For options that may be given several times. */
export const several = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];

export interface Opened {
  readonly deployment: Deployment;
  readonly world: Deployment["world"];
  readonly collection: Collection;
}

export async function openCollection(session: Session, name: string): Promise<Opened> {
  checkCollectionName(name);
  const deployment = await session.open();
  return {
    deployment,
    world: deployment.world,
    collection: await readCollection(deployment.world.store, name),
  };
}

/** For commands whose calls take an alias as well: the collection, or the side that is written to. */
export async function openNamed(session: Session, name: string): Promise<Opened> {
  checkCollectionName(name);
  const deployment = await session.open();
  const { world } = deployment;
  const named = await readNamed(world.store, name);
  if ("collection" in named) return { deployment, world, collection: named.collection };
  const { alias } = named.known;
  return { deployment, world, collection: await readSide(world.store, alias, alias.writing) };
}

export const shardOption = (): Option =>
  new Option("--shard <n>", "one shard only").argParser(integer(0, 1023));

/** The shard asked for, or every one. */
export function shardsOf(collection: Collection, shard: number | undefined): number[] {
  if (shard === undefined) return Array.from({ length: collection.shards }, (_, one) => one);
  if (shard < collection.shards) return [shard];
  throw new SiltstoneError(
    "notFound",
    `collection ${collection.name} has no shard ${shard}; it has ${collection.shards}`,
  );
}

/** The shard asked for; it may only be left out where there is no choice: versions are each shard's own. */
export function oneShard(collection: Collection, shard: number | undefined): number {
  if (shard === undefined && collection.shards > 1) {
    throw invalid(
      `say which shard: --shard 0 to ${collection.shards - 1}; every shard has versions of its own`,
    );
  }
  return shardsOf(collection, shard ?? 0)[0]!;
}

export interface FreshnessOptions {
  readonly consistency?: string;
  readonly maxAge?: number;
  readonly atLeast?: readonly string[];
  readonly embeddingVersion?: string;
}

export const freshnessOptions = (): Option[] => [
  new Option("--consistency <level>", "how fresh the answer has to be").choices([
    "eventual",
    "bounded",
    "strong",
  ]),
  new Option("--max-age <seconds>", "for bounded: at most this old").argParser(real),
  new Option("--at-least <token>", "contain the writes of this token (may be repeated)").argParser(several),
  new Option("--embedding-version <text>", "refuse to answer from a collection of another one"),
];

/** The options of a read as the query function takes them. */
export const freshness = ({ consistency, maxAge, atLeast, embeddingVersion }: FreshnessOptions): object => ({
  ...(consistency === undefined ? {} : { consistency }),
  ...(maxAge === undefined ? {} : { maxAgeSeconds: maxAge }),
  ...(atLeast === undefined ? {} : { atLeast }),
  ...(embeddingVersion === undefined ? {} : { embeddingVersion }),
});

export const filterOption = (): Option =>
  new Option("--filter <json>", 'only records that match, as {"kind":"note"}; docs/filters.md').argParser(
    json,
  );
