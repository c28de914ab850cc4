/** The job queues on Amazon SQS: standard queues, one each priority. */
import type { SQSClient } from "@aws-sdk/client-sqs";
import { invalid } from "../core/model/errors.ts";
import { type Priority, priorities } from "../jobs/item.ts";
import type { WakeQueues } from "../jobs/ports.ts";
import { sendMessages } from "./sqs-delta-queue.ts";

export class SqsWakeQueues implements WakeQueues {
  readonly #client: SQSClient;
  readonly #urls: readonly string[];

  /** `urls`: from the highest priority; none where the store has no items. */
  constructor(client: SQSClient, urls: readonly string[]) {
    this.#client = client;
    this.#urls = urls;
  }

  send(priority: Priority, bodies: readonly string[]): Promise<void> {
    return sendMessages(this.#client, this.urlOf(priority), bodies);
  }

  urlOf(priority: Priority): string {
    const url = this.#urls[priorities.indexOf(priority)];
    if (url !== undefined) return url;
    throw invalid(
      "items: this store does not embed items; deploy it with the prop `embedding` (docs/jobs.md)",
    );
  }
}
