/** What the compactor is asked for: by its schedules, by hand, or by a migration. */
import * as z from "zod/mini";
import { compactorSources } from "../../lib/contract/names.ts";
import { invalid } from "../../lib/core/model/errors.ts";

export const compactorEvent = z.strictObject({
  source: z.enum(compactorSources),
  /** Only this collection, and only this shard of it. */
  collection: z.optional(z.string()),
  shard: z.optional(z.int().check(z.gte(0))),
  /** Of a migration: where the snapshot to take over lies. */
  snapshotPath: z.optional(z.string()),
});
type CompactorEvent = z.infer<typeof compactorEvent>;

/** The rules that join fields. */
export function checkCompactorEvent({ source, collection, shard, snapshotPath }: CompactorEvent): void {
  if (source === "migration") {
    const reason =
      "a migration from a snapshot comes with the migration command (`silt migrate`), which this version does not have; use `silt import` until then";
    throw invalid(`source: ${reason}`, [{ field: "source", reason }]);
  }
  if (snapshotPath !== undefined) {
    throw invalid("snapshotPath: goes with source migration only", [
      { field: "snapshotPath", reason: "goes with source migration only" },
    ]);
  }
  if (source === "optimize" && collection === undefined) {
    const reason = "needs the collection: source optimize merges one at a time";
    throw invalid(`collection: ${reason}`, [{ field: "collection", reason }]);
  }
  if (shard !== undefined && collection === undefined) {
    throw invalid("shard: needs the collection", [{ field: "shard", reason: "needs the collection" }]);
  }
}
