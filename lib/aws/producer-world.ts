/** What a producer has of AWS, the producer function as well as a function that bundles the library. */
import { SQSClient } from "@aws-sdk/client-sqs";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { Traffic } from "../engine/traffic.ts";
import type { ProduceWorld } from "../engine/write/produce.ts";
import type { Environment } from "./environment.ts";
import { patience, socketsMax } from "./request-handler.ts";
import { s3Client } from "./s3-client.ts";
import { S3ObjectStore } from "./s3-object-store.ts";
import { sendMessages } from "./sqs-delta-queue.ts";
import { systemClock } from "./system-clock.ts";

export type ProducerNames = Pick<Environment, "bucket" | "queueUrl">;

/** What producing needs of AWS: no table, no reading from the queue. */
export function producerWorld({ bucket, queueUrl }: ProducerNames): ProduceWorld {
  const bounds = requestBounds.producer;
  const sqs = new SQSClient(patience(bounds, socketsMax));
  return {
    store: new S3ObjectStore(s3Client(bounds), bucket, new Traffic(), { ...bounds, mayList: false }),
    queue: { send: (...bodies: readonly string[]) => sendMessages(sqs, queueUrl, bodies) },
    clock: systemClock(),
  };
}
