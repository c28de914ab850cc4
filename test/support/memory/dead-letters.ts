/** The dead letters of a queue in memory, as the command line sees them. */
import type { DeadLetter, DeadLetters, Move } from "../../../lib/aws/sqs-dead-letters.ts";
import type { MemoryWorld } from "./world.ts";

export class MemoryDeadLetters implements DeadLetters {
  readonly #world: MemoryWorld;

  constructor(world: MemoryWorld) {
    this.#world = world;
  }

  async count(): Promise<number> {
    return this.#world.queue.deadLetters.length;
  }

  async look(work: (batch: readonly DeadLetter[], move: Move) => Promise<boolean>): Promise<void> {
    const { deadLetters } = this.#world.queue;
    const sentMs = this.#world.clock.nowMs();
    const batch = deadLetters.map((one, n) => ({ ...one, id: `message-${n}`, sentMs, receives: 1 }));
    if (batch.length === 0) return;
    await work(batch, async ({ body }) => {
      await this.#world.queue.send(body);
      const at = deadLetters.findIndex((one) => one.body === body);
      if (at >= 0) deadLetters.splice(at, 1);
    });
  }

  async purge(): Promise<void> {
    this.#world.queue.deadLetters.length = 0;
  }
}
