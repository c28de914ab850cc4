/**
 * The messages of one run. They are hints of where deltas lie, and nothing depends on them: where the queue or the
 * dead-letter queue fails, its part of the run ends and is reported, and the shards are compacted all the same.
 */
import pLimit from "p-limit";
import { decodeNotification, type Notification } from "../../core/format/notification.ts";
import type { Faults } from "../faults.ts";
import type { DeltaQueue, QueueMessage } from "../ports.ts";

/** Messages of one round, whatever they say; the queue hides them from others meanwhile. */
const messagesMax = 1_000;
/** A queue with few messages may answer that it has none (SQS asks only some of its servers): it is asked once more. */
const emptyAnswersMax = 2;
/** Received or forgotten by one call. */
const batchMax = 10;
/** Calls at once, where there are many messages. */
const callsAtOnce = 8;

export interface Hint {
  readonly message: QueueMessage;
  readonly notice: Notification;
}
/** What becomes of a message. One that is left comes back by itself. */
export type Fate =
  | { readonly kind: "ingested" }
  | { readonly kind: "left" }
  /** It is of a collection that was deleted since. */
  | { readonly kind: "gone" }
  | { readonly kind: "senseless"; readonly reason: string };

export type MessageCounts = {
  readonly settled: number;
  /** Of collections that were deleted since; they are among those that were settled. */
  readonly gone: number;
  readonly deadLettered: number;
  readonly left: number;
};

export const receiving = "queue: receive";
const deleting = "queue: delete";
const deadLettering = "dead-letter queue";

export class Inbox {
  readonly #queue: DeltaQueue;
  readonly #faults: Faults;
  readonly #counts = { settled: 0, gone: 0, deadLettered: 0, left: 0 };

  constructor(queue: DeltaQueue, faults: Faults) {
    this.#queue = queue;
    this.#faults = faults;
  }

  get counts(): MessageCounts {
    return this.#counts;
  }

  /** A message that is not a notification goes to the dead-letter queue with its reason. */
  async receive(): Promise<Hint[]> {
    const hints: Hint[] = [];
    let received = 0;
    // One call, until an answer is as full as it can be: an idle queue is asked no more than it takes to see that.
    let calls = 1;
    for (let empty = 0; empty < emptyAnswersMax && received < messagesMax; ) {
      const answers = await this.#faults.attempt(receiving, () =>
        Promise.all(Array.from({ length: calls }, () => this.#queue.receive())),
      );
      if (answers === null) break;
      const messages = answers.flat();
      empty = messages.length === 0 ? empty + 1 : 0;
      received += messages.length;
      const callsLeft = Math.ceil((messagesMax - received) / batchMax);
      calls = messages.length === calls * batchMax ? Math.min(callsAtOnce, callsLeft) : 1;
      for (const message of messages) {
        const notice = decodeNotification(message.body);
        if (!("reason" in notice)) hints.push({ message, notice });
        else await this.#deadLetter(message, notice.reason);
      }
    }
    return hints;
  }

  /** Forgets the messages that have been seen to; the others come back. Answers how many were forgotten. */
  async settle(hints: readonly Hint[], fateOf: (notice: Notification) => Promise<Fate>): Promise<number> {
    const done: QueueMessage[] = [];
    for (const { message, notice } of hints) {
      const fate = await fateOf(notice);
      if (fate.kind === "gone") this.#counts.gone += 1;
      if (fate.kind === "ingested" || fate.kind === "gone") done.push(message);
      else if (fate.kind === "left") this.#counts.left += 1;
      else await this.#deadLetter(message, fate.reason);
    }
    const batches = Array.from({ length: Math.ceil(done.length / batchMax) }, (_, i) =>
      done.slice(i * batchMax, (i + 1) * batchMax),
    );
    const limit = pLimit(callsAtOnce);
    const forgotten = await Promise.all(
      batches.map((batch) => limit(async () => ((await this.#delete(batch)) ? batch.length : 0))),
    );
    const settled = forgotten.reduce((sum, messages) => sum + messages, 0);
    this.#counts.settled += settled;
    this.#counts.left += done.length - settled;
    return settled;
  }

  /** Put there before it is forgotten here: a failure in between costs a second copy, never the only one. */
  async #deadLetter(message: QueueMessage, reason: string): Promise<void> {
    const put = () => this.#queue.deadLetter(message, reason).then(() => true);
    if (!(await this.#faults.attempt(deadLettering, put))) return;
    this.#counts.deadLettered += 1;
    await this.#delete([message]);
  }

  async #delete(messages: readonly QueueMessage[]): Promise<boolean> {
    const deleted = () => this.#queue.delete(messages).then(() => true);
    return (await this.#faults.attempt(deleting, deleted)) ?? false;
  }
}
