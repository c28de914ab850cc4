/**
 * The dead-letter queue, for the command line: messages that made no sense, each with its reason. They carry no data, since
 * deltas are found without messages. Looking at messages hides them from others for a moment; they are given back.
 */
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  type Message,
  PurgeQueueCommand,
  ReceiveMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { failure } from "./failure.ts";
import { patience } from "./request-handler.ts";
import { sendMessage } from "./sqs-delta-queue.ts";

/** What one request takes; SQS's own limit. */
const batchMessagesMax = 10;
/** Long enough to look at some hundred messages; a process that dies hides them for no longer. */
const hiddenSeconds = 60;
/** A short poll asks some of SQS's servers only; one that waits asks all of them. */
const waitSeconds = 1;

export interface DeadLetter {
  /** SQS's own name of the message. */
  readonly id: string;
  readonly body: string;
  /** Why the compactor put it here; null where SQS did, after too many receives. */
  readonly reason: string | null;
  readonly sentMs: number;
  readonly receives: number;
}

export interface DeadLetters {
  /** About how many messages it holds, as SQS counts them: those in flight are included. */
  count(): Promise<number>;
  /** Hands out messages in batches until none come, or `work` answers false; what `work` has not moved is given back. */
  look(work: (batch: readonly DeadLetter[], move: Move) => Promise<boolean>): Promise<void>;
  /** Deletes every message that is there now. SQS takes up to a minute for it, and allows it once a minute. */
  purge(): Promise<void>;
}
/** Sends a message of the batch to the queue that the compactor reads, and takes it off this one. */
export type Move = (message: DeadLetter) => Promise<void>;

export class SqsDeadLetters implements DeadLetters {
  readonly #client = new SQSClient(patience(requestBounds.person, batchMessagesMax));
  readonly #queueUrl: string;
  readonly #deadLetterQueueUrl: string;

  constructor(urls: { queueUrl: string; deadLetterQueueUrl: string }) {
    this.#queueUrl = urls.queueUrl;
    this.#deadLetterQueueUrl = urls.deadLetterQueueUrl;
  }

  async count(): Promise<number> {
    const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
    const command = new GetQueueAttributesCommand({
      QueueUrl: this.#deadLetterQueueUrl,
      AttributeNames: [...names],
    });
    const { Attributes = {} } = await this.#client.send(command).catch(this.#fail("GetQueueAttributes"));
    return names.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
  }

  async look(work: (batch: readonly DeadLetter[], move: Move) => Promise<boolean>): Promise<void> {
    // By id, those that were not moved: hidden from others, and handed out once, also when the queue shows one again.
    const held = new Map<string, string>();
    try {
      for (;;) {
        const received = await this.#receive();
        const batch = received.filter(({ MessageId }) => !held.has(MessageId!));
        for (const { MessageId, ReceiptHandle } of received) held.set(MessageId!, ReceiptHandle!);
        const goesOn =
          batch.length > 0 && (await work(batch.map(letterOf), (message) => this.#move(message, held)));
        if (!goesOn) return;
      }
    } finally {
      await this.#giveBack([...held.values()]);
    }
  }

  async purge(): Promise<void> {
    await this.#client
      .send(new PurgeQueueCommand({ QueueUrl: this.#deadLetterQueueUrl }))
      .catch(this.#fail("PurgeQueue"));
  }

  async #receive(): Promise<readonly Message[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.#deadLetterQueueUrl,
      MaxNumberOfMessages: batchMessagesMax,
      VisibilityTimeout: hiddenSeconds,
      WaitTimeSeconds: waitSeconds,
      MessageAttributeNames: ["reason"],
      MessageSystemAttributeNames: ["SentTimestamp", "ApproximateReceiveCount"],
    });
    return (await this.#client.send(command).catch(this.#fail("ReceiveMessage"))).Messages ?? [];
  }

  /** A crash between the two leaves the message in both queues: a notification that comes twice changes nothing. */
  async #move({ id, body }: DeadLetter, held: Map<string, string>): Promise<void> {
    await sendMessage(this.#client, { QueueUrl: this.#queueUrl, MessageBody: body });
    const command = new DeleteMessageCommand({
      QueueUrl: this.#deadLetterQueueUrl,
      ReceiptHandle: held.get(id),
    });
    await this.#client.send(command).catch(this.#fail("DeleteMessage"));
    held.delete(id);
  }

  async #giveBack(receipts: readonly string[]): Promise<void> {
    for (let i = 0; i < receipts.length; i += batchMessagesMax) {
      const Entries = receipts
        .slice(i, i + batchMessagesMax)
        .map((ReceiptHandle, n) => ({ Id: String(n), ReceiptHandle, VisibilityTimeout: 0 }));
      const command = new ChangeMessageVisibilityBatchCommand({
        QueueUrl: this.#deadLetterQueueUrl,
        Entries,
      });
      // What is not given back comes back by itself.
      await this.#client.send(command).catch(() => {});
    }
  }

  #fail(operation: string): (error: unknown) => never {
    return (error) => {
      throw failure(error, {
        call: `SQS ${operation}`,
        subject: this.#deadLetterQueueUrl,
        writes: operation === "DeleteMessage" || operation === "PurgeQueue",
        permission: `sqs:${operation}`,
      });
    };
  }
}

const letterOf = ({ MessageId, Body, MessageAttributes, Attributes }: Message): DeadLetter => ({
  id: MessageId!,
  body: Body ?? "",
  reason: MessageAttributes?.reason?.StringValue ?? null,
  sentMs: Number(Attributes?.SentTimestamp ?? 0),
  receives: Number(Attributes?.ApproximateReceiveCount ?? 1),
});
