/**
 * Judging an error that a read ended with: each has to say something that the oracle knows to be so, or to come from a
 * fault that was injected into this very read. Anything else is a broken promise, as a wrong answer would be.
 */
import { bounds } from "../../lib/core/model/bounds.ts";
import type { ErrorKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { heldBytes } from "../../lib/engine/read/open-segments.ts";
import { horizonLeastMs, type Oracle } from "./oracle.ts";
import { currentVersion, dueVersion, type ReadPromise, type ReadWindow } from "./reads.ts";

/** What was asked, of whom. */
export interface Asked extends ReadPromise {
  readonly cacheBytesMax: number;
  readonly process: string;
}
export interface Judged extends ReadWindow {
  /** From when on an eventual read may have met damage: it is told of what a check before it met. */
  readonly damageSince: number;
}
/** As often looks a reader again that is overtaken (lib/engine/read/overlays.ts). */
const looksMax = 5;

/** `injected`: the read met a fault of its own and is asked again. `true`: what it says is so. Else what is wrong with it. */
export type ErrorVerdict = "injected" | "true" | { readonly wrong: string };

export function judgeError(
  oracle: Oracle,
  { damageSince, ...began }: Judged,
  asked: Asked,
  error: SiltstoneError,
): ErrorVerdict {
  const window = { ...began, damageSince: asked.consistency === "eventual" ? damageSince : began.beganAt };
  const { kind, message } = error;
  const saysFull = kind === "unavailable" && message.includes("no space is left");
  if (saysFull && oracle.mayLackSpace(asked.process, window.damageSince)) return "injected";
  if (kind === "corrupt" && oracle.isFlipped(asked.process, window.damageSince)) return "injected";
  const saysFlipped = kind === "unavailable" && message.includes("was read twice, with different bytes");
  if (saysFlipped && oracle.isFlipped(asked.process, window.damageSince)) return "injected";
  if (kind === "unavailable" && message.includes("injected: ")) return "injected";
  // Nothing was published when it was last looked, and to look again took too long.
  if (kind === "unavailable" && message.includes("S3 is slow or silent")) return "injected";
  for (const [reason, reasonKind, says] of reasons) {
    if (kind !== reasonKind) continue;
    // Of a former collection speaks who has not noticed yet that it is gone.
    const speaking = oracle.generations.filter((one, i) => i === 0 || one.isSeenSince(damageSince));
    if (!speaking.some((one) => oracle.of(one, () => says(oracle, window, asked, message)))) continue;
    oracle.count(`read refused: ${reason}`);
    return "true";
  }
  return changeVerdict(oracle, window, asked, error, damageSince);
}

/** What a reader says that meets a deletion or another collection under the name. */
function changeVerdict(
  oracle: Oracle,
  { damageSince }: Judged,
  asked: Asked,
  { kind, message, stack }: SiltstoneError,
  cleanAt: number,
): ErrorVerdict {
  const wrong = { wrong: `a ${asked.consistency} read failed with ${kind}: ${stack}` };
  if (kind === "notFound" && message.includes("does not exist") && oracle.isChangedSince(damageSince)) {
    oracle.count("read refused: its collection is deleted");
    return "true";
  }
  if (kind === "unavailable" && message.includes("is being created") && oracle.isChangedSince(damageSince)) {
    oracle.count("read refused: its collection is being created");
    return "true";
  }
  const isOfFormer = asked.tokens.some((delta) => oracle.deltas.get(delta)?.writes == null);
  if (kind === "conflict" && message.includes("the token is of a former collection")) {
    if (!isOfFormer && !oracle.isChangedSince(cleanAt)) return wrong;
    oracle.count("read refused: its token is of a former collection");
    return "true";
  }
  const saysPlaced = kind === "unavailable" && message.includes("has been placed meanwhile");
  if (saysPlaced && (oracle.isChangedSince(damageSince) || oracle.isPointerLost(damageSince, message)))
    return "injected";
  if (!oracle.isChangedSince(cleanAt)) return wrong;
  if (kind === "conflict" && message.includes("was deleted and made again")) {
    oracle.count("read told that its collection was made again");
    return "injected";
  }
  // By another call of the same process, which has noticed.
  if (kind === "unavailable" && message.includes("its reader was closed")) return "injected";
  // Refused by the configuration that is known; or what it met was on its way out, and S3 did not say that it is gone.
  if (kind === "invalid" || kind === "corrupt") {
    oracle.count(`read met a change: ${kind}`);
    return "injected";
  }
  return wrong;
}

type Says = (oracle: Oracle, window: Judged, asked: Asked, message: string) => boolean;
/** What a read may say instead of an answer, when it is so. */
const reasons: readonly (readonly [string, ErrorKind, Says])[] = [
  ["nothing is published", "unavailable", saysNothingPublished],
  ["its version is too large", "unavailable", saysTooLarge],
  ["the backlog is too large", "unavailable", saysBacklogTooLarge],
  ["overtaken", "unavailable", saysOvertaken],
  ["a bad delta", "corrupt", saysBadDelta],
  ["its pointer is lost", "corrupt", saysPointerLost],
  ["its pointer is lost", "unavailable", saysPointerLost],
];

/** A lost pointer beside no manifest looks like one that is yet to come. */
function saysPointerLost(oracle: Oracle, { damageSince }: Judged, _: Asked, message: string): boolean {
  return oracle.isPointerLost(damageSince, message);
}

/** So it is when no shard owes the read a version; a read that promises writes has no business with it. */
function saysNothingPublished(oracle: Oracle, window: Judged, asked: Asked, message: string): boolean {
  if (!message.includes("nothing has been published")) return false;
  if (asked.consistency === "strong" || asked.tokens.length > 0) return false;
  return window.currentVersions.every((_, shard) => dueVersion(oracle, window, asked, shard) === 0);
}

/** What it could not hold is a version that may be read, or that with deltas over it, and really takes that much. */
function saysTooLarge(oracle: Oracle, window: Judged, asked: Asked, message: string): boolean {
  const [, name, needed, inUse, has] =
    /(\S+\/\d+) needs (\d+) bytes of cache beside (\d+) that are in use, this function has (\d+)/.exec(
      message,
    ) ?? [];
  if (name === undefined) return saysTooMuchOpen(asked, message);
  if (Number(has) !== asked.cacheBytesMax || Number(needed) + Number(inUse) <= asked.cacheBytesMax)
    return false;
  // Which versions are published after its configuration is gone, the oracle does not follow.
  if (oracle.isDeleted) return true;
  // One shard is beside itself in no other.
  if (window.currentVersions.length === 1 && Number(inUse) > 0) return false;
  const isLaidOver = asked.consistency === "strong" || asked.tokens.length > 0;
  // Behind a damaged version it may have been one before, for which there was no space.
  const isBehind = oracle.mayMeetDamage(asked.process, window.damageSince, "");
  const due = isBehind ? 0 : dueVersion(oracle, window, asked, Number(name.split("/")[1]));
  // Deltas over a view of nothing.
  if (isLaidOver && due === 0) return true;
  return [...oracle.shard(name).versions.values()].some(({ version, manifest }) => {
    if (version < due || manifest === null) return false;
    const bytes = heldBytes(manifest.segments);
    return bytes === Number(needed) || (isLaidOver && bytes < Number(needed));
  });
}

function saysTooMuchOpen({ cacheBytesMax }: Asked, message: string): boolean {
  const [, added, open, most] =
    /needs (\d+) bytes beside (\d+) that are open, this function has (\d+)/.exec(message) ?? [];
  return Number(most) === 2 * cacheBytesMax && Number(added) + Number(open) > Number(most);
}

/** There are that many deltas of which no version that may be read knows. */
function saysBacklogTooLarge(oracle: Oracle, window: Judged, asked: Asked, message: string): boolean {
  const [, name, deltas] = /(\S+\/\d+): (\d+) deltas of the backlog/.exec(message) ?? [];
  if (name === undefined || asked.consistency !== "strong" || Number(deltas) <= bounds.overlaidDeltas)
    return false;
  const oldest = oracle.shard(name).versions.get(currentVersion(oracle, window, Number(name.split("/")[1])));
  const unknown = [...oracle.deltas.values()].filter(
    ({ shard, delta }) => shard === name && !oldest?.included.has(delta),
  );
  return unknown.length >= Number(deltas);
}

/** Each time it looked, a delta that it had found was gone. */
function saysOvertaken(oracle: Oracle, window: Judged, { collection }: Asked, message: string): boolean {
  if (!message.includes("deltas are ingested faster than they can be read")) return false;
  const gone = [...oracle.deltas.values()].filter(
    ({ shard, goneAt }) => shard.startsWith(`${collection}/`) && goneAt !== null && goneAt > window.beganAt,
  );
  return gone.length >= looksMax - 1;
}

/** A read that promises writes cannot do without a delta that is damaged, beyond the horizon, or was put aside. */
function saysBadDelta(oracle: Oracle, _: Judged, { consistency, tokens }: Asked, message: string): boolean {
  if (consistency !== "strong" && tokens.length === 0) return false;
  const [delta] = /[0-9A-HJKMNP-TV-Z]{26}/.exec(message) ?? [];
  const known = oracle.deltas.get(delta ?? "");
  if (known === undefined) return false;
  const isOld = oracle.nowMs() - known.createdAtMs > horizonLeastMs;
  return known.writes === null || isOld || known.quarantinedAt !== null;
}
