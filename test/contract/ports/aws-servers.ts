/**
 * SQS and DynamoDB for the contract suites: servers on this machine always, and real AWS (queues and a table of the
 * suite's own, deleted afterwards) when CONTRACT_AWS=1. S3 comes from ../aws-target.ts.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateTableCommand,
  DeleteTableCommand,
  DynamoDBClient,
  waitUntilTableExists,
} from "@aws-sdk/client-dynamodb";
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteQueueCommand,
  ReceiveMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { DynamoDbJobTable } from "../../../lib/aws/dynamodb-job-table.ts";
import { DynamoDbLeaseTable } from "../../../lib/aws/dynamodb-lease-table.ts";
import { DynamoDbLimitTable } from "../../../lib/aws/dynamodb-limit-table.ts";
import { SqsDeltaQueue } from "../../../lib/aws/sqs-delta-queue.ts";
import { jobIndex, table } from "../../../lib/contract/names.ts";
import { localCredentials } from "../aws-target.ts";
import type { QueueUnderTest } from "./queue.ts";

export const runsOnAws = process.env.CONTRACT_AWS === "1";
const startMs = 10_000;
const projectRoot = join(import.meta.dirname, "../../..");
const localConfiguration = { region: "us-east-1", credentials: localCredentials };

export interface RunningServer {
  readonly endpoint: string;
  stop(): Promise<void>;
}

export async function startSqsServer(): Promise<RunningServer> {
  const port = await freePort();
  const options = JSON.stringify({ port, host: "127.0.0.1", logger: false });
  const script = `import { startFauxqs } from "fauxqs"; startFauxqs(${options});`;
  return startServer(process.execPath, ["--input-type=module", "-e", script], port);
}

/** The static binary where there is one, else the JavaScript emulator: what the local stack does too. */
export async function startDynamoDbServer(): Promise<RunningServer> {
  const port = await freePort();
  const find = createRequire(import.meta.url).resolve;
  try {
    const binary = join(find("@dynoxide/linux-x64/package.json"), "../dynoxide");
    return await startServer(binary, ["--host", "127.0.0.1", "--port", String(port)], port);
  } catch {
    const script = `require("dynalite")({ createTableMs: 0 }).listen(${port}, "127.0.0.1")`;
    return startServer(process.execPath, ["-e", script], port);
  }
}

/** Queues made one pair a test. */
export function queueMaker(endpoint: string | null): {
  make: () => Promise<QueueUnderTest>;
  close: () => Promise<void>;
} {
  const client = new SQSClient(endpoint ? { endpoint, ...localConfiguration } : {});
  const made: string[] = [];
  const create = async (kind: string): Promise<string> => {
    const QueueName = `siltstone-contract-${kind}-${randomUUID()}`;
    // Longer than the suite: only `passVisibility` shows a message again.
    const answer = await client.send(
      new CreateQueueCommand({ QueueName, Attributes: { VisibilityTimeout: "120" } }),
    );
    made.push(answer.QueueUrl!);
    return endpoint ? `${endpoint}/000000000000/${QueueName}` : answer.QueueUrl!;
  };
  const make = async (): Promise<QueueUnderTest> => {
    const queueUrl = await create("live");
    const deadLetterQueueUrl = await create("dead");
    return {
      queue: new SqsDeltaQueue(client, { queueUrl, deadLetterQueueUrl }),
      async passVisibility(messages) {
        for (const { receipt } of messages) {
          const input = { QueueUrl: queueUrl, ReceiptHandle: receipt, VisibilityTimeout: 0 };
          // A deleted message has no visibility left to change.
          await client.send(new ChangeMessageVisibilityCommand(input)).catch(() => undefined);
        }
      },
      async deadLetters() {
        const input = { QueueUrl: deadLetterQueueUrl, MessageAttributeNames: ["All"], WaitTimeSeconds: 1 };
        const { Messages = [] } = await client.send(new ReceiveMessageCommand(input));
        return Messages.map((message) => ({
          body: message.Body!,
          reason: message.MessageAttributes?.reason?.StringValue ?? "",
        }));
      },
    };
  };
  const close = async (): Promise<void> => {
    for (const QueueUrl of made) await client.send(new DeleteQueueCommand({ QueueUrl }));
    client.destroy();
  };
  return { make, close };
}

export interface LeaseTableUnderTest {
  readonly tableName: string;
  readonly leases: DynamoDbLeaseTable;
  readonly limits: DynamoDbLimitTable;
  readonly jobs: DynamoDbJobTable;
  /** The same table in the hands of a process to which `happens` happens once, right after its next read. */
  readonly interrupted: (happens: () => Promise<unknown>) => DynamoDbLeaseTable;
  readonly close: () => Promise<void>;
}

/** One table for a whole suite. */
export async function leaseTable(endpoint: string | null): Promise<LeaseTableUnderTest> {
  const client = new DynamoDBClient(endpoint ? { endpoint, ...localConfiguration } : {});
  const TableName = `siltstone-contract-${randomUUID()}`;
  const keys = [
    { name: table.partitionKey, kind: "HASH" },
    { name: table.sortKey, kind: "RANGE" },
  ] as const;
  await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: "PAY_PER_REQUEST",
      KeySchema: keys.map(({ name, kind }) => ({ AttributeName: name, KeyType: kind })),
      AttributeDefinitions: [
        ...[...keys.map(({ name }) => name), jobIndex.partitionKey].map((name) => ({
          AttributeName: name,
          AttributeType: "S" as const,
        })),
        { AttributeName: jobIndex.sortKey, AttributeType: "N" },
      ],
      GlobalSecondaryIndexes: [
        {
          IndexName: jobIndex.name,
          KeySchema: [
            { AttributeName: jobIndex.partitionKey, KeyType: "HASH" },
            { AttributeName: jobIndex.sortKey, KeyType: "RANGE" },
          ],
          Projection: { ProjectionType: "KEYS_ONLY" },
        },
      ],
    }),
  );
  await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1 }, { TableName });
  const close = async (): Promise<void> => {
    await client.send(new DeleteTableCommand({ TableName }));
    client.destroy();
  };
  const leases = new DynamoDbLeaseTable(DynamoDBDocumentClient.from(client), TableName);
  const limits = new DynamoDbLimitTable(DynamoDBDocumentClient.from(client), TableName);
  const jobs = new DynamoDbJobTable(DynamoDBDocumentClient.from(client), TableName);
  const interrupted = (happens: () => Promise<unknown>) => {
    const other = new DynamoDBClient(endpoint ? { endpoint, ...localConfiguration } : {});
    let waits = true;
    other.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const answer = await next(args);
          if (commandName === "GetItemCommand" && waits) {
            waits = false;
            await happens();
          }
          return answer;
        },
      { step: "initialize", name: "interruption" },
    );
    return new DynamoDbLeaseTable(DynamoDBDocumentClient.from(other), TableName);
  };
  return { tableName: TableName, leases, limits, jobs, interrupted, close };
}

async function startServer(command: string, args: string[], port: number): Promise<RunningServer> {
  const child = spawn(command, args, { stdio: "ignore", cwd: projectRoot });
  const ended = once(child, "exit");
  const endpoint = `http://127.0.0.1:${port}`;
  for (let waitedMs = 0; waitedMs < startMs; waitedMs += 50) {
    const up = await fetch(endpoint).then(
      () => true,
      () => false,
    );
    if (up) {
      return {
        endpoint,
        async stop() {
          child.kill();
          await ended;
        },
      };
    }
    if (child.exitCode !== null) break;
    await sleep(50);
  }
  child.kill();
  throw new Error(`${command} does not answer on port ${port}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
