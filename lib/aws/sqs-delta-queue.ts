/** The delta queue on Amazon SQS (a standard queue). */
import {
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type SendMessageCommandInput,
  type SQSClient,
} from "@aws-sdk/client-sqs";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import type { DeltaQueue, QueueMessage } from "../engine/ports.ts";
import { failure } from "./failure.ts";

/** SQS's own limit. */
const batchMessagesMax = 10;
/**
 * A short poll: it asks only some of SQS's servers and may miss messages, so a run asks twice, and the next one meets what
 * it missed. Waiting a second would be most of what an idle run costs, every minute.
 */
const waitSeconds = 0;
/** An attribute counts towards the message's size; a reason this long says enough. */
const reasonLengthMax = 1_000;
/** SQS takes 1 MiB of a message with its attributes: a body that fills it alone loses its end, so that the reason fits. */
const deadLetterBodyBytesMax = 1024 * 1024 - 8 * 1024;

export class SqsDeltaQueue implements DeltaQueue {
  readonly #client: SQSClient;
  readonly #queueUrl: string;
  readonly #deadLetterQueueUrl: string;

  constructor(client: SQSClient, urls: { queueUrl: string; deadLetterQueueUrl: string }) {
    this.#client = client;
    this.#queueUrl = urls.queueUrl;
    this.#deadLetterQueueUrl = urls.deadLetterQueueUrl;
  }

  send(...bodies: readonly string[]): Promise<void> {
    return sendMessages(this.#client, this.#queueUrl, bodies);
  }

  async receive(): Promise<QueueMessage[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.#queueUrl,
      MaxNumberOfMessages: batchMessagesMax,
      WaitTimeSeconds: waitSeconds,
    });
    const answer = await this.#client.send(command).catch((error: unknown) => {
      throw queueFailure(error, "ReceiveMessage", this.#queueUrl);
    });
    return (answer.Messages ?? []).map(({ ReceiptHandle, Body }) => ({
      receipt: ReceiptHandle!,
      body: Body ?? "",
    }));
  }

  async delete(messages: readonly QueueMessage[]): Promise<void> {
    if (messages.length === 0) return;
    if (messages.length > batchMessagesMax)
      throw invalid(`queue: ${messages.length} messages; at most 10 at once`);
    const command = new DeleteMessageBatchCommand({
      QueueUrl: this.#queueUrl,
      Entries: messages.map(({ receipt }, i) => ({ Id: String(i), ReceiptHandle: receipt })),
    });
    const answer = await this.#client.send(command).catch((error: unknown) => {
      throw queueFailure(error, "DeleteMessageBatch", this.#queueUrl);
    });
    // The sender's fault is a receipt that has run out: the message comes again, as any message may.
    const failed = (answer.Failed ?? []).filter(({ SenderFault }) => !SenderFault);
    if (failed.length === 0) return;
    const [{ Code, Message }] = failed as [(typeof failed)[0]];
    throw new SiltstoneError(
      "uncertain",
      `SQS DeleteMessageBatch ${this.#queueUrl}: ${failed.length} messages may remain: ${Code} ${Message ?? ""}`,
    );
  }

  async deadLetter(message: QueueMessage, reason: string): Promise<void> {
    await sendMessage(this.#client, {
      QueueUrl: this.#deadLetterQueueUrl,
      MessageBody: startOf(message.body, deadLetterBodyBytesMax),
      MessageAttributes: { reason: { DataType: "String", StringValue: attributeText(reason) } },
    });
  }
}

/** In batches, side by side. */
export async function sendMessages(
  client: SQSClient,
  queueUrl: string,
  bodies: readonly string[],
): Promise<void> {
  const batches = Array.from({ length: Math.ceil(bodies.length / batchMessagesMax) }, (_, i) =>
    bodies.slice(i * batchMessagesMax, (i + 1) * batchMessagesMax),
  );
  const sent = batches.map(([first, ...rest]) =>
    rest.length === 0
      ? sendMessage(client, { QueueUrl: queueUrl, MessageBody: first! })
      : sendBatch(client, queueUrl, [first!, ...rest]),
  );
  for (const one of await Promise.allSettled(sent)) if (one.status === "rejected") throw one.reason;
}

async function sendBatch(client: SQSClient, queueUrl: string, bodies: readonly string[]): Promise<void> {
  const Entries = bodies.map((MessageBody, i) => ({ Id: String(i), MessageBody }));
  const command = new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries });
  const answer = await client.send(command).catch((error: unknown) => {
    throw queueFailure(error, "SendMessageBatch", queueUrl);
  });
  const [failed] = answer.Failed ?? [];
  if (failed === undefined) return;
  const { Code, Message } = failed;
  throw new SiltstoneError(
    "uncertain",
    `SQS SendMessageBatch ${queueUrl}: ${answer.Failed!.length} messages may not have been sent: ${Code} ${Message ?? ""}`,
  );
}

export async function sendMessage(client: SQSClient, input: SendMessageCommandInput): Promise<void> {
  await client.send(new SendMessageCommand(input)).catch((error: unknown) => {
    throw queueFailure(error, "SendMessage", input.QueueUrl!);
  });
}

function queueFailure(
  error: unknown,
  operation: "SendMessage" | "SendMessageBatch" | "ReceiveMessage" | "DeleteMessageBatch",
  queueUrl: string,
): SiltstoneError {
  return failure(error, {
    call: `SQS ${operation}`,
    subject: queueUrl,
    writes: operation !== "ReceiveMessage",
    permission: `sqs:${operation.replace(/Batch$/, "")}`,
  });
}

/** The longest start of a text, in whole characters, that fits into so many bytes. */
function startOf(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= bytesMax) return text;
  let end = bytesMax;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

/** SQS takes the characters of XML 1.0 only, and no empty value. */
function attributeText(reason: string): string {
  const clean = reason
    .slice(0, reasonLengthMax)
    .toWellFormed()
    .replace(/[\p{Cc}\ufffe\uffff]/gu, "\ufffd");
  return clean === "" ? "unknown" : clean;
}
