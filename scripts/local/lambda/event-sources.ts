/**
 * Event source mappings from SQS: polls a queue, invokes the function with a batch, and deletes what it took. After an
 * error the whole batch comes back by its visibility timeout; with ReportBatchItemFailures only the messages that the
 * answer names do. One poller per mapping: less concurrency than Lambda's, the same guarantees.
 */

import { setTimeout as sleep } from "node:timers/promises";
import {
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { accessKeyOfFunction } from "../iam/rules.ts";
import type { FunctionPool } from "./function-pool.ts";

export interface EventSourceDefinition {
  readonly functionName: string;
  readonly queueUrl: string;
  readonly queueArn: string;
  /** 1 to 10 messages. */
  readonly batchSize: number;
  readonly reportsItemFailures: boolean;
}

const pollSeconds = 10;
const pauseAfterErrorMs = 500;

export class EventSource {
  private readonly definition: EventSourceDefinition;
  private readonly sqs: SQSClient;
  private readonly region: string;
  private readonly stopping = new AbortController();
  private readonly done: Promise<void>;

  constructor(
    definition: EventSourceDefinition,
    settings: { endpoint: string; region: string },
    /** The function as it is deployed now. */
    pool: () => FunctionPool,
  ) {
    this.definition = definition;
    this.region = settings.region;
    this.sqs = new SQSClient({
      ...settings,
      // Lambda polls by the rights of the function's role.
      credentials: { accessKeyId: accessKeyOfFunction(definition.functionName), secretAccessKey: "local" },
    });
    this.done = this.poll(pool);
  }

  private async poll(pool: () => FunctionPool): Promise<void> {
    while (!this.stopping.signal.aborted) {
      try {
        const messages = await this.receive();
        if (messages.length > 0) await this.process(pool(), messages);
      } catch (error) {
        if (this.stopping.signal.aborted) break;
        console.error(`Event source of ${this.definition.functionName}: ${error}`);
        await sleep(pauseAfterErrorMs);
      }
    }
    this.sqs.destroy();
  }

  private async receive(): Promise<Message[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.definition.queueUrl,
      MaxNumberOfMessages: this.definition.batchSize,
      WaitTimeSeconds: pollSeconds,
      MessageSystemAttributeNames: ["All"],
      MessageAttributeNames: ["All"],
    });
    return (await this.sqs.send(command, { abortSignal: this.stopping.signal })).Messages ?? [];
  }

  private async process(pool: FunctionPool, messages: readonly Message[]): Promise<void> {
    const Records = messages.map((message) => this.toRecord(message));
    const { outcome } = await pool.invoke(Buffer.from(JSON.stringify({ Records })));
    if (outcome.kind === "failed") return;
    const answer = JSON.parse(outcome.payload.toString()) as BatchAnswer | null;
    const failures = this.definition.reportsItemFailures ? (answer?.batchItemFailures ?? []) : [];
    const failed = new Set(failures.map(({ itemIdentifier }) => itemIdentifier));
    // An identifier that is none of the batch's fails the batch as a whole, as it does in Lambda.
    if ([...failed].some((id) => !messages.some(({ MessageId }) => MessageId === id))) return;
    const Entries = messages
      .filter(({ MessageId }) => !failed.has(MessageId!))
      .map(({ MessageId, ReceiptHandle }) => ({ Id: MessageId!, ReceiptHandle: ReceiptHandle! }));
    if (Entries.length === 0) return;
    await this.sqs.send(new DeleteMessageBatchCommand({ QueueUrl: this.definition.queueUrl, Entries }));
  }

  private toRecord(message: Message) {
    const attributes = Object.entries(message.MessageAttributes ?? {}).map(([name, value]) => [
      name,
      {
        dataType: value.DataType,
        stringValue: value.StringValue,
        binaryValue: value.BinaryValue && Buffer.from(value.BinaryValue).toString("base64"),
      },
    ]);
    return {
      messageId: message.MessageId,
      receiptHandle: message.ReceiptHandle,
      body: message.Body,
      attributes: message.Attributes ?? {},
      messageAttributes: Object.fromEntries(attributes),
      md5OfBody: message.MD5OfBody,
      eventSource: "aws:sqs",
      eventSourceARN: this.definition.queueArn,
      awsRegion: this.region,
    };
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.done;
  }
}

interface BatchAnswer {
  readonly batchItemFailures?: readonly { readonly itemIdentifier: string }[];
}
