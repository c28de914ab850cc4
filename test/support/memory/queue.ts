/**
 * The queue in memory: at-least-once with a visibility timeout on the world's virtual clock. A receipt is good for one
 * delivery: once a message was delivered again, the older receipt forgets nothing (the less friendly of the two things
 * that SQS may do).
 */
import { invalid } from "../../../lib/core/model/errors.ts";
import type { Clock, DeltaQueue, QueueMessage } from "../../../lib/engine/ports.ts";

const batchMessagesMax = 10;

interface Waiting {
  readonly body: string;
  receipt: string | null;
  visibleAtMs: number;
}

export class MemoryQueue implements DeltaQueue {
  readonly #clock: Clock;
  readonly #visibilityMs: number;
  readonly #messages: Waiting[] = [];
  readonly #deadLetters: { body: string; reason: string }[] = [];
  #deliveries = 0;

  constructor(clock: Clock, options: { visibilityMs: number }) {
    this.#clock = clock;
    this.#visibilityMs = options.visibilityMs;
  }

  /** Bodies of all messages, hidden ones included: for assertions. */
  bodies(): string[] {
    return this.#messages.map((message) => message.body);
  }
  get deadLetters(): { readonly body: string; readonly reason: string }[] {
    return this.#deadLetters;
  }

  async send(...bodies: readonly string[]): Promise<void> {
    for (const body of bodies) this.#messages.push({ body, receipt: null, visibleAtMs: 0 });
  }

  async receive(): Promise<QueueMessage[]> {
    const nowMs = this.#clock.nowMs();
    const visible = this.#messages
      .filter((message) => message.visibleAtMs <= nowMs)
      .slice(0, batchMessagesMax);
    return visible.map((message) => {
      message.receipt = `receipt-${++this.#deliveries}`;
      message.visibleAtMs = nowMs + this.#visibilityMs;
      return { receipt: message.receipt, body: message.body };
    });
  }

  async delete(messages: readonly QueueMessage[]): Promise<void> {
    if (messages.length > batchMessagesMax)
      throw invalid(`queue: ${messages.length} messages; at most 10 at once`);
    for (const { receipt } of messages) {
      const index = this.#messages.findIndex((message) => message.receipt === receipt);
      if (index >= 0) this.#messages.splice(index, 1);
    }
  }

  async deadLetter(message: QueueMessage, reason: string): Promise<void> {
    this.#deadLetters.push({ body: message.body, reason });
  }

  /** Makes every hidden message visible at once: what a passed visibility timeout does. */
  redeliver(): void {
    for (const message of this.#messages) message.visibleAtMs = 0;
  }
}
