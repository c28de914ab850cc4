/**
 * Embedding in the call: a save of such a collection answers when its items' chunks are written. The same claims, order and rows as a worker's
 * hold, so that going over to workers and back loses and doubles nothing.
 */
import pLimit from "p-limit";
import type { Collection } from "../core/model/collection.ts";
import { type Problem, SiltstoneError } from "../core/model/errors.ts";
import { readSettings } from "./control.ts";
import type { ItemKey } from "./item.ts";
import type { EmbeddedItem, EmbedderCall, JobTable } from "./ports.ts";

interface InCallWorld {
  readonly embedder: EmbedderCall | null;
}
type Named = Pick<Collection, "id" | "name">;

const readsAtOnce = 16;

/** How items stand now, for who waits for them. */
export async function standOf(
  { table }: { readonly table: JobTable },
  keys: readonly ItemKey[],
): Promise<EmbeddedItem[]> {
  const limit = pLimit(readsAtOnce);
  return Promise.all(
    keys.map((key) =>
      limit(async () => {
        const now = await table.read(key);
        // A delete that is done long ago is forgotten.
        const { status, error } = now ?? { status: "completed" as const, error: null };
        return { item: key.item, status, error };
      }),
    ),
  );
}

/** Asked after the items were written: a rollback that begins later sees them, and one that began before is seen. */
export async function embedsInCall(table: JobTable, { id }: Named): Promise<boolean> {
  return (await readSettings(table)).inCall.includes(id);
}

export function checkEmbedder({ embedder }: InCallWorld, { name }: Named): EmbedderCall {
  if (embedder !== null) return embedder;
  throw new SiltstoneError(
    "unavailable",
    `collection ${name} embeds in the call, and this function may not call the embedder; deploy it again (grantSaveItems), or save through the producer function`,
  );
}

/**
 * Throws `invalid` with the items whose text is refused, and `unavailable` for those that could not be embedded yet: they are saved, and the
 * same call embeds them.
 */
export async function embedInCall(
  world: InCallWorld,
  collection: Named,
  items: readonly { readonly id: string; readonly outcome: "saved" | "unchanged" | "stale" }[],
): Promise<void> {
  const own = items.filter(({ outcome }) => outcome !== "stale");
  if (own.length === 0) return;
  const keys = own.map(({ id }) => ({ collectionId: collection.id, item: id }));
  const embedded = await checkEmbedder(world, collection).embed(keys);
  const index = new Map(items.map(({ id }, i) => [id, i]));
  const left = embedded.filter(({ status }) => status !== "completed");
  if (left.length === 0) return;
  const problems = left.map(
    ({ item, status, error }): Problem => ({
      ...{ id: item, index: index.get(item)!, field: "text" },
      reason: `is ${status}${error === null ? "" : `: ${error.message}`}`,
    }),
  );
  const said = `${left.length} of ${items.length} items are saved and not embedded; ${problems[0]!.reason}`;
  if (left.every(({ status }) => status === "failed"))
    throw new SiltstoneError("invalid", said, { problems });
  throw new SiltstoneError("unavailable", `${said}; repeat the call`, { problems });
}
