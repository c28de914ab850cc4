/** Why a job is where it is, in words, with what to do: what `silt jobs debug` says of one item. */
import type { Judged } from "./embed-all/judge.ts";
import { isActive } from "./item.ts";
import type { JobSettings } from "./settings.ts";
import { deathsMax } from "./transitions.ts";

export interface Finding {
  readonly said: string;
  /** Null where nothing is to be done. */
  readonly advice: string | null;
}

interface Explained {
  /** False where its collection was deleted. */
  readonly isThere: boolean;
  readonly settings: JobSettings;
  readonly nowMs: number;
}

/** Beyond this after its time nobody has begun a job: neither a message nor a sweep came. */
const lateMs = 5 * 60_000;

const inSeconds = (ms: number): string => `${Math.max(0, Math.round(ms / 1_000))} s`;

export function explain(
  { item, standing, reason }: Judged,
  { isThere, settings, nowMs }: Explained,
): Finding[] {
  const reasons: Finding[] = [];
  const say = (said: string, advice: string | null = null) => reasons.push({ said, advice });
  if (!isThere) say(`collection ${item.collection} was deleted`, "silt jobs cleanup");
  if (reason !== undefined) say(`unreadable: ${reason}`, "save the item again");
  if (isActive(item)) ofActive();
  if (item.status === "failed") {
    const { kind, message } = item.error ?? { kind: "unknown", message: "" };
    say(
      `failed after ${item.attempts} of ${item.attemptsMax} attempts: ${kind}: ${message}`,
      `silt jobs retry ${item.job} --force`,
    );
  }
  if (item.status === "cancelled")
    say(`cancelled: ${item.error?.message ?? ""}`, `silt jobs retry ${item.job} --force`);
  if (isThere && item.status === "completed" && (standing === "stale" || standing === "without"))
    say(
      `completed, but its chunks are not as it left them (${standing})`,
      `silt embed-all ${item.collection} run`,
    );
  if (reasons.length === 0) say("completed, and every chunk is there");
  return reasons;

  function ofActive(): void {
    if (settings.state !== "running") say(`work is ${settings.state}`, "silt jobs resume");
    if (settings.inCall.includes(item.collectionId))
      say("its collection embeds in the call: no worker takes it", `silt embed-all ${item.collection} run`);
    if (item.deaths > 0)
      say(`${item.deaths} of its runs ended without a word, at most ${deathsMax} may`, "silt logs embedder");
    if (item.error !== null) say(`its last run said: ${item.error.kind}: ${item.error.message}`);
    if (item.status === "processing") {
      const leftMs = (item.lease?.untilMs ?? 0) - nowMs;
      if (leftMs > 0) say(`a run has it for ${inSeconds(leftMs)} more: ${item.lease!.owner}`);
      else
        say(
          `its run is over since ${inSeconds(-leftMs)}: the next sweep gives it to another`,
          "silt jobs cleanup-stuck",
        );
      return;
    }
    const dueMs = item.scheduledAtMs - nowMs;
    if (dueMs > 0) say(`it is due in ${inSeconds(dueMs)}`);
    else if (nowMs - item.wakeAtMs > lateMs)
      say(`it is due since ${inSeconds(-dueMs)}, and no sweep has come`, "silt logs embedder");
    else say(`it is due since ${inSeconds(-dueMs)}, and was told of to its queue: others are before it`);
  }
}
