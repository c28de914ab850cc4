/** The message that wakes a worker for an item. It may be lost, doubled, late: what is to be done stands in the table. */
import { idBytesMax } from "../core/model/check-records.ts";
import { isUlid } from "../core/model/ulid.ts";
import type { Item, ItemKey } from "./item.ts";

/** UTF-16 units: an id's every character may be escaped by six. */
const wakeCharsMax = 6 * idBytesMax + 200;

export const encodeWake = ({ collectionId, item }: Pick<Item, "collectionId" | "item">): string =>
  JSON.stringify({ format: 1, collectionId, item });

/** The item's key, or why the message is none. */
export function decodeWake(body: string): ItemKey | { readonly reason: string } {
  if (body.length > wakeCharsMax)
    return { reason: `the message has ${body.length} characters; it has at most ${wakeCharsMax}` };
  let value: Record<string, unknown> | null;
  try {
    value = JSON.parse(body) as Record<string, unknown> | null;
  } catch {
    return { reason: "the message is not JSON" };
  }
  if (typeof value !== "object" || value === null) return { reason: "the message is not an object" };
  const { format, collectionId, item } = value;
  if (format !== 1) return { reason: "the message's format is not 1" };
  if (typeof collectionId !== "string" || !isUlid(collectionId))
    return { reason: "collectionId is not a ULID" };
  if (typeof item !== "string" || item === "" || Buffer.byteLength(item) > idBytesMax)
    return { reason: "item is not an id" };
  return { collectionId, item };
}
