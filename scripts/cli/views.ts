/** What the query function says of the views that answer now: whether an older version stands in for a damaged one. */
import type { Health, ShardHealth } from "../../lib/engine/read/health.ts";
import type { Deployment } from "./deployment.ts";

export interface Views {
  readonly held: number;
  readonly faults: readonly Pick<ShardHealth, "shard" | "fault">[];
}

/** Of the process that the call meets: others may hold other views. */
export async function viewsOf(
  { call }: Pick<Deployment, "call">,
  collections: readonly string[],
): Promise<Views> {
  const whole = (await call("query", { op: "health" })) as Health;
  const { held, status } = whole;
  if (status === "ok") return { held: held.shards, faults: [] };
  const each = await Promise.all(
    collections.map((collection) => call("query", { op: "health", collection }) as Promise<Health>),
  );
  const shards = each.flatMap((one) => one.shards ?? []).filter(({ fault }) => fault !== null);
  return { held: held.shards, faults: shards.map(({ shard, fault }) => ({ shard, fault })) };
}

export const adviceForViews = ({ faults }: Views): string[] =>
  faults.map(
    ({ shard, fault }) =>
      `${shard}: queries are answered from an older version: ${fault}; see all of it: silt verify ${shard.split("/")[0]}`,
  );
