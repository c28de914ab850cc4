/**
 * Savers, workers, sweeps and people over one table, interleaved at every effect by a seed: workers are killed, or sleep through all
 * that comes, messages are delivered twice and late, time jumps past leases and past a record's expiry. Judged are:
 *
 * - I15, at every delta that is put and every job that is finished: no row of an older save than the one that was finished is visible;
 * - at the end, when all has been worked off: of every item the chunks of its last save are visible, each once, and no others;
 *   also after those who slept through it have woken.
 */
import { decodeDelta } from "../../lib/core/format/delta.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { compareOrder, type Row } from "../../lib/core/model/row.ts";
import type { ObjectStore } from "../../lib/engine/ports.ts";
import { cancelJob, retryJob } from "../../lib/jobs/administer.ts";
import type { Item } from "../../lib/jobs/item.ts";
import type { JobTable } from "../../lib/jobs/ports.ts";
import { saveItems } from "../../lib/jobs/save.ts";
import { sweep } from "../../lib/jobs/sweep.ts";
import { decodeWake } from "../../lib/jobs/wake.ts";
import { type WorkWorld, work } from "../../lib/jobs/work.ts";
import { random } from "../support/memory/clock.ts";
import { type JobTestWorld, jobWorld, textOf, visible } from "./job-world.ts";

const minute = 60_000;
const day = 24 * 60 * minute;
const itemNames = ["a", "b"];
const actorsMax = 5;

/** Those who wait for their next effect, or for its answer. */
interface Waiting {
  readonly actor: Actor;
  readonly resume: () => void;
}
interface Actor {
  readonly name: string;
  /** Sleeps until the very end. */
  isFrozen: boolean;
}

export async function simulate(seed: number, steps = 220): Promise<string[]> {
  const simulation = new Simulation(await jobWorld({ seed }), random(seed));
  await simulation.run(steps);
  return simulation.faults;
}

class Simulation {
  readonly faults: string[] = [];
  readonly #world: JobTestWorld;
  readonly #random: () => number;
  readonly #waiting: Waiting[] = [];
  /** Every message ever sent: each may come again. */
  readonly #messages: string[] = [];
  /** What each job was saved with: null for a delete. */
  readonly #texts = new Map<string, string | null>();
  readonly #fold = new Map<string, Row>();
  readonly #finished = new Map<string, number>();
  #running = 0;
  #actors = 0;

  constructor(world: JobTestWorld, random: () => number) {
    this.#world = world;
    this.#random = random;
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      await this.#step();
      if (step !== Math.floor(steps / 2)) continue;
      // Records that may go are gone then.
      await this.#workOff();
      this.#world.memory.clock.advance(41 * day);
    }
    await this.#workOff();
    this.#judgeEnd("when all was worked off");
    for (const { actor } of this.#waiting) actor.isFrozen = false;
    // What they put now was older than what is finished; what they save now is worked off as well.
    await this.#finishAll();
    await this.#workOff();
    this.#judgeEnd("after those who slept have woken");
  }

  async #step(): Promise<void> {
    const { clock } = this.#world.memory;
    const dice = this.#random();
    if (dice < 0.02) clock.advance(31 * minute);
    else if (dice < 0.025) clock.advance(41 * day);
    else clock.advance(Math.floor(this.#random() * 40));
    const awake = this.#awake();
    if (awake.length > 0 && (this.#running >= actorsMax || this.#random() < 0.75))
      await this.#resume(this.#pick(awake));
    else this.#begin();
    await settled();
  }

  #begin(): void {
    const dice = this.#random();
    const item = this.#pick(itemNames);
    if (dice < 0.4) this.#start("saver", (world) => this.#save(world, item));
    else if (dice < 0.9) this.#start("worker", (world, name) => this.#work(world, name));
    else if (dice < 0.95) this.#start("sweep", (world) => sweep(world, {}));
    else this.#start("person", (world) => this.#cancelOrRetry(world, item));
  }

  async #save(world: WorkWorld, item: string): Promise<void> {
    const isDelete = this.#random() < 0.2;
    const text = textOf(
      `w${Math.floor(this.#random() * 1e9).toString(36)}`,
      1 + Math.floor(this.#random() * 3),
    );
    const given = isDelete ? { id: item, operation: "delete" } : { id: item, text };
    const { items } = await saveItems(world, { collection: "notes", items: [given] });
    const job = items[0]?.job ?? null;
    if (job !== null) this.#texts.set(job, isDelete ? null : text);
  }

  async #work(world: WorkWorld, owner: string): Promise<void> {
    const keys = Array.from(
      { length: 3 },
      () => this.#messages[Math.floor(this.#random() * this.#messages.length)],
    )
      .filter((body) => body !== undefined)
      .map((body) => decodeWake(body) as { collectionId: string; item: string });
    await work(world, keys, { owner, untilMs: Number.MAX_SAFE_INTEGER });
  }

  async #cancelOrRetry(world: WorkWorld, item: string): Promise<void> {
    const record = this.#world.table.all.find((one) => one.item === item);
    if (record === undefined) return;
    if (this.#random() < 0.6) await cancelJob(world, record);
    else await retryJob(world, record, { force: true }).catch(() => {});
  }

  /** Until nothing waits: those who sleep, sleep on. */
  async #workOff(): Promise<void> {
    for (let round = 0; round < 40; round++) {
      await this.#finishAll();
      const { memory, table } = this.#world;
      memory.clock.advance(31 * minute);
      const undone = table.all.filter(({ status }) => status !== "completed");
      if (undone.length === 0) return;
      for (const item of undone)
        this.#start("person", (world) => retryJob(world, item, { force: true }).catch(() => {}), true);
      this.#start("sweep", (world) => sweep(world, { all: true }), true);
      await this.#finishAll();
      this.#start(
        "worker",
        (world, owner) => work(world, table.all, { owner, untilMs: Number.MAX_SAFE_INTEGER }),
        true,
      );
    }
    this.faults.push("work does not come to an end");
  }

  async #finishAll(): Promise<void> {
    for (let awake = this.#awake(); awake.length > 0; awake = this.#awake()) {
      await this.#resume(this.#pick(awake));
      await settled();
    }
  }

  #awake(): Waiting[] {
    return this.#waiting.filter(({ actor }) => !actor.isFrozen);
  }

  async #resume(one: Waiting): Promise<void> {
    this.#waiting.splice(this.#waiting.indexOf(one), 1);
    one.resume();
  }

  #start(kind: string, act: (world: WorkWorld, name: string) => Promise<unknown>, isSafe = false): void {
    const dice = isSafe ? 1 : this.#random();
    const actor: Actor = { name: `${kind}-${++this.#actors}`, isFrozen: false };
    // Killed or put to sleep at one of its effects.
    const at = 1 + Math.floor(this.#random() * 24);
    let turns = 0;
    const turn = async (): Promise<void> => {
      turns++;
      if (turns === at && dice < 0.15) {
        this.#running--;
        await new Promise(() => {});
      }
      if (turns === at && dice < 0.4) {
        actor.isFrozen = true;
        this.#running--;
      }
      await new Promise<void>((resume) => this.#waiting.push({ actor, resume }));
    };
    this.#running++;
    void act(this.#worldOf(turn), actor.name).then(
      () => this.#running--,
      (error: unknown) => {
        this.#running--;
        this.faults.push(`${actor.name}: ${error}`);
      },
    );
  }

  /** The world in the hands of one actor: a turn before each effect, and one before its answer. */
  #worldOf(turn: () => Promise<void>): WorkWorld {
    const { memory, table, wake } = this.#world;
    const inTurns = <T>(effect: () => Promise<T>): Promise<T> =>
      turn().then(async () => {
        const answer = await effect();
        await turn();
        return answer;
      });
    const clock = memory.clock.fork({
      seed: ++this.#actors,
      skewMs: Math.floor((this.#random() - 0.5) * 4 * minute),
    });
    const turned = <T extends object>(
      target: T,
      names: readonly string[],
      after = (_: string, __: unknown[]) => {},
    ): T =>
      new Proxy(target, {
        get: (of, name) => {
          const value: unknown = Reflect.get(of, name);
          if (typeof value !== "function") return value;
          const call = (...args: unknown[]): unknown => value.apply(of, args);
          if (!names.includes(String(name))) return call;
          return (...args: unknown[]) =>
            inTurns(async () => {
              const answer = await (call(...args) as Promise<unknown>);
              after(String(name), args);
              return answer;
            });
        },
      });
    return {
      table: turned<JobTable>(table, ["read", "swap"], (name, args) => {
        if (name === "swap") this.#judgeFinish(args[1] as Item);
      }),
      store: turned<ObjectStore>(memory.store, ["get", "put", "delete"], (name, args) => {
        if (name === "put") this.#judgePut(String(args[0]));
      }),
      wake: {
        send: (priority, bodies) =>
          inTurns(async () => {
            this.#messages.push(...bodies);
            await wake.send(priority, bodies);
          }),
      },
      embed: (...asked) => inTurns(() => this.#world.embed(...asked)),
      embedder: null,
      ...{ queue: memory.queue, clock, random: this.#random, settings: this.#world.settings },
    };
  }

  #judgePut(key: string): void {
    if (!key.includes("/deltas/")) return;
    const body = this.#world.memory.store.bytes(key)!;
    for (const row of decodeDelta(body, { key, delta: deltaId(key.slice(-32, -6)) }).rows) {
      const known = this.#fold.get(row.id);
      if (known === undefined || compareOrder(row, known) > 0) this.#fold.set(row.id, row);
    }
    this.#judgeVisible(`after ${key} was put`);
  }

  #judgeFinish(item: Item): void {
    const now = this.#world.table.all.find((one) => one.stamp === item.stamp);
    if (now?.status !== "completed") return;
    this.#finished.set(now.item, Math.max(now.version, this.#finished.get(now.item) ?? 0));
    this.#judgeVisible(`when revision ${now.revision} of ${now.item} was finished`);
  }

  #judgeVisible(when: string): void {
    for (const { vector, metadata, version } of this.#fold.values()) {
      if (vector === null) continue;
      const { item, chunk } = JSON.parse(metadata!) as { item: string; chunk: number };
      const finished = this.#finished.get(item) ?? 0;
      if (version < finished)
        this.faults.push(
          `I15 ${when}: chunk ${chunk} of ${item} of version ${version}, finished is ${finished}`,
        );
    }
  }

  #judgeEnd(when: string): void {
    const seen = visible(this.#world);
    for (const name of itemNames) {
      const record = this.#world.table.all.find((one) => one.item === name);
      const chunks = seen[name] ?? [];
      if (record !== undefined && !this.#texts.has(record.job)) continue; // Its saver died before it was answered.
      const text = record === undefined ? null : this.#texts.get(record.job)!;
      if (chunks.join("") !== (text ?? ""))
        this.faults.push(
          `${name} ${when}: ${chunks.length} chunks, and not those of the last save (${record?.status})`,
        );
    }
  }

  #pick<T>(all: readonly T[]): T {
    return all[Math.floor(this.#random() * all.length)]!;
  }
}

/** Until everybody waits for a turn, or is done. */
const settled = (): Promise<void> => new Promise((passed) => setImmediate(passed));
