/** Makes what a plan names, through the same AWS SDK calls as any client; what is there from the last run stays. */
import {
  CreateTableCommand,
  type CreateTableCommandInput,
  DescribeTableCommand,
  DynamoDBClient,
} from "@aws-sdk/client-dynamodb";
import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from "@aws-sdk/client-s3";
import { CreateQueueCommand, SQSClient } from "@aws-sdk/client-sqs";
import type { StackPlan } from "./stack-plan.ts";

export interface ClientSettings {
  readonly endpoint: string;
  readonly region: string;
}

const credentials = { accessKeyId: "local", secretAccessKey: "local" };

export async function provisionBuckets(
  settings: ClientSettings,
  buckets: StackPlan["buckets"],
): Promise<void> {
  const s3 = new S3Client({ ...settings, credentials });
  for (const { name, isVersioned } of buckets) {
    await ignoring("BucketAlreadyOwnedByYou", s3.send(new CreateBucketCommand({ Bucket: name })));
    if (!isVersioned) continue;
    const VersioningConfiguration = { Status: "Enabled" } as const;
    await s3.send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration }));
  }
  s3.destroy();
}

export async function provisionQueues(settings: ClientSettings, queues: StackPlan["queues"]): Promise<void> {
  const sqs = new SQSClient({ ...settings, credentials });
  for (const { name, attributes } of queues) {
    await sqs.send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }));
  }
  sqs.destroy();
}

/** Waits between looks at a table that is being made; the emulators need no more than the first. */
const tableLooksMax = 50;
const tableLookMs = 100;

export async function provisionTables(settings: ClientSettings, tables: StackPlan["tables"]): Promise<void> {
  const dynamodb = new DynamoDBClient({ ...settings, credentials });
  for (const { name, properties } of tables) {
    const { AttributeDefinitions, KeySchema, GlobalSecondaryIndexes, LocalSecondaryIndexes } = properties;
    const input = {
      TableName: name,
      BillingMode: "PAY_PER_REQUEST",
      ...Object.fromEntries(
        Object.entries({
          AttributeDefinitions,
          KeySchema,
          GlobalSecondaryIndexes,
          LocalSecondaryIndexes,
        }).filter(([, value]) => value !== undefined),
      ),
    } as CreateTableCommandInput;
    await ignoring("ResourceInUseException", dynamodb.send(new CreateTableCommand(input)));
    for (let look = 0; look < tableLooksMax; look++) {
      const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName: name }));
      if (Table?.TableStatus === "ACTIVE") break;
      await new Promise((resolve) => setTimeout(resolve, tableLookMs));
    }
  }
  dynamodb.destroy();
}

async function ignoring(errorName: string, call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if ((error as Error).name !== errorName) throw error;
  }
}
