/**
 * The memory and disk of a run, for batches of several shards side by side. They take their part in the order in which they
 * ask, as much as they are estimated to need of what is free then; one that finds too little waits until others are done, and is
 * refused only what the whole budget has no space for.
 *
 * A batch that waits holds the lease of a shard, which is not extended meanwhile: after two minutes another run may have the shard, and this one leaves it.
 *
 * A batch may ask to be alone: one that a run died of is told from others by what dies with it (attempts.ts).
 */
import pLimit from "p-limit";
import { ingestEstimate, type ResourceBudget } from "../../core/policy/resource-estimate.ts";

/** What a process takes that does nothing: part of every estimate, and there once. */
const idle = ingestEstimate(0, 0, { dims: 1 });

export class SharedBudget {
  /** Null for no bound. */
  readonly #whole: ResourceBudget | null;
  readonly #turn = pLimit(1);
  #users = 0;
  #isAlone = false;
  #memoryBytes = 0;
  #diskBytes = 0;
  #released = Promise.withResolvers<void>();

  constructor(whole: ResourceBudget | undefined) {
    this.#whole = whole ?? null;
  }

  /** What is left; undefined for no bound. */
  get free(): ResourceBudget | undefined {
    if (this.#whole === null) return undefined;
    const { memoryBytes, diskBytes } = this.#whole;
    return { memoryBytes: memoryBytes - this.#memoryBytes, diskBytes: diskBytes - this.#diskBytes };
  }

  /**
   * Runs `work` with what `choose` takes of what is free. `choose` answers null where that is too little, and is asked again
   * when there is more; with everything free it decides for good.
   */
  async use<C extends { readonly need: ResourceBudget | null }, T>(
    choose: (free: ResourceBudget | undefined) => C,
    work: (choice: C) => Promise<T>,
    { alone }: { readonly alone: boolean },
  ): Promise<T> {
    const { choice, release } = await this.#turn(() => this.#take(choose, alone));
    try {
      return await work(choice);
    } finally {
      release();
    }
  }

  async #take<C extends { readonly need: ResourceBudget | null }>(
    choose: (free: ResourceBudget | undefined) => C,
    alone: boolean,
  ): Promise<{ choice: C; release: () => void }> {
    for (;;) {
      if (this.#users === 0 || !(alone || this.#isAlone)) {
        const choice = choose(this.free);
        if (choice.need !== null || this.#users === 0)
          return { choice, release: this.#occupy(choice.need ?? idle, alone) };
      }
      await this.#released.promise;
    }
  }

  #occupy(need: ResourceBudget, alone: boolean): () => void {
    const memoryBytes = Math.max(0, need.memoryBytes - idle.memoryBytes);
    const { diskBytes } = need;
    this.#users += 1;
    this.#isAlone = alone;
    this.#memoryBytes += memoryBytes;
    this.#diskBytes += diskBytes;
    return () => {
      this.#users -= 1;
      this.#isAlone = false;
      this.#memoryBytes -= memoryBytes;
      this.#diskBytes -= diskBytes;
      this.#released.resolve();
      this.#released = Promise.withResolvers();
    };
  }
}
