/**
 * The engine's view of the world. Each port states its contract in words; test/contract holds it as a suite that every
 * implementation passes: the in-memory one (test/support), the AWS one (lib/aws) over the local stack, and real AWS.
 *
 * Expected outcomes are values. What is thrown is a SiltstoneError: `unavailable` when nothing can have happened or the
 * call was a read, `uncertain` when a write may have happened.
 */
import type { SiltstoneError } from "../core/model/errors.ts";
import type { Epoch } from "../core/model/ids.ts";

/**
 * Objects by key, strongly consistent: a read or list that begins after a write was answered sees it.
 * Keys are UTF-8 and list in byte order.
 */
export interface ObjectStore {
  /**
   * The whole object, or `range` of it (half open, in bytes). `ifNoneMatch` answers `notModified` when the etag still holds.
   * Throws `corrupt` for a whole object above `bytesMax` (default: a delta's), whose body is not read.
   */
  get(key: string, options?: GetOptions): Promise<GetResult>;
  /** The same for an object that other code may have made: the body of one above `bytesMax` is not read, which is no error. */
  getBounded(key: string, bytesMax: number): Promise<BoundedGetResult>;
  /** Size and etag, or null when absent. */
  head(key: string): Promise<{ bytes: number; etag: string } | null>;
  /**
   * Writes the whole object atomically. `ifAbsent`: only when no object has the key. `ifMatch`: only when the current
   * object has that etag. Neither given: overwrites. A store's conflict answer (S3's 409) and a lost condition (412)
   * both give `preconditionFailed`, and so may a write of our own that won when its first answer was lost: the caller
   * re-reads before it concludes anything. Throws `uncertain` when no answer came.
   */
  put(key: string, body: Uint8Array, condition?: PutCondition): Promise<PutResult>;
  /**
   * Writes a local file of any size under a key that is written once; atomic, and never over what is there: that is an error,
   * unless it has the file's size, as a first attempt of our own has whose answer was lost.
   */
  putFile(key: string, path: string): Promise<void>;
  /**
   * Copies an object of any size, as it is now, over whatever `to` holds; atomic, and its bytes do not pass through here.
   * Null when `from` is absent.
   */
  copy(from: string, to: string): Promise<{ readonly bytes: number } | null>;
  /** Keys that start with `prefix` and are greater than `startAfter`, ascending, page by page. */
  list(prefix: string, options?: { startAfter?: string }): AsyncIterable<readonly ObjectEntry[]>;
  /**
   * One level below `prefix` (which ends in "/" or is empty): the distinct next path parts of longer keys, ascending,
   * without the slash, and the keys that end there.
   */
  listLevel(prefix: string): Promise<Level>;
  /** Deletes any number of keys; absent ones count as deleted. Throws `uncertain` when some may remain. */
  delete(keys: readonly string[]): Promise<void>;
}

export interface GetOptions {
  readonly range?: ByteRange;
  readonly ifNoneMatch?: string;
  readonly bytesMax?: number;
}
/** Half open: bytes `start` to `limit - 1`. */
export interface ByteRange {
  readonly start: number;
  readonly limit: number;
}
/** What was deleted from a bucket that keeps the versions of its objects for a while. */
export interface DeletedObjects {
  /** Keys that start with `prefix`, are greater than `startAfter` and are not there now, ascending, page by page. */
  list(prefix: string, options: { startAfter: string }): AsyncIterable<readonly DeletedObject[]>;
  /** The body, or `range` of it, as it was; null when the bucket no longer keeps it. */
  get(object: DeletedObject, range?: ByteRange): Promise<Buffer | null>;
}
export interface DeletedObject {
  readonly key: string;
  readonly bytes: number;
  /** The store's own name of the newest version that was no deletion. */
  readonly versionId: string;
}

export type GetResult =
  | { readonly kind: "found"; readonly body: Buffer; readonly etag: string; readonly modifiedMs: number }
  | { readonly kind: "notModified" }
  | { readonly kind: "absent" };
export type BoundedGetResult =
  | { readonly kind: "found"; readonly body: Buffer; readonly modifiedMs: number }
  | { readonly kind: "tooLarge"; readonly bytes: number }
  /** It is there, but the store will not give it to us: no right to it or to its key, an archive. Others may be given. */
  | { readonly kind: "refused"; readonly error: SiltstoneError }
  | { readonly kind: "absent" };
export type PutCondition = { readonly ifAbsent: true } | { readonly ifMatch: string };
export type PutResult =
  | { readonly kind: "written"; readonly etag: string }
  | { readonly kind: "preconditionFailed" };
export interface Level {
  readonly folders: readonly string[];
  readonly keys: readonly string[];
}
export interface ObjectEntry {
  readonly key: string;
  readonly bytes: number;
  /** When the store says that it was written, by its own clock, to the second. */
  readonly modifiedMs: number;
}

/** At-least-once notifications: a message may be lost, doubled, late, and out of order. */
export interface DeltaQueue {
  /** Sends any number. Throws where some of them may not have been sent. */
  send(...bodies: readonly string[]): Promise<void>;
  /** Up to 10 messages, hidden from others until deleted or until the queue's visibility timeout. Never waits long. */
  receive(): Promise<QueueMessage[]>;
  /** Forgets up to 10 received messages. */
  delete(messages: readonly QueueMessage[]): Promise<void>;
  /** Puts a message's body on the dead-letter queue with the reason as message attribute `reason`. */
  deadLetter(message: QueueMessage, reason: string): Promise<void>;
}
export interface QueueMessage {
  readonly receipt: string;
  readonly body: string;
}

/**
 * Leases by name with a fencing epoch. The epoch only ever grows, also over release, expiry and force-release.
 * Time is the caller's (`nowMs`), so that leases can be tested; holders' clocks may be skewed, which is why a lease
 * saves work and is never what keeps data safe.
 */
export interface LeaseTable {
  /** Takes the lease when it is not held any more (isLeaseHeld); `epochAbove` raises the next epoch above a known one. */
  acquire(
    name: string,
    request: { owner: string; leaseMs: number; nowMs: number; epochAbove?: Epoch },
  ): Promise<{ kind: "acquired"; lease: Lease } | { kind: "held"; by: Lease }>;
  /** Extends a lease that `lease.owner` still holds in `lease.epoch`; null when another holder has it by now. */
  extend(lease: Lease, request: { leaseMs: number; nowMs: number }): Promise<Lease | null>;
  /** Gives the lease up, if it is still this owner's and epoch's. */
  release(lease: Lease): Promise<void>;
  read(name: string): Promise<Lease | null>;
  /** Takes the lease from exactly the owner and epoch named; false when they no longer hold it. */
  forceRelease(name: string, expected: { owner: string; epoch: Epoch }): Promise<boolean>;
  /**
   * A small record kept beside the leases: the last run of a shard, for people, and what a run is about to do, so that the
   * next one knows what it died of (lib/engine/compact/attempts.ts). What is published never depends on one.
   */
  note(name: string, value: Readonly<Record<string, unknown>>): Promise<void>;
  readNote(name: string): Promise<Readonly<Record<string, unknown>> | null>;
}
export interface Lease {
  readonly name: string;
  readonly owner: string;
  readonly epoch: Epoch;
  readonly expiresAtMs: number;
}

/** Time and identity. Nothing in lib/engine or lib/core reads the time or a random number in any other way; how long something took is measured besides. */
export interface Clock {
  nowMs(): number;
  sleep(ms: number): Promise<void>;
  /** What `work` gives, or null when that takes longer than `ms`: it goes on all the same, and its failure is its own. */
  atMost<T>(ms: number, work: Promise<T>): Promise<{ readonly value: T } | null>;
  /** A new ULID at nowMs(), greater than every one this clock gave before. */
  ulid(): string;
}

export interface World {
  readonly store: ObjectStore;
  readonly queue: DeltaQueue;
  readonly leases: LeaseTable;
  readonly clock: Clock;
}
