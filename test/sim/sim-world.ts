/** The ports below the injected faults: the store in memory, watched by the oracle, and a queue that does what SQS may do. */
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { clockSkewMaxMs } from "../../lib/core/policy/time-bounds.ts";
import type {
  DeltaQueue,
  LeaseTable,
  ObjectStore,
  PutCondition,
  QueueMessage,
  World,
} from "../../lib/engine/ports.ts";
import type { MemoryClock } from "../support/memory/clock.ts";
import type { MemoryWorld } from "../support/memory/world.ts";
import type { Oracle } from "./oracle.ts";
import type { Chance } from "./random.ts";
import { type Scheduler, timedOut } from "./scheduler.ts";

/** A write that is answered `uncertain` now and happens later; false to let it happen now. */
export type TakesEffectLater = (key: string, perform: () => Promise<unknown>) => boolean;

/** The store as the oracle sees it: what it hears has happened. */
export function watchedStore(
  store: ObjectStore,
  oracle: Oracle,
  later: TakesEffectLater = () => false,
): ObjectStore {
  const put = async (key: string, body: Uint8Array, condition?: PutCondition) => {
    const result = await store.put(key, body, condition);
    if (result.kind === "written") oracle.written(key, Buffer.from(body));
    return result;
  };
  return {
    get: (key, options) => store.get(key, options),
    getBounded: (key, bytesMax) => store.getBounded(key, bytesMax),
    head: (key) => store.head(key),
    async put(key, body, condition) {
      if (condition !== undefined && later(key, () => put(key, Buffer.from(body), condition)))
        throw timedOut(key);
      return put(key, body, condition);
    },
    async putFile(key, path) {
      await store.putFile(key, path);
      oracle.written(key, Buffer.alloc(0));
    },
    async copy(from, to) {
      const copied = await store.copy(from, to);
      if (copied !== null) oracle.written(to, Buffer.alloc(0));
      return copied;
    },
    list: (prefix, options) => store.list(prefix, options),
    listLevel: (prefix) => store.listLevel(prefix),
    async delete(keys) {
      const remove = (key: string) => {
        oracle.deleting(key);
        return store.delete([key]);
      };
      for (const key of keys) {
        if (later(key, () => remove(key))) throw timedOut(key);
        await remove(key);
      }
    },
  };
}

/** The lease table, whose notes the oracle hears. */
function watchedLeases(leases: LeaseTable, oracle: Oracle): LeaseTable {
  return {
    acquire: (name, request) => leases.acquire(name, request),
    extend: (lease, request) => leases.extend(lease, request),
    release: (lease) => leases.release(lease),
    read: (name) => leases.read(name),
    forceRelease: (name, expected) => leases.forceRelease(name, expected),
    async note(name, value) {
      await leases.note(name, value);
      oracle.noted(name, value);
    },
    readNote: (name) => leases.readNote(name),
  };
}

/** Refuses a process whose clock is too far off, as S3 does. */
function judgingStore(store: ObjectStore, clock: MemoryClock): ObjectStore {
  const judge = () => {
    if (Math.abs(clock.aheadMs) <= clockSkewMaxMs) return;
    throw new SiltstoneError("unavailable", `injected: a clock ${clock.aheadMs / 3_600_000} h ahead`);
  };
  async function* list(...asked: Parameters<ObjectStore["list"]>) {
    judge();
    for await (const page of store.list(...asked)) {
      yield page;
      judge();
    }
  }
  return new Proxy(store, {
    get: (_, method: keyof ObjectStore) =>
      method === "list"
        ? list
        : async (...asked: never[]) => {
            judge();
            return (store[method] as (...asked: never[]) => unknown)(...asked);
          },
  });
}

interface Message {
  readonly body: string;
  receipt: string;
  visibleAtMs: number;
}
const visibilityMs = 16 * 60_000;

/** At least once, in any order, sometimes late, sometimes never. */
export class UnreliableQueue implements DeltaQueue {
  readonly messages: Message[] = [];
  readonly deadLetters: string[] = [];
  readonly #chance: Chance;
  readonly #scheduler: Scheduler;
  readonly #oracle: Oracle;
  #receipts = 0;

  constructor(world: { chance: Chance; scheduler: Scheduler; oracle: Oracle }) {
    this.#chance = world.chance;
    this.#scheduler = world.scheduler;
    this.#oracle = world.oracle;
  }

  async send(body: string): Promise<void> {
    const { rates } = this.#scheduler;
    if (this.#chance.hits(rates.messageLost)) return this.#scheduler.countFault("messageLost");
    const copies = this.#chance.hits(rates.messageTwice) ? 2 : 1;
    if (copies === 2) this.#scheduler.countFault("messageTwice");
    for (let i = 0; i < copies; i++) {
      const isLate = this.#chance.hits(rates.messageLate);
      if (isLate) this.#scheduler.countFault("messageLate");
      this.messages.push({
        body,
        receipt: "",
        visibleAtMs: this.#oracle.nowMs() + (isLate ? 30 * 60_000 : 0),
      });
    }
  }

  async receive(): Promise<QueueMessage[]> {
    const nowMs = this.#oracle.nowMs();
    const taken: QueueMessage[] = [];
    const visible = this.messages.filter(({ visibleAtMs }) => visibleAtMs <= nowMs);
    while (visible.length > 0 && taken.length < 10) {
      const [message] = visible.splice(this.#chance.below(visible.length), 1) as [Message];
      message.receipt = `receipt-${++this.#receipts}`;
      message.visibleAtMs = nowMs + visibilityMs;
      taken.push({ receipt: message.receipt, body: message.body });
    }
    return taken;
  }

  async delete(messages: readonly QueueMessage[]): Promise<void> {
    for (const { receipt, body } of messages) {
      const at = this.messages.findIndex((message) => message.receipt === receipt);
      if (at < 0) continue;
      if (!this.deadLetters.includes(body)) this.#oracle.messageDeleted(body);
      this.messages.splice(at, 1);
    }
  }

  async deadLetter(message: QueueMessage): Promise<void> {
    this.deadLetters.push(message.body);
  }
}

/** One process's world, without faults: those are laid over it by effects(). */
export function worldOf(
  memory: MemoryWorld,
  shared: { oracle: Oracle; queue: DeltaQueue; scheduler: Scheduler },
  process: { name: string; seed: number; skewMs: number },
): World {
  const { oracle, queue, scheduler } = shared;
  const clock = memory.clock.fork(process);
  scheduler.sets(process.name, clock);
  const store = watchedStore(memory.store, oracle, (key, perform) =>
    scheduler.takesEffectLater(key, process.name, perform),
  );
  const leases = watchedLeases(memory.leases, oracle);
  return { store: judgingStore(store, clock), queue, leases, clock };
}
