/** The SQS message that a producer sends after its PUT: a hint that a delta is there. Losing it loses nothing. */
import { checkCollectionName } from "../model/collection.ts";
import { type DeltaId, deltaId } from "../model/ids.ts";
import { shown } from "../model/metadata.ts";
import { isUlid } from "../model/ulid.ts";

/** UTF-16 units. Ours have 200 at most; what is longer is not parsed, and not held while the run works. */
export const notificationCharsMax = 1_024;

export interface Notification {
  readonly collection: string;
  /** Of messages of older producers not known: null. */
  readonly collectionId: string | null;
  readonly shard: number;
  readonly delta: DeltaId;
}

export const encodeNotification = ({ collection, collectionId, shard, delta }: Notification): string =>
  JSON.stringify({ format: 1, collection, collectionId, shard, delta });

/** The notification, or why the message is not a notification. */
export function decodeNotification(body: string): Notification | { readonly reason: string } {
  if (body.length > notificationCharsMax)
    return {
      reason: `the message has ${body.length} characters; a notification has at most ${notificationCharsMax}`,
    };
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(body) as Record<string, unknown>;
  } catch {
    return { reason: "the message is not JSON" };
  }
  if (typeof value !== "object" || value === null) return { reason: "the message is not an object" };
  if (value.format !== 1) return { reason: `message format ${shown(value.format)}; this version reads 1` };
  const { collection, shard, delta } = value;
  try {
    checkCollectionName(collection);
  } catch (error) {
    return { reason: (error as Error).message };
  }
  if (!Number.isSafeInteger(shard) || (shard as number) < 0)
    return { reason: "shard is not a number from 0" };
  if (typeof delta !== "string" || !isUlid(delta)) return { reason: "delta is not a ULID" };
  const collectionId = typeof value.collectionId === "string" ? value.collectionId : null;
  return { collection: collection as string, collectionId, shard: shard as number, delta: deltaId(delta) };
}
