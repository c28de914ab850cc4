/** What goes wrong, how often, and what is done to an effect when its turn comes. */
import type { Effect } from "../support/effects.ts";
import type { Chance } from "./random.ts";

/**
 * - `crashBefore`, `crashAfter`: the process dies and starts again.
 * - `refused`: a clear refusal (503): it did not happen.
 * - `answerLost`: it happened, the answer did not arrive.
 * - `flipped`: a GET is answered with one bit another.
 * - `late`: a conditional PUT timed out, and takes effect some time later.
 * - `spurious`: a conditional PUT is refused (409) although its condition holds.
 * - `wonUnnoticed`: a conditional PUT took effect, and the retry below it met its own object (412).
 * - `lateDelete`: a DELETE timed out, and takes effect some time later.
 * - `diskFull`: until its next effect, the process can write no local file.
 * - `pause`: one effect takes up to a day and more; what else the process does meanwhile goes on.
 * - `freeze`: the whole process stands still, for seconds to weeks, and goes on as if nothing had been.
 * - `commitPause`: it falls asleep just before the pointer's PUT, or a delta's, for an hour to a day: the zombie writer.
 * - `messageLost`, `messageTwice`, `messageLate`: what SQS may do.
 * - `clockOff`: the clock of a process that writes is hours ahead or behind, from after an effect until a few effects
 *   later. The store refuses what it asks for meanwhile, as S3 does.
 * - `timeJump`: hours or days pass for everyone.
 * - `horizonJump`: time passes until a delta, or a tombstone that is kept, is about as old as the horizon.
 */
export const faultKinds = [
  "crashBefore",
  "crashAfter",
  "refused",
  "answerLost",
  "flipped",
  "diskFull",
  "late",
  "lateDelete",
  "spurious",
  "wonUnnoticed",
  "pause",
  "freeze",
  "commitPause",
  "messageLost",
  "messageTwice",
  "messageLate",
  "clockOff",
  "timeJump",
  "horizonJump",
] as const;
export type FaultKind = (typeof faultKinds)[number];
/** Probability by kind: of an effect, of a message, or (timeJump) of a step. */
export type FaultRates = Readonly<Record<FaultKind, number>>;

export const noFaults: FaultRates = Object.fromEntries(faultKinds.map((kind) => [kind, 0])) as FaultRates;

/** Every run has fault rates of its own: some kinds often, some never. */
export function drawRates(chance: Chance): FaultRates {
  const rate = (most: number) => (chance.hits(0.3) ? 0 : most * chance.real() ** 2);
  return {
    crashBefore: rate(0.02),
    crashAfter: rate(0.02),
    refused: rate(0.04),
    answerLost: rate(0.05),
    flipped: rate(0.02),
    diskFull: rate(0.02),
    late: rate(0.1),
    lateDelete: rate(0.1),
    spurious: rate(0.1),
    wonUnnoticed: rate(0.1),
    pause: rate(0.04),
    freeze: rate(0.01),
    commitPause: rate(0.3),
    messageLost: rate(0.5),
    messageTwice: rate(0.5),
    messageLate: rate(0.5),
    clockOff: rate(0.04),
    timeJump: rate(0.004),
    horizonJump: rate(0.005),
  };
}

/** A dead reader leaves nothing behind, and its question without a verdict: it dies less often than those who write. */
const readerDeaths = 0.2;

/** The fault that meets an effect of a process; null for none. */
export function drawFault(
  chance: Chance,
  rates: FaultRates,
  { process, effect }: { process: string; effect: Effect },
): FaultKind | null {
  const isReader = process.startsWith("reader");
  const deaths = isReader ? readerDeaths : 1;
  if (chance.hits(rates.crashBefore * deaths)) return "crashBefore";
  if (chance.hits(rates.crashAfter * deaths)) return "crashAfter";
  if (chance.hits(rates.refused)) return "refused";
  if (chance.hits(rates.answerLost)) return "answerLost";
  const reads = effect.operation === "get" && effect.port === "store";
  if (reads && chance.hits(rates.flipped)) return "flipped";
  if (reads && chance.hits(rates.diskFull)) return "diskFull";
  if (chance.hits(rates.pause)) return "pause";
  if (!isReader && chance.hits(rates.clockOff)) return "clockOff";
  if (chance.hits(rates.freeze)) return "freeze";
  const isDelta = effect.key.includes("/deltas/");
  const commits = effect.operation === "put" && (isDelta || effect.key.endsWith("/pointer.json"));
  if (commits && chance.hits(rates.commitPause * (isDelta ? 0.2 : 1))) return "commitPause";
  if (effect.port === "store" && effect.operation === "delete" && chance.hits(rates.lateDelete))
    return "lateDelete";
  if (!effect.conditional) return null;
  if (chance.hits(rates.late)) return "late";
  if (chance.hits(rates.spurious)) return "spurious";
  if (chance.hits(rates.wonUnnoticed)) return "wonUnnoticed";
  return null;
}

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
/** How long a process sleeps: within its lease, past it, past a producer's bound, past retention, past the orphans' age. */
export const pausesMs = [
  second,
  20 * second,
  70 * second,
  5 * minute,
  20 * minute,
  70 * minute,
  3 * hour,
  26 * hour,
];
export const commitPausesMs = [70 * minute, 3 * hour, 26 * hour];
/**
 * By how much a clock is off, and for how many of its process's effects; and for how many it is right then, at least: a
 * clock that is set twice within one request is beyond the protocol.
 */
export const clocksOffMs = [-26 * hour, -3 * hour, -70 * minute, 70 * minute, 3 * hour, 26 * hour];
export const clockOffEffects = [1, 1, 2, 5, 20];
export const clockRightEffects = 20;
export const jumpsMs = [minute, 20 * minute, 70 * minute, 7 * hour, 26 * hour];
/** What is left to the horizon: less than any clock's error, a batch's time, the hour that tombstones are kept longer, and more. */
export const beforeHorizonMs = [70, 40, 20, 10, 1, -10, -40, -55, -70].map((minutes) => minutes * minute);
/** Where rows are versioned by arrival, also past the horizon of deletes. */
export const longJumpsMs = [...jumpsMs, 9 * 24 * hour, 31 * 24 * hour, 45 * 24 * hour];
