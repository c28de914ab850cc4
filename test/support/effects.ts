/**
 * Fault injection: a world whose every single effect passes a hook before and after it happens.
 *
 * Effects are numbered from 1 in the order in which they begin. A list's every page is one effect (so is the step that
 * finds its end), a delete of many keys or messages is one effect for each of them: a real batch can stop half way.
 * `nowMs` and `ulid` are no effects, since nothing outside the process sees them.
 *
 * A hook that throws `Crash` ends the process: from then on every call on this wrapped world, also one that was under
 * way, throws Crash. The world below lives on; wrap it again to get the process that starts next.
 */
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import type {
  Clock,
  DeltaQueue,
  LeaseTable,
  ObjectEntry,
  ObjectStore,
  World,
} from "../../lib/engine/ports.ts";

export interface Effect {
  readonly port: "store" | "queue" | "leases" | "clock";
  /** Name of the port's method. */
  readonly operation: string;
  /** Key or prefix, message body, lease name; empty where there is none. */
  readonly key: string;
  /** Number of the effect in this wrapped world, from 1. */
  readonly index: number;
  /** A conditional put: the only effect that can be answered with preconditionFailed. */
  readonly conditional?: boolean;
  /** Whether a lost answer is `uncertain` (a write) or `unavailable` (a read). */
  readonly writes: boolean;
}

/**
 * What a hook makes of an effect. Nothing: it goes its way.
 * - `refuse` (before): it does not happen, and throws `unavailable`.
 * - `loseAnswer` (before or after): it happens, and throws `uncertain`, or `unavailable` when it is a read.
 * - `answer`: before, it does not happen and this is answered; after, this is answered instead of the truth.
 * - `flip` (after): of the bytes that a GET found, one bit is another one on the way; `at` says which, from 0 to 1.
 */
export type Verdict =
  | { readonly kind: "refuse" }
  | { readonly kind: "loseAnswer" }
  | { readonly kind: "answer"; readonly value: unknown }
  | { readonly kind: "flip"; readonly at: number };
export type Moment = "before" | "after";
export type EffectHook = (
  effect: Effect,
  moment: Moment,
) => Promise<Verdict | undefined> | Verdict | undefined;

/** The process is dead. Not a SiltstoneError, so that no code takes it for an outcome and goes on. */
export class Crash extends Error {
  constructor(where: string) {
    super(`the process died ${where}`);
    this.name = "Crash";
  }
}

/** A store's answer that a condition failed although it held, or although the write was done. */
export const preconditionFailed: Verdict = { kind: "answer", value: { kind: "preconditionFailed" } };

/** Dies at one moment of one effect: the enumeration of crash points counts `index` up until a run ends alive. */
export function crashAt(index: number, moment: Moment): EffectHook {
  return (effect, now) => {
    if (effect.index === index && now === moment) throw new Crash(`${moment} ${describe(effect)}`);
  };
}

export const describe = (effect: Effect): string =>
  `effect ${effect.index}, ${effect.port}.${effect.operation} ${effect.key}`;

export type WithEffects<W extends World> = Omit<W, keyof World> & World & { readonly effects: EffectLog };
export interface EffectLog {
  /** Effects that began, in order. */
  readonly begun: readonly Effect[];
  /** True after a Crash. */
  readonly dead: boolean;
}

export function effects<W extends World>(world: W, hook: EffectHook): WithEffects<W> {
  const process = new Process(hook);
  return {
    ...world,
    store: storeWithEffects(world.store, process),
    queue: queueWithEffects(world.queue, process),
    leases: leasesWithEffects(world.leases, process),
    clock: clockWithEffects(world.clock, process),
    effects: process,
  };
}

class Process implements EffectLog {
  readonly begun: Effect[] = [];
  readonly #hook: EffectHook;
  #death: Crash | null = null;

  constructor(hook: EffectHook) {
    this.#hook = hook;
  }
  get dead(): boolean {
    return this.#death !== null;
  }
  alive(): void {
    if (this.#death) throw this.#death;
  }

  async run<T>(kind: Omit<Effect, "index">, perform: () => Promise<T>): Promise<T> {
    this.alive();
    const effect: Effect = { ...kind, index: this.begun.length + 1 };
    this.begun.push(effect);
    const before = await this.#ask(effect, "before");
    if (before?.kind === "answer") return before.value as T;
    if (before?.kind === "refuse")
      throw new SiltstoneError("unavailable", `injected: ${describe(effect)} was refused`);
    const answer = await perform().finally(() => this.alive());
    const after = await this.#ask(effect, "after");
    if (after?.kind === "answer") return after.value as T;
    if (after?.kind === "flip") return flipped(answer, after.at);
    if (before?.kind === "loseAnswer" || after?.kind === "loseAnswer") {
      const lost = effect.writes ? "uncertain" : "unavailable";
      throw new SiltstoneError(lost, `injected: the answer to ${describe(effect)} was lost`);
    }
    return answer;
  }

  async #ask(effect: Effect, moment: Moment): Promise<Verdict | undefined> {
    try {
      const verdict = (await this.#hook(effect, moment)) ?? undefined;
      this.alive();
      return verdict;
    } catch (error) {
      if (error instanceof Crash) this.#death ??= error;
      throw error;
    }
  }
}

function flipped<T>(answer: T, at: number): T {
  const { body } = answer as { body?: Buffer };
  if (body === undefined || body.length === 0) return answer;
  const bit = Math.floor(at * body.length * 8);
  const bytes = Buffer.from(body);
  bytes[bit >> 3]! ^= 1 << (bit & 7);
  return { ...answer, body: bytes };
}

function storeWithEffects(store: ObjectStore, process: Process): ObjectStore {
  const read = (operation: string, key: string) =>
    ({ port: "store", operation, key, writes: false }) as const;
  const write = (operation: string, key: string) =>
    ({ port: "store", operation, key, writes: true }) as const;
  return {
    get: (key, options) => process.run(read("get", key), () => store.get(key, options)),
    getBounded: (key, bytesMax) => process.run(read("get", key), () => store.getBounded(key, bytesMax)),
    head: (key) => process.run(read("head", key), () => store.head(key)),
    put: (key, body, condition) =>
      process.run({ ...write("put", key), conditional: condition !== undefined }, () =>
        store.put(key, body, condition),
      ),
    putFile: (key, path) => process.run(write("putFile", key), () => store.putFile(key, path)),
    copy: (from, to) => process.run(write("copy", to), () => store.copy(from, to)),
    async *list(prefix, options): AsyncIterable<readonly ObjectEntry[]> {
      const pages = store.list(prefix, options)[Symbol.asyncIterator]();
      for (;;) {
        const step = await process.run(read("list", prefix), () => pages.next());
        if (step.done) return;
        yield step.value;
      }
    },
    listLevel: (prefix) => process.run(read("listLevel", prefix), () => store.listLevel(prefix)),
    async delete(keys): Promise<void> {
      for (const key of keys) await process.run(write("delete", key), () => store.delete([key]));
    },
  };
}

function queueWithEffects(queue: DeltaQueue, process: Process): DeltaQueue {
  const effect = (operation: string, key: string) =>
    ({ port: "queue", operation, key, writes: true }) as const;
  return {
    async send(...bodies): Promise<void> {
      for (const body of bodies) await process.run(effect("send", body), () => queue.send(body));
    },
    receive: () => process.run({ ...effect("receive", ""), writes: false }, () => queue.receive()),
    async delete(messages): Promise<void> {
      for (const message of messages) {
        await process.run(effect("delete", message.body), () => queue.delete([message]));
      }
    },
    deadLetter: (message, reason) =>
      process.run(effect("deadLetter", message.body), () => queue.deadLetter(message, reason)),
  };
}

function leasesWithEffects(leases: LeaseTable, process: Process): LeaseTable {
  const effect = (operation: string, key: string) =>
    ({ port: "leases", operation, key, writes: true }) as const;
  return {
    acquire: (name, request) => process.run(effect("acquire", name), () => leases.acquire(name, request)),
    extend: (lease, request) =>
      process.run(effect("extend", lease.name), () => leases.extend(lease, request)),
    release: (lease) => process.run(effect("release", lease.name), () => leases.release(lease)),
    read: (name) => process.run({ ...effect("read", name), writes: false }, () => leases.read(name)),
    forceRelease: (name, expected) =>
      process.run(effect("forceRelease", name), () => leases.forceRelease(name, expected)),
    note: (name, value) => process.run(effect("note", name), () => leases.note(name, value)),
    readNote: (name) =>
      process.run({ ...effect("readNote", name), writes: false }, () => leases.readNote(name)),
  };
}

function clockWithEffects(clock: Clock, process: Process): Clock {
  return {
    nowMs() {
      process.alive();
      return clock.nowMs();
    },
    ulid() {
      process.alive();
      return clock.ulid();
    },
    atMost: (ms, work) => clock.atMost(ms, work),
    sleep: (ms) =>
      process.run({ port: "clock", operation: "sleep", key: String(ms), writes: false }, () =>
        clock.sleep(ms),
      ),
  };
}
