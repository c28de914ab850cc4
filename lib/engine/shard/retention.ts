/**
 * Which published versions are kept for their number and their age.
 *
 * The age of a version counts from the moment when it was superseded: from the write of the pointer that made its
 * successor current. No object tells that moment, and the successor's commit does not either: a publisher may sleep
 * between making it and writing the pointer. But the publisher of the version after the successor had read that pointer
 * when it made its own commit. So version n was superseded before the commit of version n + 2 was made, and as long as
 * there is no n + 2, before the pointer was last written.
 */
import type { Manifest } from "../../core/format/manifest.ts";
import { clockSkewMaxMs } from "../../core/policy/time-bounds.ts";
import { commitTimeMs } from "./history.ts";

export interface Retention {
  /** Published versions that are kept beside the current one, for as long as `keptMsMax`. */
  readonly versionsKept: number;
  /** Everything superseded more recently is kept. Longer than any reader or query needs to move on to a newer version. */
  readonly keptMs: number;
  /**
   * What was superseded longer ago is kept by pins alone: a deleted document must go from a shard that is written seldom, too.
   * Since the moment is known by its bounds alone, a version may stay for three times as long (`goneMs`).
   */
  readonly keptMsMax: number;
  /** Unpublished segments and manifests older than this are orphans. Longer than any run. */
  readonly orphanMs: number;
}
const dayMs = 24 * 60 * 60_000;
/**
 * The same for every collector of a shard: the repair of a lost pointer infers from it what a collector may be about to
 * delete (docs/protocol.md, "Repair"). A change that makes one of these smaller has to think of that.
 */
export const defaultRetention: Retention = {
  versionsKept: 5,
  keptMs: 60 * 60_000,
  keptMsMax: 3 * dayMs,
  orphanMs: dayMs,
};

/**
 * A version that was superseded so long ago is gone, when collectors run. It was the last but one, and the pointer was written anew
 * to raise the floor just before its time had come; and just before it had come again, the next version was published.
 */
export const goneMs = ({ keptMsMax }: Pick<Retention, "keptMsMax">): number => 3 * keptMsMax;

/** Clocks of two processes differ by less: S3 refuses a request whose clock is more than 15 minutes off. */
export const skewMaxMs = 2 * clockSkewMaxMs;

/**
 * The oldest version that is kept; 0 when all are. `chain` is the published one, newest first. `pointerMs`: when the pointer was
 * written that names its head, at the latest, by S3's clock: before that the last but one was superseded. It counts where the
 * head was made `keptMsMax` ago.
 */
export function oldestKept(
  chain: readonly Manifest[],
  retention: Retention,
  { nowMs, pointerMs }: { readonly nowMs: number; readonly pointerMs: number },
): number {
  const isIdle = hasAge(chain[0]!, retention, nowMs);
  return keptFrom(chain, retention, nowMs, (i) =>
    i === 1 ? (isIdle ? pointerMs : nowMs) : commitTimeMs(chain[i - 2]!),
  );
}

/**
 * At least what `oldestKept` has answered to any collector by now, of this chain or a shorter one: that can only have
 * counted from a time after the commit of a version's successor, where that is `keptMsMax` ago.
 */
export const highestFloor = (chain: readonly Manifest[], retention: Retention, nowMs: number): number =>
  keptFrom(chain, retention, nowMs + skewMaxMs, (i) => {
    if (hasAge(chain[i - 1]!, retention, nowMs + skewMaxMs)) return commitTimeMs(chain[i - 1]!);
    return i === 1 ? nowMs + skewMaxMs : commitTimeMs(chain[i - 2]!);
  });

/** Whether the version that this one superseded may be kept no longer for its number. */
export const hasAge = (version: Manifest, { keptMsMax }: Retention, nowMs: number): boolean =>
  nowMs - commitTimeMs(version) >= keptMsMax;

/** `supersededMs`: by place in the chain, from 1. */
function keptFrom(
  chain: readonly Manifest[],
  retention: Retention,
  nowMs: number,
  supersededMs: (i: number) => number,
): number {
  const last = (ageMs: number): number =>
    chain[chain.findLastIndex((_, i) => i === 0 || nowMs - supersededMs(i) < ageMs)]!.version;
  const byNumber = chain[0]!.version - retention.versionsKept;
  const young = last(retention.keptMs);
  return Math.max(0, Math.min(Math.max(byNumber, last(retention.keptMsMax)), young));
}
