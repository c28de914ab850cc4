/**
 * S3, SQS and DynamoDB as processes of their own. Each is filled with its part of the plan at every start, before it
 * counts as started: what is on disk stays as it is, and SQS, which keeps everything in memory, gets its queues again.
 */
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import type { DynamoDbCommand } from "./dynamodb.ts";
import { type ClientSettings, provisionBuckets, provisionQueues, provisionTables } from "./provision.ts";
import type { FaultInjection } from "./s3/fault-injection.ts";
import type { StackPlan } from "./stack-plan.ts";
import { SupervisedProcess } from "./supervised-process.ts";

export type ServiceName = "s3" | "sqs" | "dynamodb";

export interface ServersOptions {
  readonly stateDir: string;
  readonly region: string;
  readonly plan: StackPlan;
  readonly ports: Readonly<Record<"s3" | "sqs", number>>;
  readonly dynamodb: DynamoDbCommand;
  readonly faultInjection: FaultInjection | undefined;
  readonly watch: (child: ChildProcess) => void;
}

export function createServers(options: ServersOptions): Readonly<Record<ServiceName, SupervisedProcess>> {
  const { stateDir, region, plan, ports, dynamodb, faultInjection, watch } = options;
  const server = (
    name: ServiceName,
    { command, args, host, port }: Omit<DynamoDbCommand, "emulator">,
    fill: (settings: ClientSettings) => Promise<void>,
  ) =>
    new SupervisedProcess({
      name,
      command,
      args,
      host,
      port,
      logFile: join(stateDir, "logs", `${name}.log`),
      watch,
      ready: () => fill({ endpoint: `http://${host}:${port}`, region }),
    });
  const script = (path: string, settings: { readonly port: number; readonly [name: string]: unknown }) => ({
    command: process.execPath,
    args: [join(import.meta.dirname, path), JSON.stringify(settings)],
    host: "127.0.0.1",
    port: settings.port,
  });
  const s3 = script("s3/main.ts", {
    folder: join(stateDir, "s3"),
    port: ports.s3,
    region,
    faultInjection,
    access: plan.access,
  });
  const sqs = script("sqs/main.ts", { port: ports.sqs, region, access: plan.access });
  return {
    s3: server("s3", s3, (settings) => provisionBuckets(settings, plan.buckets)),
    sqs: server("sqs", sqs, (settings) => provisionQueues(settings, plan.queues)),
    dynamodb: server("dynamodb", dynamodb, (settings) => provisionTables(settings, plan.tables)),
  };
}
