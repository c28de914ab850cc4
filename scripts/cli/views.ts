/** What the query function says of the views that answer now: whether an older version stands in for a damaged one. */
import pLimit from "p-limit";
import type { Health, ShardHealth } from "../../lib/engine/read/health.ts";
import type { Deployment } from "./deployment.ts";

/** Collections asked for at a time. */
const concurrency = 8;

export interface Views {
  readonly held: number;
  readonly faults: readonly Pick<ShardHealth, "shard" | "version" | "fault">[];
}

/** Of the process that the call meets: others may hold other views. */
export async function viewsOf(
  { call }: Pick<Deployment, "call">,
  collections: readonly string[],
): Promise<Views> {
  const whole = (await call("query", { op: "health" })) as Health;
  const { held, status } = whole;
  if (status === "ok") return { held: held.shards, faults: [] };
  const limit = pLimit(concurrency);
  const each = await Promise.all(
    collections.map((collection) =>
      limit(() => call("query", { op: "health", collection }) as Promise<Health>),
    ),
  );
  const shards = each.flatMap((one) => one.shards ?? []).filter(({ fault }) => fault !== null);
  return {
    held: held.shards,
    faults: shards.map(({ shard, version, fault }) => ({ shard, version, fault })),
  };
}

export const adviceForViews = ({ faults }: Views): string[] =>
  faults.map(
    ({ shard, version, fault }) =>
      `${shard}: queries are ${version === null ? "not answered" : "answered from an older version"}: ${fault}; see all of it: silt verify ${shard.split("/")[0]}`,
  );
