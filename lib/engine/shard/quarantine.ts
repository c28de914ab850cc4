/**
 * Deltas that were put aside: putting them there, what they are, and putting them back.
 *
 * Putting aside is a copy on the server, whatever the size: nothing of the object passes through here. The original goes
 * when the copy and its reason are there; a crash before that leaves it in the backlog, and the next run does it again.
 */
import {
  deltaKey,
  quarantinedDeltaKey,
  quarantinedOfKey,
  quarantinePrefix,
  quarantineReasonKey,
  type ShardRef,
  shardName,
} from "../../core/format/keys.ts";
import { decodeSealed, encodeSealed, sealedBytesMax } from "../../core/format/sealed-json.ts";
import {
  corrupt,
  cutText,
  errorTextBytesMax,
  explained,
  invalid,
  isKind,
  SiltstoneError,
} from "../../core/model/errors.ts";
import { type DeltaId, deltaId } from "../../core/model/ids.ts";
import { isUlid } from "../../core/model/ulid.ts";
import type { ObjectStore, World } from "../ports.ts";
import { putAgain, readToPutAgain } from "./put-again.ts";

const reasonFormat = 1;

export interface Quarantined {
  readonly delta: DeltaId;
  readonly reason: string;
  readonly bytes: number;
  readonly at: string;
}

/** Copied in a minute or so. A larger object is not a delta of ours: it stays where it is, and is reported. */
export const quarantinedBytesMax = 32 * 1024 ** 3;

/**
 * Moves a delta to quarantine/ with its reason; null when it is gone by now. What is answered instead says why it is
 * still there: the caller goes on with the others.
 */
export async function quarantine(
  world: World,
  shard: ShardRef,
  { delta, error }: { readonly delta: DeltaId; readonly error: SiltstoneError },
): Promise<"moved" | "gone" | { readonly left: SiltstoneError }> {
  try {
    return (await moveToQuarantine(world, shard, delta, cutText(explained(error), errorTextBytesMax)))
      ? "moved"
      : "gone";
  } catch (failure) {
    if (!isKind(failure, "unavailable") && !isKind(failure, "uncertain")) throw failure;
    const reason = `${error.message}; it could not be put aside: ${failure.message}`;
    return { left: new SiltstoneError(failure.kind, reason, { cause: failure }) };
  }
}

async function moveToQuarantine(
  world: World,
  shard: ShardRef,
  delta: DeltaId,
  why: string,
): Promise<boolean> {
  const { store, clock } = world;
  const key = deltaKey(shard, delta);
  const there = await store.head(key);
  if (there === null) return false;
  if (there.bytes > quarantinedBytesMax)
    throw new SiltstoneError("unavailable", `${key} is too large to be copied; delete it by hand`);
  const copyKey = quarantinedDeltaKey(shard, delta);
  const copied = await store.copy(key, copyKey);
  if (copied === null) return false;
  if ((await store.head(copyKey))?.bytes !== copied.bytes)
    throw new SiltstoneError(
      "unavailable",
      `${copyKey} does not have the bytes of the delta that it was copied from`,
    );
  const at = new Date(clock.nowMs()).toISOString();
  const reason = { format: reasonFormat, delta, reason: why, bytes: copied.bytes, at };
  await putOnce(store, quarantineReasonKey(shard, delta), encodeSealed(reason));
  await store.delete([key]);
  return true;
}

/** If absent: what is there already is of an earlier attempt, or newer than what a run that slept wants to write. */
async function putOnce(store: ObjectStore, key: string, body: Uint8Array): Promise<void> {
  const put = await store.put(key, body, { ifAbsent: true });
  if (put.kind === "preconditionFailed" && (await store.head(key)) === null)
    throw new SiltstoneError("unavailable", `${key} could not be written; nothing was changed, try again`);
}

export async function listQuarantine(store: ObjectStore, shard: ShardRef): Promise<Quarantined[]> {
  const found: Quarantined[] = [];
  const prefix = quarantinePrefix(shard);
  for await (const page of store.list(prefix)) {
    for (const { key, bytes } of page) {
      const delta = quarantinedOfKey(shard, key);
      if (delta === null || !key.endsWith(".arrow")) continue;
      const { reason, at } = (await readReason(store, shard, delta)) ?? unknown;
      found.push({ delta, reason, bytes, at });
    }
  }
  return found;
}

/** What is written beside a delta that was put aside, where it is whole; it stays when the delta is put back. */
interface Reason {
  readonly reason: string;
  readonly at: string;
  /** The name under which the delta was put back. */
  readonly retriedAs?: DeltaId;
}

/** Null when there is no reason object. A damaged one counts as empty. */
async function readReason(store: ObjectStore, shard: ShardRef, delta: DeltaId): Promise<Reason | null> {
  const key = quarantineReasonKey(shard, delta);
  const found = await store.getBounded(key, sealedBytesMax);
  if (found.kind === "absent") return null;
  if (found.kind === "refused") throw found.error;
  if (found.kind === "tooLarge") return unknown;
  try {
    const { reason, at, retriedAs } = JSON.parse(found.body.toString("utf8")) as Record<string, unknown>;
    if (typeof reason !== "string" || typeof at !== "string") return unknown;
    if (retriedAs === undefined) return { reason, at };
    // A reader goes by the name: it is proved. A reason alone may be of a time before seals.
    decodeSealed(found.body, key, reasonFormat);
    return typeof retriedAs === "string" && isUlid(retriedAs)
      ? { reason, at, retriedAs: deltaId(retriedAs) }
      : unknown;
  } catch {
    return unknown;
  }
}
const unknown: Reason = { reason: "unknown: why it was put aside is missing or damaged", at: "" };

/** The name under which a delta was put back into the backlog; undefined when no trace says so. */
export const retriedNameOf = async (
  store: ObjectStore,
  shard: ShardRef,
  delta: DeltaId,
): Promise<DeltaId | undefined> => (await readReason(store, shard, delta))?.retriedAs;

/**
 * Puts a delta back into the backlog, under a new name. If it is still unreadable, the next run puts it aside again.
 *
 * The new delta is written first, then the reason names it, and only then the copy goes: a reader that looks for the old name finds
 * the copy, or the new name, at every moment. A crash in between leaves both; the same rows, twice, are one write.
 */
export async function retryQuarantined(world: World, shard: ShardRef, delta: DeltaId): Promise<DeltaId> {
  const { store, clock } = world;
  const copyKey = quarantinedDeltaKey(shard, delta);
  const known = await readReason(store, shard, delta);
  if ((await store.head(copyKey)) === null) {
    const where = known?.retriedAs === undefined ? "" : ` (it was retried as ${known.retriedAs})`;
    throw new SiltstoneError("notFound", `${shardName(shard)} has no quarantined delta ${delta}${where}`);
  }
  // Also where it was retried before: a copy that is here again was put here by hand, and may be all that is left.
  const retriedAs = await putBack(world, shard, delta);
  await leaveTrace({ store, clock }, shard, { delta, retriedAs, reason: known ?? unknown });
  await store.delete([copyKey]);
  return retriedAs;
}

/** Says, for those who look for the delta, under which name it was put again. */
async function leaveTrace(
  { store, clock }: Pick<World, "store" | "clock">,
  shard: ShardRef,
  { delta, retriedAs, reason }: { delta: DeltaId; retriedAs: DeltaId; reason: Reason },
): Promise<void> {
  const key = quarantineReasonKey(shard, delta);
  const retriedAt = new Date(clock.nowMs()).toISOString();
  const trace = { format: reasonFormat, delta, ...reason, retriedAs, retriedAt };
  const there = await store.head(key);
  const condition = there === null ? ({ ifAbsent: true } as const) : { ifMatch: there.etag };
  const put = await store.put(key, encodeSealed(trace), condition);
  if (put.kind !== "written")
    throw new SiltstoneError(
      "uncertain",
      `${delta} was put again as ${retriedAs}, which ${key} does not say yet; repeat the call`,
    );
}

/** Puts a delta that was deleted back into the backlog, under a new name that tokens of the old one find. */
export async function putDeletedBack(
  world: Pick<World, "store" | "clock">,
  shard: ShardRef,
  { delta, body }: { readonly delta: DeltaId; readonly body: Uint8Array },
): Promise<DeltaId> {
  const retriedAs = await putAgain(world, shard, delta, body);
  const at = new Date(world.clock.nowMs()).toISOString();
  const reason = (await readReason(world.store, shard, delta)) ?? { reason: "deleted, and restored", at };
  await leaveTrace(world, shard, { delta, retriedAs, reason });
  return retriedAs;
}

async function putBack(world: World, shard: ShardRef, delta: DeltaId): Promise<DeltaId> {
  const key = quarantinedDeltaKey(shard, delta);
  const found = await readToPutAgain(world.store, key, delta);
  switch (found.kind) {
    case "found":
      return putAgain(world, shard, delta, found.body);
    case "tooLarge":
      throw invalid(
        `${key} has ${found.bytes} bytes and is not a delta: find its writer, and delete it by hand`,
      );
    case "refused":
      throw found.error;
    case "absent":
      throw new SiltstoneError("conflict", `${key} is gone: another process put it back`);
  }
}

/**
 * Where a delta is that is not in the backlog: under the name that is answered, or, null, ingested. Throws when it is in
 * quarantine. A delta is moved by: copy, reason, deletion; and back by: new delta, new name in the reason, deletion of the
 * copy. So a reader that misses a delta finds its reason, and one that finds a reason without a new name, and then no copy, finds the name by now.
 */
export async function whereabouts(
  store: ObjectStore,
  shard: ShardRef,
  delta: DeltaId,
): Promise<DeltaId | null> {
  const seen = await readReason(store, shard, delta);
  if (seen === null || seen.retriedAs !== undefined) return seen?.retriedAs ?? null;
  if ((await store.head(quarantinedDeltaKey(shard, delta))) !== null)
    throw corrupt(
      shardName(shard),
      `delta ${delta} could not be read and is in quarantine (\`silt quarantine list\`)`,
    );
  const retriedAs = await retriedNameOf(store, shard, delta);
  if (retriedAs !== undefined) return retriedAs;
  throw corrupt(
    quarantineReasonKey(shard, delta),
    `delta ${delta} was put aside and is no longer in quarantine, and no trace says under which name it was put back`,
  );
}
