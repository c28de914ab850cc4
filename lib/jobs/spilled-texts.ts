/** Texts that are too large for a record of the table: on S3, by the save's ULID, for as long as it is the item's newest. */
import { textKey } from "../core/format/keys.ts";
import { contentHash } from "../core/model/derived-id.ts";
import { corrupt } from "../core/model/errors.ts";
import type { ObjectStore } from "../engine/ports.ts";
import { putNew } from "../engine/shard/put-new.ts";
import type { Item } from "./item.ts";

/** UTF-8 bytes: a change of the record costs by its size, four times a job. */
export const inlineBytesMax = 8 * 1024;
/** UTF-8 bytes of an item: some thousand chunks. */
export const textBytesMax = 4 * 2 ** 20;

type Named = Pick<Item, "collection" | "job">;

export async function spill(store: ObjectStore, { collection, job }: Named, text: string): Promise<void> {
  const key = textKey(collection, job);
  // A ULID of its own: only a first attempt's bytes can be there.
  if (!(await putNew(store, key, Buffer.from(text)))) throw corrupt(key, "another text has its name");
}

/** Null when it has gone: the save is not the newest any more. Throws `corrupt`. */
export async function readText(store: ObjectStore, item: Item): Promise<string | null> {
  if (item.text === null) return null;
  if ("inline" in item.text) return item.text.inline;
  const key = textKey(item.collection, item.job);
  const found = await store.get(key, { bytesMax: textBytesMax });
  if (found.kind !== "found") return null;
  const text = found.body.toString("utf8");
  if (contentHash(text) !== item.contentHash) throw corrupt(key, "it has not the hash of the item's text");
  return text;
}

export async function removeText(
  store: ObjectStore,
  { collection, job, text }: Pick<Item, "collection" | "job" | "text">,
) {
  if (text !== null && "spilled" in text) await store.delete([textKey(collection, job)]);
}
