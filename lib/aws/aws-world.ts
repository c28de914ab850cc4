/**
 * The world as the handlers and the command line see it: AWS, through the SDK's standard configuration (region,
 * credentials, and AWS_ENDPOINT_URL_* where the services are elsewhere), unless an access is given. Nothing here knows where it runs.
 */
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { SQSClient } from "@aws-sdk/client-sqs";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { storeOutputs } from "../contract/functions.ts";
import { requestBounds } from "../core/policy/time-bounds.ts";
import type { World } from "../engine/ports.ts";
import { Traffic } from "../engine/traffic.ts";
import { type AwsAccess, accessTo, ownAccess } from "./access.ts";
import { DynamoDbLeaseTable } from "./dynamodb-lease-table.ts";
import type { Environment } from "./environment.ts";
import { patience, type S3Bounds, socketsMax } from "./request-handler.ts";
import { s3Client } from "./s3-client.ts";
import { S3ObjectStore } from "./s3-object-store.ts";
import { SqsDeltaQueue } from "./sqs-delta-queue.ts";
import { systemClock } from "./system-clock.ts";

export interface AwsWorld extends World {
  /** What the object store moved since the process began. */
  readonly traffic: Traffic;
}

export type AwsNames = Pick<Environment, "bucket" | "table" | "queueUrl" | "deadLetterQueueUrl">;

/** The names of a deployed store, each by the output of its stack. */
export const awsNames = (outputOf: (output: string) => string): AwsNames => ({
  bucket: outputOf(storeOutputs.bucket),
  table: outputOf(storeOutputs.table),
  queueUrl: outputOf(storeOutputs.queueUrl),
  deadLetterQueueUrl: outputOf(storeOutputs.deadLetterQueueUrl),
});

/** `bounds`: how long it waits for AWS, and over how many connections for S3. */
export function awsWorld(
  names: AwsNames,
  bounds: S3Bounds = requestBounds.person,
  access: AwsAccess = ownAccess,
): AwsWorld {
  const traffic = new Traffic();
  const sqs = new SQSClient({ ...patience(bounds, socketsMax), ...accessTo("sqs", access) });
  const dynamodb = new DynamoDBClient({ ...patience(bounds, socketsMax), ...accessTo("dynamodb", access) });
  return {
    store: new S3ObjectStore(s3Client(bounds, accessTo("s3", access)), names.bucket, traffic, bounds),
    queue: new SqsDeltaQueue(sqs, names),
    leases: new DynamoDbLeaseTable(DynamoDBDocumentClient.from(dynamodb), names.table),
    clock: systemClock(),
    traffic,
  };
}
