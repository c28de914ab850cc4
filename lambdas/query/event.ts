/** What the query function is asked: one strict shape for each operation. */
import * as z from "zod/mini";
import { listOf, parseEvent } from "../../lib/aws/parse-event.ts";
import { idBytesMax } from "../../lib/core/model/check-records.ts";
import { shardsMax } from "../../lib/core/model/collection.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { shown } from "../../lib/core/model/metadata.ts";
import { queriesMax } from "../../lib/engine/read/read-request.ts";
import { idsMax } from "../../lib/engine/read/view.ts";

export const operations = ["query", "get", "count", "stats", "health", "ping"] as const;
export type Operation = (typeof operations)[number];

/** Tokens of one call: a session that has written more often reads with consistency strong. */
export const tokensMax = 100;

/**
 * JSON of a call over a URL. The largest that anybody means is 3 MiB: a text of 256 KiB whose every character is escaped as six
 * (1.5 MiB), 1,000 excluded ids of 512 bytes with every second one escaped (0.8 MiB), 10,000 values of a filter that are UUIDs
 * (0.4 MiB), tokens of 1,200 deltas (0.1 MiB). A vector of 4,096 numbers, instead of the text, has 0.1 MiB;
 * 64 of them in `queries` may have 5 MiB, and 1.4 MiB as base64.
 */
export const queryBytesMax = 3 * 1024 * 1024;

export const routingKeyMax = 512;
const collection = z.string();
/** No longer in UTF-16 units than in bytes. SQLite would take a lone surrogate for U+FFFD, and find another record. */
const id = z.string().check(
  z.maxLength(idBytesMax),
  z.refine((text) => text.isWellFormed(), "is not well-formed Unicode (a lone surrogate)"),
);
/** Of any bytes that are text; the same key has the same side of an alias. */
const routingKey = z.optional(z.string().check(z.maxLength(routingKeyMax)));
/** What a query function with groups asks one of them for. */
const part = z.optional(z.strictObject({ collectionId: z.string(), shards: listOf(z.number(), shardsMax) }));
const embeddingVersion = z.optional(z.string());
const waiting = { deadlineMs: z.optional(z.number()), part };
const allowPartial = z.optional(z.boolean());
const parts = ["document", "metadata", "vector"] as const;
const include = z.optional(listOf(z.enum(parts), parts.length));
const vectorFormat = z.optional(z.enum(["list", "base64"]));
const freshness = {
  consistency: z.optional(z.enum(["eventual", "bounded", "strong"])),
  maxAgeSeconds: z.optional(z.number()),
  atLeast: z.optional(
    z.pipe(
      z.transform((tokens: unknown) => (typeof tokens === "string" ? [tokens] : tokens)),
      listOf(z.string(), tokensMax),
    ),
  ),
};

// Vectors, filters and ranges are checked by the engine, whose messages know the collection.
const question = {
  vector: z.optional(z.unknown()),
  id: z.optional(id),
  text: z.optional(z.string()),
  topK: z.optional(z.number()),
  ef: z.optional(z.number()),
  recallTarget: z.optional(z.number()),
  filter: z.optional(z.unknown()),
  minScore: z.optional(z.number()),
  excludeIds: z.optional(listOf(id, idsMax)),
  include,
  vectorFormat,
};
const shapes = {
  query: z.strictObject({
    op: z.optional(z.literal("query")),
    collection,
    embeddingVersion,
    ...question,
    routingKey,
    queries: z.optional(listOf(z.strictObject(question), queriesMax)),
    allowPartial,
    ...waiting,
    ...freshness,
  }),
  get: z.strictObject({
    op: z.literal("get"),
    collection,
    embeddingVersion,
    routingKey,
    ids: listOf(id, idsMax),
    include,
    vectorFormat,
    ...waiting,
    ...freshness,
  }),
  count: z.strictObject({
    op: z.literal("count"),
    collection,
    embeddingVersion,
    routingKey,
    filter: z.optional(z.unknown()),
    allowPartial,
    ...waiting,
    ...freshness,
  }),
  stats: z.strictObject({ op: z.literal("stats"), collection, embeddingVersion, ...waiting }),
  health: z.strictObject({ op: z.literal("health"), collection: z.optional(collection) }),
  ping: z.strictObject({ op: z.literal("ping") }),
};
type Shape<O extends Operation> = Omit<z.infer<(typeof shapes)[O]>, "op">;

export type QueryEvent = { [O in Operation]: { readonly op: O; readonly call: Shape<O> } }[Operation];

/** Throws `invalid`, naming every field that is wrong and every key that the operation does not know. */
export function parseQueryEvent(event: unknown): QueryEvent {
  const given = (event as { op?: unknown } | null)?.op ?? "query";
  const op = operations.find((known) => known === given);
  if (op === undefined) {
    const reason = `must be one of ${operations.join(", ")}, got ${shown(given)}`;
    throw invalid(`op: ${reason}`, [{ field: "op", reason }]);
  }
  const { op: _op, ...call } = parseEvent<{ op?: unknown }>(
    shapes[op] as z.ZodMiniType<{ op?: unknown }>,
    event,
  );
  if (op === "query") checkQuestion(call);
  return { op, call } as QueryEvent;
}

type Given = { readonly vector?: unknown; readonly id?: unknown; readonly text?: unknown };

function checkQuestion({ queries, ...call }: Given & { readonly queries?: readonly Given[] }): void {
  if (queries === undefined) {
    checkOne(call, "");
    return;
  }
  const besides = Object.keys(question).filter((key) => call[key as keyof Given] !== undefined);
  if (besides.length > 0) throw invalid(`queries: give ${besides.join(" and ")} with each of them`);
  for (const [i, one] of queries.entries()) checkOne(one, `queries.${i}: `);
}

function checkOne({ vector, id, text }: Given, where: string): void {
  const given = [vector, id, text].filter((value) => value !== undefined).length;
  if (given !== 1) throw invalid(`${where}give exactly one of vector, id and text, got ${given}`);
}
