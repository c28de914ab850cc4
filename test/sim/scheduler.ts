/**
 * Decides who goes on, when, and what goes wrong: one effect at a time.
 *
 * Every effect of every process waits at a gate. When the event loop has turned, all processes stand at gates (their
 * local work takes no time: synchronous-io.ts), the scheduler picks one by the seed, draws its fault, lets it happen,
 * and waits for the loop to turn again. Time is virtual; it moves a little with each step, jumps when all processes sleep,
 * and jumps far when a fault says so.
 */
import { createHash } from "node:crypto";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { horizonMs } from "../../lib/core/policy/time-bounds.ts";
import { Crash, describe, type Effect, type EffectHook, type Verdict } from "../support/effects.ts";
import type { MemoryClock } from "../support/memory/clock.ts";
import {
  beforeHorizonMs,
  clockOffEffects,
  clockRightEffects,
  clocksOffMs,
  commitPausesMs,
  drawFault,
  type FaultKind,
  type FaultRates,
  pausesMs,
} from "./faults.ts";
import type { Oracle } from "./oracle.ts";
import type { Chance } from "./random.ts";
import { localDisk, turn } from "./synchronous-io.ts";

/** Something that waits for its turn. */
interface Gate {
  readonly process: string;
  readonly what: string;
  readonly effect: Effect | null;
  readonly notBeforeMs: number;
  readonly open: (verdict: Verdict | undefined) => void;
  readonly fail: (error: Error) => void;
}
/** A write whose caller gave up waiting. */
interface Straggler {
  readonly dueMs: number;
  readonly what: string;
  readonly perform: () => Promise<unknown>;
}

export class Scheduler {
  readonly faults = new Map<FaultKind, number>();
  readonly trace: string[] = [];
  steps = 0;
  rates: FaultRates;
  /** Set when the faults are over: sleepers are woken, and loops end after what they are doing. */
  draining = false;
  readonly #chance: Chance;
  readonly #clock: MemoryClock;
  readonly #oracle: Oracle;
  readonly #jumpsMs: readonly number[];
  readonly #gates: Gate[] = [];
  readonly #stragglers: Straggler[] = [];
  /** GETs that were flipped when they were last to be. */
  readonly #flipped = new Set<string>();
  readonly #after = new Map<Effect, "crashAfter" | "wonUnnoticed" | "flipped" | "clockOff">();
  /** The clocks of the processes, and for how many more effects each is off; below zero, for how many it has been right. */
  readonly #clocks = new Map<string, { clock: MemoryClock; effectsOff: number }>();
  readonly #late = new Set<string>();
  /** Until when a process stands still. */
  readonly #frozen = new Map<string, number>();
  readonly #hash = createHash("sha256");
  #running = 0;

  constructor(world: {
    chance: Chance;
    clock: MemoryClock;
    oracle: Oracle;
    rates: FaultRates;
    jumpsMs: readonly number[];
  }) {
    this.#chance = world.chance;
    this.#clock = world.clock;
    this.#oracle = world.oracle;
    this.rates = world.rates;
    this.#jumpsMs = world.jumpsMs;
  }

  /** Hash over every step so far: two runs that did the same have the same. */
  traceHash(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Starts a process; an error that it lets out is a violation. */
  start(process: string, work: () => Promise<void>): void {
    this.#running += 1;
    void work()
      .catch((error: unknown) =>
        this.#oracle.violate(`${process} ended with ${(error as Error)?.stack ?? String(error)}`),
      )
      .finally(() => {
        this.#running -= 1;
      });
  }

  /** For effects(): every effect waits here for its turn. */
  hookOf(process: string): EffectHook {
    return (effect, moment) =>
      moment === "before"
        ? this.#wait(process, describe(effect), effect, 0)
        : this.#outcomeOf(process, effect);
  }

  /** The process has begun a new life, with this clock. */
  sets(process: string, clock: MemoryClock): void {
    this.#clocks.set(process, { clock, effectsOff: -clockRightEffects });
  }

  /** Waits without an effect: a process that thinks, or sleeps until its next round. */
  async idle(process: string, ms: number): Promise<void> {
    await this.#wait(process, `idle ${ms}`, null, this.#clock.nowMs() + ms);
  }

  /** Asked by the store below an effect: whether this write happens only later. Remembers how to do it then. */
  takesEffectLater(key: string, process: string, perform: () => Promise<unknown>): boolean {
    if (!this.#late.delete(`${process} ${key}`)) return false;
    const dueMs = this.#clock.nowMs() + this.#chance.pick([50, 5_000, 120_000]);
    this.#stragglers.push({ dueMs, what: `${process}: ${key} takes effect late`, perform });
    return true;
  }

  /** Runs until `stepsMax`, until all processes ended, or until a violation. */
  async run(stepsMax: number): Promise<void> {
    await turn();
    while (this.steps < stepsMax && this.#running > 0 && this.#oracle.violation === null) await this.step();
  }

  async step(): Promise<void> {
    this.steps += 1;
    this.#clock.advance(this.#chance.below(20));
    if (this.#chance.hits(this.rates.timeJump)) {
      const ms = this.#chance.pick(this.#jumpsMs);
      this.#note(`time jumps by ${ms / 3_600_000} h`, "timeJump");
      this.#clock.advance(ms);
    }
    if (this.#chance.hits(this.rates.horizonJump)) this.#jumpToHorizon();
    const straggler = this.#stragglers.findIndex(
      ({ dueMs }) => dueMs <= this.#clock.nowMs() || this.draining,
    );
    if (straggler >= 0) {
      const [{ what, perform }] = this.#stragglers.splice(straggler, 1) as [Straggler];
      this.#note(what, null);
      await perform();
    } else {
      this.#let(this.#next());
    }
    await turn();
    localDisk.isFull = false;
  }

  /** Only where a run knows jumps of that length. */
  #jumpToHorizon(): void {
    if (Math.max(...this.#jumpsMs) < horizonMs) return;
    const times = this.#oracle.timesJudgedByHorizon();
    if (times.length === 0) return;
    const wantedMs = this.#chance.pick(times) + horizonMs - this.#chance.pick(beforeHorizonMs);
    const ms = wantedMs - this.#clock.nowMs();
    if (ms <= 0) return;
    this.#note(`time jumps by ${ms / 3_600_000} h, to the horizon`, "horizonJump");
    this.#clock.advance(ms);
  }

  #next(): Gate {
    const dueMs = ({ process, notBeforeMs }: Gate) =>
      Math.max(notBeforeMs, this.#frozen.get(process) ?? Number.NEGATIVE_INFINITY);
    const ready = () => this.#gates.filter((gate) => this.draining || dueMs(gate) <= this.#clock.nowMs());
    let gates = ready();
    if (gates.length === 0) {
      const soonest = Math.min(...this.#gates.map(dueMs));
      if (!Number.isFinite(soonest))
        throw new Error("the simulator is stuck: a process waits for something that is no effect");
      this.#clock.advance(Math.max(0, soonest - this.#clock.nowMs()));
      gates = ready();
    }
    // First who, then what: a process with many effects under way is not faster for it.
    const processes = [...new Set(gates.map(({ process }) => process))];
    const process = this.#chance.pick(processes);
    const gate = this.#chance.pick(gates.filter((one) => one.process === process));
    this.#gates.splice(this.#gates.indexOf(gate), 1);
    return gate;
  }

  #let(gate: Gate): void {
    const { effect, process } = gate;
    if (effect !== null) this.#setRight(process);
    const fault = effect === null ? null : drawFault(this.#chance, this.rates, { process, effect });
    this.#note(`${process}: ${gate.what}`, fault);
    switch (fault) {
      case "crashBefore":
        this.#crash(gate, new Crash(`before ${gate.what}`));
        break;
      case "refused":
        gate.open({ kind: "refuse" });
        break;
      case "answerLost":
        gate.open({ kind: "loseAnswer" });
        break;
      case "spurious":
        gate.open({ kind: "answer", value: { kind: "preconditionFailed" } });
        break;
      case "pause":
        this.#gates.push({ ...gate, notBeforeMs: this.#clock.nowMs() + this.#chance.pick(pausesMs) });
        break;
      case "diskFull":
        localDisk.isFull = true;
        this.#oracle.diskFilled(process);
        gate.open(undefined);
        break;
      case "freeze":
        this.#frozen.set(process, this.#clock.nowMs() + this.#chance.pick([...pausesMs, ...this.#jumpsMs]));
        this.#gates.push(gate);
        break;
      case "commitPause":
        this.#sleepAtCommit(gate);
        break;
      case "lateDelete":
      case "late":
        this.#late.add(`${process} ${effect!.key}`);
        gate.open(undefined);
        break;
      case "crashAfter":
      case "flipped":
      case "wonUnnoticed":
      case "clockOff":
        this.#after.set(effect!, fault);
        gate.open(undefined);
        break;
      default:
        gate.open(undefined);
    }
  }

  /** Half the time the others do nothing meanwhile either, and have a quarter of an hour before he wakes up. */
  #sleepAtCommit(gate: Gate): void {
    const ms = this.#chance.pick(commitPausesMs);
    const isQuiet = this.#chance.hits(0.5);
    if (isQuiet) this.#clock.advance(ms);
    const leftMs = isQuiet ? this.#chance.pick([60_000, 900_000, 3_600_000]) : ms;
    this.#gates.push({ ...gate, notBeforeMs: this.#clock.nowMs() + leftMs });
  }

  #outcomeOf(process: string, effect: Effect): Verdict | undefined {
    const outcome = this.#after.get(effect);
    this.#after.delete(effect);
    if (outcome === "crashAfter") {
      this.release(process);
      throw new Crash(`after ${describe(effect)}`);
    }
    if (outcome === "clockOff") this.#setOff(process);
    if (outcome === "wonUnnoticed") return { kind: "answer", value: { kind: "preconditionFailed" } };
    if (outcome === "flipped" && this.#flipsNow(`${process} ${effect.key}`)) {
      this.#oracle.flipped(process);
      return { kind: "flip", at: this.#chance.real() };
    }
    return undefined;
  }

  /** What does not prove itself is read twice: no object comes damaged to a process twice in a row. */
  #flipsNow(get: string): boolean {
    if (this.#flipped.delete(get)) return false;
    this.#flipped.add(get);
    return true;
  }

  #setOff(process: string): void {
    const known = this.#clocks.get(process)!;
    if (known.effectsOff > -clockRightEffects) return;
    known.clock.offMs = this.#chance.pick(clocksOffMs);
    known.effectsOff = this.#chance.pick(clockOffEffects);
  }
  /** Between an effect and the next, the process has seen the wrong time; the next may meet the right one again. */
  #setRight(process: string): void {
    const known = this.#clocks.get(process)!;
    known.effectsOff -= 1;
    if (known.effectsOff <= 0 || this.draining) known.clock.offMs = 0;
  }

  /** Everything else that the process has under way is let go at once: it meets its own death. */
  #crash(gate: Gate, crash: Crash): void {
    gate.fail(crash);
    this.release(gate.process);
  }
  release(process: string): void {
    for (const other of this.#gates.filter((one) => one.process === process)) {
      this.#gates.splice(this.#gates.indexOf(other), 1);
      other.open(undefined);
    }
  }

  #wait(
    process: string,
    what: string,
    effect: Effect | null,
    notBeforeMs: number,
  ): Promise<Verdict | undefined> {
    return new Promise((open, fail) => this.#gates.push({ process, what, effect, notBeforeMs, open, fail }));
  }

  #note(what: string, fault: FaultKind | null): void {
    if (fault !== null) this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
    const line = `${this.#clock.nowMs()} ${what}${fault === null ? "" : ` !${fault}`}`;
    this.#hash.update(line).update("\n");
    this.trace.push(line);
  }
  /** Something that a process wants to have in the trace. */
  remark(what: string): void {
    this.#note(`  ${what}`, null);
  }
  countFault(kind: FaultKind): void {
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
  }
}

/** The error of a write that takes effect later. */
export const timedOut = (key: string): SiltstoneError =>
  new SiltstoneError("uncertain", `injected: ${key}: timed out`);
