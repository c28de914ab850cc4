/** What saving items has of AWS: the producer function as well as a function that bundles the library. */
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { SQSClient } from "@aws-sdk/client-sqs";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { type RequestBounds, requestBounds } from "../core/policy/time-bounds.ts";
import type { ProduceWorld } from "../engine/write/produce.ts";
import type { JobWorld } from "../jobs/save.ts";
import { type AwsAccess, accessTo, ownAccess } from "./access.ts";
import { DynamoDbJobTable } from "./dynamodb-job-table.ts";
import { embedderCall } from "./embedder-call.ts";
import type { Environment } from "./environment.ts";
import { patience, socketsMax } from "./request-handler.ts";
import { SqsWakeQueues } from "./sqs-wake-queues.ts";

export type JobNames = Pick<Environment, "table" | "jobQueueUrls"> &
  Partial<Pick<Environment, "embedderFunction">>;

/** `embedderFunction`: its name, where what is saved may be embedded in the call. */
export function jobWorld(
  { table, jobQueueUrls, embedderFunction = "" }: JobNames,
  { store, clock }: Pick<ProduceWorld, "store" | "clock">,
  bounds: RequestBounds = requestBounds.producer,
  access: AwsAccess = ownAccess,
): JobWorld {
  const dynamodb = new DynamoDBClient({ ...patience(bounds, socketsMax), ...accessTo("dynamodb", access) });
  const sqs = new SQSClient({ ...patience(bounds, socketsMax), ...accessTo("sqs", access) });
  return {
    table: new DynamoDbJobTable(DynamoDBDocumentClient.from(dynamodb), table),
    wake: new SqsWakeQueues(sqs, jobQueueUrls),
    embedder: embedderFunction === "" ? null : embedderCall(embedderFunction, access),
    ...{ store, clock },
  };
}
