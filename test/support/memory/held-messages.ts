/** The held messages of a queue in memory, as the command line sees them. */
import type { HeldMessage, HeldMessages } from "../../../lib/aws/sqs-held-messages.ts";
import type { MemoryWorld } from "./world.ts";

type Held = Pick<HeldMessage, "body" | "reason">;

export class MemoryHeldMessages implements HeldMessages {
  readonly #world: MemoryWorld;
  readonly #held: Held[];

  constructor(world: MemoryWorld, held: Held[]) {
    this.#world = world;
    this.#held = held;
  }

  hold(message: Held): void {
    this.#held.push(message);
  }

  async count(): Promise<number> {
    return this.#held.length;
  }

  async look(work: Parameters<HeldMessages["look"]>[0]): Promise<void> {
    const sentMs = this.#world.clock.nowMs();
    const batch = this.#held.map((one, n) => ({ ...one, id: `message-${n}`, sentMs, receives: 1 }));
    if (batch.length === 0) return;
    await work(batch, async ({ body }) => {
      const at = this.#held.findIndex((one) => one.body === body);
      if (at >= 0) this.#held.splice(at, 1);
    });
  }

  async purge(): Promise<void> {
    this.#held.length = 0;
  }
}
