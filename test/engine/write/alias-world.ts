/** Two collections of which an alias leads from one to the other, and what carries rows over. */
import { decodeDelta } from "../../../lib/core/format/delta.ts";
import { deltaOfKey, deltaPrefix } from "../../../lib/core/format/keys.ts";
import type { SideName } from "../../../lib/core/model/alias.ts";
import type { DeltaRow } from "../../../lib/core/model/row.ts";
import { type AliasCall, createAlias, setTarget } from "../../../lib/engine/catalog/aliases.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { type Drain, moveWriting } from "../../../lib/engine/catalog/move-writing.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { ThroughAlias } from "../../../lib/engine/read/through-alias.ts";
import { readCollection } from "../../../lib/engine/shard/head.ts";
import { encodeRows, putDeltas } from "../../../lib/engine/write/produce.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

export const notes: AliasCall = { name: "notes", actor: "ada", reason: "a test" };
export const source = "notes_v1";
export const target = "notes_v2";

export async function aliasedWorld(
  options: { shards?: readonly [number, number]; embeddingVersions?: readonly [string, string] } = {},
): Promise<MemoryWorld> {
  const world = memoryWorld();
  const { shards = [1, 1], embeddingVersions = ["1", "1"] } = options;
  for (const [i, name] of [source, target].entries())
    await createCollection(world, {
      ...{ name: name, dims: 2, metric: "l2", shards: shards[i], embeddingVersion: embeddingVersions[i] },
    });
  await createAlias(world, { ...notes, collection: source });
  await setTarget(world, { ...notes, collection: target });
  return world;
}

/** Puts each row that waits on the one side on the other, in its place. Nothing is ingested in these tests. */
export const drainOver =
  (world: World): Drain =>
  async (from, to) => {
    const [old, next] = [
      await readCollection(world.store, from.collection),
      await readCollection(world.store, to.collection),
    ];
    for (let shard = 0; shard < old.shards; shard++) {
      const ref = { collection: old.name, shard };
      for await (const page of world.store.list(deltaPrefix(ref)))
        for (const { key } of page) {
          const delta = deltaOfKey(ref, key)!;
          const found = await world.store.get(key);
          if (found.kind !== "found") continue;
          const { header, rows } = decodeDelta(found.body, { key, delta });
          const place = header.writtenAs ?? delta;
          await putDeltas(world, encodeRows(world, next, rows as readonly DeltaRow[], "drain", place));
        }
    }
  };

export const move = (world: World, to: SideName, drain: Drain | null = drainOver(world)) =>
  moveWriting(world, {
    ...{ ...notes, collection: to === "source" ? source : target },
    ...(drain === null ? { atOnce: true } : { drain }),
  });

export function readerOver(world: World & Pick<MemoryWorld, "traffic">) {
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  return { reads: new ThroughAlias(reader, world), close: () => reader.close() };
}

/** Documents by id, as a strong read by the alias has them; with a token, as a read by it has them. */
export async function readAll(
  world: World & Pick<MemoryWorld, "traffic">,
  ids: readonly string[],
  token?: string,
): Promise<Record<string, unknown>> {
  const { reads, close } = readerOver(world);
  try {
    const freshness = token === undefined ? { consistency: "strong" as const } : { atLeast: [token] };
    const { records } = await reads.get({ collection: "notes", ids: [...ids], ...freshness }, 10_000);
    return Object.fromEntries(records.map(({ id, document }) => [id, document]));
  } finally {
    await close();
  }
}
