/** How many items of a collection stand how, and what embedding the others takes by what was measured here. */
import type { Collection } from "../../core/model/collection.ts";
import { dollarsOfItems, dollarsOfTokens } from "../../core/policy/cost/items.ts";
import { readSound } from "../change.ts";
import type { Item } from "../item.ts";
import type { JobTable } from "../ports.ts";
import { type JudgeWorld, judgeItems, type OnDamaged, type Standing, standings } from "./judge.ts";

export interface Analysis {
  readonly total: number;
  readonly standings: Readonly<Record<Standing, number>>;
  /** Of the items that are without, stale or failed. */
  readonly toEmbed: { readonly items: number; readonly chunks: number; readonly bytes: number };
  readonly estimate: Estimate;
  /** Whose the items to embed are, as their savers said; the most first. */
  readonly sources: readonly { readonly source: string; readonly items: number }[];
  readonly unreadable: readonly { readonly item: string; readonly reason: string }[];
}

export interface Estimate {
  /** Null where too little was embedded lately to tell. */
  readonly seconds: number | null;
  readonly chunksPerSecond: number | null;
  readonly tokens: number | null;
  /** As the provider counted them; null where it never did, and `tokens` is what the profile says at most. */
  readonly tokensPerByte: number | null;
  readonly dollars: {
    /** Null where the price of the model is not known. */
    readonly provider: number | null;
    readonly aws: number;
  };
}

const sourcesShown = 10;
const unreadableShown = 20;

export async function analyze(
  world: JudgeWorld,
  collection: Collection,
  { batchItems, pricePerMillion }: { batchItems: number; pricePerMillion: number | null },
): Promise<Analysis> {
  const counts = Object.fromEntries(standings.map((name) => [name, 0])) as Record<Standing, number>;
  const toEmbed = { items: 0, chunks: 0, bytes: 0 };
  const sources = new Map<string, number>();
  const unreadable: { item: string; reason: string }[] = [];
  const onDamaged: OnDamaged = ({ item }, reason) => {
    counts.unreadable++;
    if (unreadable.length < unreadableShown) unreadable.push({ item, reason });
  };
  for await (const batch of judgeItems(world, collection, { batchItems, onDamaged }))
    for (const { item, standing, chunks, bytes, reason } of batch) {
      counts[standing]++;
      if (standing === "unreadable" && unreadable.length < unreadableShown)
        unreadable.push({ item: item.item, reason: reason! });
      if (standing !== "without" && standing !== "stale" && standing !== "failed") continue;
      toEmbed.items++;
      toEmbed.chunks += chunks;
      toEmbed.bytes += bytes;
      sources.set(item.source ?? "", (sources.get(item.source ?? "") ?? 0) + 1);
    }
  return {
    total: Object.values(counts).reduce((sum, count) => sum + count, 0) - counts.deleted,
    standings: counts,
    toEmbed,
    estimate: estimateOf(collection, toEmbed, await measuredOf(world.table, collection), pricePerMillion),
    sources: [...sources]
      .sort(([, a], [, b]) => b - a)
      .slice(0, sourcesShown)
      .map(([source, items]) => ({ source, items })),
    unreadable,
  };
}

interface Measured {
  readonly chunksPerSecond: number | null;
  readonly tokensPerByte: number | null;
}

/** Finished jobs that are looked at, and how many are too few to tell a rate by. */
const finishedLookedAt = 1_000;
const finishedLeast = 20;
/** Where nothing is finished for longer, nothing was to be done. */
const idleMs = 60_000;
const readsAtOnce = 32;

async function measuredOf(table: JobTable, { id }: Collection): Promise<Measured> {
  const { tokens, tokenBytes } = await table.readCounts(id);
  const finished: Item[] = [];
  for await (const page of table.list("completed", { first: "latest", limit: finishedLookedAt })) {
    const own = page.filter(({ collectionId }) => collectionId === id);
    for (let at = 0; at < own.length; at += readsAtOnce)
      for (const item of await Promise.all(
        own.slice(at, at + readsAtOnce).map((key) => readSound(table, key)),
      ))
        if (item?.status === "completed") finished.push(item);
  }
  return {
    chunksPerSecond: rateOf(finished),
    tokensPerByte: tokenBytes > 0 ? tokens / tokenBytes : null,
  };
}

/** Chunks a second while anything was finished. */
export function rateOf(finished: readonly Pick<Item, "completedAtMs" | "chunks">[]): number | null {
  if (finished.length < finishedLeast) return null;
  const sorted = finished.toSorted((a, b) => a.completedAtMs! - b.completedAtMs!);
  let [chunks, busyMs] = [0, 0];
  for (const [i, { completedAtMs, chunks: own }] of sorted.entries()) {
    const gapMs = i === 0 ? idleMs : completedAtMs! - sorted[i - 1]!.completedAtMs!;
    // What was finished first after a pause was begun in it.
    if (gapMs >= idleMs) continue;
    chunks += own ?? 0;
    busyMs += gapMs;
  }
  return busyMs > 0 ? chunks / (busyMs / 1_000) : null;
}

function estimateOf(
  { embedder, dims }: Collection,
  toEmbed: Analysis["toEmbed"],
  { chunksPerSecond, tokensPerByte }: Measured,
  pricePerMillion: number | null,
): Estimate {
  const isBuiltIn = embedder === null || embedder === "lexical";
  const rate = tokensPerByte ?? (isBuiltIn ? null : 1 / embedder.bytesPerToken);
  const tokens = rate === null ? null : Math.ceil(toEmbed.bytes * rate);
  return {
    ...{ chunksPerSecond, tokensPerByte, tokens },
    seconds:
      toEmbed.items === 0 ? 0 : chunksPerSecond === null ? null : Math.ceil(toEmbed.chunks / chunksPerSecond),
    dollars: {
      provider: isBuiltIn ? 0 : dollarsOfTokens(embedder, tokens!, pricePerMillion),
      aws: dollarsOfItems({ ...toEmbed, dims }),
    },
  };
}
