/** What the compactor is asked for: by its schedules, by hand, or by a migration. */
import * as z from "zod/mini";
import { compactorSources } from "../../lib/contract/names.ts";
import { checkExportedPath } from "../../lib/core/format/exported-snapshot.ts";
import { invalid } from "../../lib/core/model/errors.ts";

export const compactorEvent = z.strictObject({
  source: z.enum(compactorSources),
  /** Only this collection, and only this shard of it. */
  collection: z.optional(z.string()),
  shard: z.optional(z.int().check(z.gte(0))),
  /** Of a migration: where the exported snapshot lies that is taken over; it names its collection. */
  snapshot_path: z.optional(z.string()),
});
type CompactorEvent = z.infer<typeof compactorEvent>;

/** The rules that join fields. */
export function checkCompactorEvent({
  source,
  collection,
  shard,
  snapshot_path: path,
}: CompactorEvent): void {
  const refuse = (field: string, reason: string) => invalid(`${field}: ${reason}`, [{ field, reason }]);
  if (source === "migration") {
    if (path === undefined)
      throw refuse("snapshot_path", "says which exported snapshot is taken over: source migration needs it");
    checkExportedPath("snapshot_path", path);
    if (collection !== undefined)
      throw refuse("collection", "is what the exported snapshot says: leave it out with source migration");
  } else if (path !== undefined) throw refuse("snapshot_path", "goes with source migration only");
  if (source === "optimize" && collection === undefined)
    throw refuse("collection", "needs the collection: source optimize merges one at a time");
  if (shard !== undefined && collection === undefined) throw refuse("shard", "needs the collection");
}
