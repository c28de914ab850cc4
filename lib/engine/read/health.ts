/**
 * What a query function says of itself: whether what it holds is in order. A caller may not know which collections
 * others use: of all of them it says how many shards it holds and how many are at fault; of a collection that the call names,
 * which they are (docs/security.md).
 */
import { checkCollectionName } from "../../core/model/collection.ts";

export interface ShardHealth {
  /** "<collection>/<number>". */
  readonly shard: string;
  /** Null while none is open. */
  readonly version: number | null;
  /** Since its version was seen to be the newest; null when it never was. */
  readonly ageSeconds: number | null;
  readonly bytes: number;
  /** Why an older version answers, or no version; null when the newest does. */
  readonly fault: string | null;
}

export interface Health {
  readonly status: "ok" | "degraded";
  /** Counts, of all collections or of the one that was named. */
  readonly held: { readonly shards: number; readonly faults: number; readonly bytes: number };
  /** Of the collection that was named. */
  readonly shards?: readonly ShardHealth[];
}

export function healthOf(all: readonly ShardHealth[], collection: string | undefined): Health {
  if (collection === undefined) return summaryOf(all);
  const name = checkCollectionName(collection);
  const shards = all.filter(({ shard }) => shard.split("/")[0] === name);
  return { ...summaryOf(shards), shards };
}

/** Of parts of a collection, or of all collections, in several functions. */
export function mergeHealth(parts: readonly Health[]): Health {
  const sumOf = (count: keyof Health["held"]) => parts.reduce((sum, { held }) => sum + held[count], 0);
  const shards = parts.flatMap((part) => part.shards ?? []);
  return {
    status: parts.some(({ status }) => status === "degraded") ? "degraded" : "ok",
    held: { shards: sumOf("shards"), faults: sumOf("faults"), bytes: sumOf("bytes") },
    ...(parts.some((part) => part.shards !== undefined) ? { shards } : {}),
  };
}

function summaryOf(shards: readonly ShardHealth[]): Health {
  const faults = shards.filter(({ fault }) => fault !== null).length;
  const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  return { status: faults > 0 ? "degraded" : "ok", held: { shards: shards.length, faults, bytes } };
}
