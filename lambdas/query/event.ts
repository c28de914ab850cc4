/** What the query function is asked: one strict shape for each operation. */
import * as z from "zod/mini";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import { invalid } from "../../lib/core/errors.ts";

export const operations = ["query", "get", "count", "stats", "health", "ping"] as const;
export type Operation = (typeof operations)[number];

/** Tokens of one call: a session that has written more often reads with consistency strong. */
const tokensMax = 100;

const collection = z.string();
/** What a query function with groups asks one of them for. */
const part = z.optional(z.strictObject({ collectionId: z.string(), shards: z.array(z.number()) }));
const waiting = { deadlineMs: z.optional(z.number()), part };
const allowPartial = z.optional(z.boolean());
const include = z.optional(z.array(z.enum(["document", "metadata", "vector"])));
const freshness = {
  consistency: z.optional(z.enum(["eventual", "bounded", "strong"])),
  maxAgeSeconds: z.optional(z.number()),
  atLeast: z.optional(
    z.union([
      z.pipe(
        z.string(),
        z.transform((token) => [token]),
      ),
      z.array(z.string()).check(z.maxLength(tokensMax)),
    ]),
  ),
};

// Vectors, filters and ranges are checked by the engine, whose messages know the collection.
const shapes = {
  query: z.strictObject({
    op: z.optional(z.literal("query")),
    collection,
    vector: z.optional(z.unknown()),
    id: z.optional(z.string()),
    text: z.optional(z.string()),
    topK: z.optional(z.number()),
    filter: z.optional(z.unknown()),
    minScore: z.optional(z.number()),
    excludeIds: z.optional(z.array(z.string())),
    include,
    allowPartial,
    ...waiting,
    ...freshness,
  }),
  get: z.strictObject({
    op: z.literal("get"),
    collection,
    ids: z.array(z.string()),
    include,
    ...waiting,
    ...freshness,
  }),
  count: z.strictObject({
    op: z.literal("count"),
    collection,
    filter: z.optional(z.unknown()),
    allowPartial,
    ...waiting,
    ...freshness,
  }),
  stats: z.strictObject({ op: z.literal("stats"), collection, ...waiting }),
  health: z.strictObject({ op: z.literal("health") }),
  ping: z.strictObject({ op: z.literal("ping") }),
};
type Shape<O extends Operation> = Omit<z.infer<(typeof shapes)[O]>, "op">;

export type QueryEvent = { [O in Operation]: { readonly op: O; readonly call: Shape<O> } }[Operation];

/** Throws `invalid`, naming every field that is wrong and every key that the operation does not know. */
export function parseQueryEvent(event: unknown): QueryEvent {
  const given = (event as { op?: unknown } | null)?.op ?? "query";
  const op = operations.find((known) => known === given);
  if (op === undefined) {
    const reason = `must be one of ${operations.join(", ")}, got ${JSON.stringify(given)?.slice(0, 80)}`;
    throw invalid(`op: ${reason}`, [{ field: "op", reason }]);
  }
  const { op: _op, ...call } = parseEvent<{ op?: unknown }>(
    shapes[op] as z.ZodMiniType<{ op?: unknown }>,
    event,
  );
  return { op, call } as QueryEvent;
}
