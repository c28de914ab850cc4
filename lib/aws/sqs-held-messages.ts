/**
 * A queue whose messages are held for people, for the command line: dead letters and failed events, each with its reason. They carry no
 * data, since deltas are found without messages. Looking at messages hides them from others for a moment; they are given back.
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
import { type AwsAccess, accessTo, ownAccess } from "./access.ts";
import { failure } from "./failure.ts";
import { patience } from "./request-handler.ts";

/** What one request takes; SQS's own limit. */
const batchMessagesMax = 10;
/** Long enough to look at some hundred messages; a process that dies hides them for no longer. */
const hiddenSeconds = 60;
/** A short poll asks some of SQS's servers only; one that waits asks all of them. */
const waitSeconds = 1;

export interface HeldMessage {
  /** SQS's own name of the message. */
  readonly id: string;
  readonly body: string;
  /** What its sender said of why it is here; null where it said nothing, as SQS after too many receives. */
  readonly reason: string | null;
  readonly sentMs: number;
  readonly receives: number;
}

export interface HeldMessages {
  /** About how many messages it holds, as SQS counts them: those in flight are included. */
  count(): Promise<number>;
  /** Hands out messages in batches until none come, or `work` answers false; what `work` has not removed is given back. */
  look(work: (batch: readonly HeldMessage[], remove: Remove) => Promise<boolean>): Promise<void>;
  /** Deletes every message that is there now. SQS takes up to a minute for it, and allows it once a minute. */
  purge(): Promise<void>;
}
/** Takes a message of the batch off the queue. */
type Remove = (message: HeldMessage) => Promise<void>;

/** Attributes that say why a message is here: the compactor's, and EventBridge Scheduler's. */
const reasonAttributes = ["reason", "ERROR_MESSAGE"];

export class SqsHeldMessages implements HeldMessages {
  readonly #client: SQSClient;
  readonly #queueUrl: string;

  constructor(queueUrl: string, access: AwsAccess = ownAccess) {
    this.#client = new SQSClient({
      ...patience(requestBounds.person, batchMessagesMax),
      ...accessTo("sqs", access),
    });
    this.#queueUrl = queueUrl;
  }

  async count(): Promise<number> {
    const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
    const command = new GetQueueAttributesCommand({
      QueueUrl: this.#queueUrl,
      AttributeNames: [...names],
    });
    const { Attributes = {} } = await this.#client.send(command).catch(this.#fail("GetQueueAttributes"));
    return names.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
  }

  async look(work: (batch: readonly HeldMessage[], remove: Remove) => Promise<boolean>): Promise<void> {
    // By id, those that were not removed: hidden from others, and handed out once, also when the queue shows one again.
    const held = new Map<string, string>();
    try {
      for (;;) {
        const received = await this.#receive();
        const batch = received.filter(({ MessageId }) => !held.has(MessageId!));
        for (const { MessageId, ReceiptHandle } of received) held.set(MessageId!, ReceiptHandle!);
        const goesOn =
          batch.length > 0 && (await work(batch.map(messageOf), (message) => this.#remove(message, held)));
        if (!goesOn) return;
      }
    } finally {
      await this.#giveBack([...held.values()]);
    }
  }

  async purge(): Promise<void> {
    await this.#client
      .send(new PurgeQueueCommand({ QueueUrl: this.#queueUrl }))
      .catch(this.#fail("PurgeQueue"));
  }

  async #receive(): Promise<readonly Message[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.#queueUrl,
      MaxNumberOfMessages: batchMessagesMax,
      VisibilityTimeout: hiddenSeconds,
      WaitTimeSeconds: waitSeconds,
      MessageAttributeNames: [...reasonAttributes],
      MessageSystemAttributeNames: ["SentTimestamp", "ApproximateReceiveCount"],
    });
    return (await this.#client.send(command).catch(this.#fail("ReceiveMessage"))).Messages ?? [];
  }

  async #remove({ id }: HeldMessage, held: Map<string, string>): Promise<void> {
    const command = new DeleteMessageCommand({
      QueueUrl: this.#queueUrl,
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
        QueueUrl: this.#queueUrl,
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
        subject: this.#queueUrl,
        writes: operation === "DeleteMessage" || operation === "PurgeQueue",
        permission: `sqs:${operation}`,
      });
    };
  }
}

const messageOf = ({ MessageId, Body, MessageAttributes = {}, Attributes }: Message): HeldMessage => ({
  id: MessageId!,
  body: Body ?? "",
  reason: reasonAttributes.map((name) => MessageAttributes[name]?.StringValue).find(Boolean) ?? null,
  sentMs: Number(Attributes?.SentTimestamp ?? 0),
  receives: Number(Attributes?.ApproximateReceiveCount ?? 1),
});
