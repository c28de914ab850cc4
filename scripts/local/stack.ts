/**
 * The local AWS stack: S3, SQS, DynamoDB and Lambda on 127.0.0.1, holding what a synthesised template names.
 *
 * 1. S3, SQS and DynamoDB run as processes of their own, started again on their ports when they die. S3's objects and
 *    DynamoDB's tables lie below the state folder and survive everything; SQS keeps its messages in memory.
 * 2. The plan of the template is provisioned through the AWS SDK.
 * 3. The Lambda host in this process runs the functions; local.json says where everything is; schedules begin.
 *
 * When this process is killed, the guardian ends the others.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { dynamoDbCommand } from "./dynamodb.ts";
import { Guardian } from "./guardian.ts";
import { LambdaHost } from "./lambda/host.ts";
import { freePort } from "./ports.ts";
import { provisionBuckets, provisionQueues, provisionTables } from "./provision.ts";
import type { Weather } from "./s3/weather.ts";
import { functionUrlIds, planStack, type StackPlan } from "./stack-plan.ts";
import { claimState, type Endpoints, removeState, writeState } from "./state-file.ts";
import { SupervisedProcess } from "./supervised-process.ts";
import { parseTemplate, type Template } from "./template.ts";

export interface LocalStackOptions {
  readonly stackName: string;
  /** The CloudFormation template, as the CDK synthesises it. */
  readonly template: { readonly Resources: Readonly<Record<string, unknown>> };
  /** Absolute path of each function's code, by the function's logical id. */
  readonly codeFolders: Readonly<Record<string, string>>;
  /** Holds objects, tables, logs and local.json. */
  readonly stateDir: string;
  /** Ports to try first; a taken one is replaced by a free one, 0 takes any. @default 4566 to 4569, and 4570 upwards */
  readonly ports?: Partial<Ports>;
  /** The fastest schedule runs this often, the others in proportion. @default the template's rates; null: no schedules */
  readonly scheduleEveryMs?: number | null;
  /** Throttle and faults of S3. */
  readonly weather?: Weather;
}
export interface Ports {
  readonly s3: number;
  readonly sqs: number;
  readonly dynamodb: number;
  readonly lambda: number;
  /** The first function URL's; the next ones follow. */
  readonly functionUrl: number;
}
export type ServiceName = "s3" | "sqs" | "dynamodb";

export interface LocalStack {
  readonly endpoints: Endpoints;
  readonly region: string;
  readonly outputs: Readonly<Record<string, string>>;
  /** By function name. */
  readonly functionUrls: Readonly<Record<string, string>>;
  readonly functions: readonly string[];
  readonly buckets: readonly string[];
  readonly tables: readonly string[];
  /** URLs. */
  readonly queues: readonly string[];
  readonly lambda: LambdaHost;
  /** The variables that point an AWS SDK or the AWS CLI at this stack. */
  readonly environment: Readonly<Record<string, string>>;
  /** Current process of each server, for tests that kill one. */
  pid(service: ServiceName): number | undefined;
  setWeather(weather: Weather): Promise<void>;
  stop(): Promise<void>;
}

export const localRegion = "us-east-1";
const defaultPorts: Ports = { s3: 4566, sqs: 4567, dynamodb: 4568, lambda: 4569, functionUrl: 4570 };

export async function startLocalStack(options: LocalStackOptions): Promise<LocalStack> {
  const { stateDir, stackName } = options;
  const template = parseTemplate(options.template);
  mkdirSync(join(stateDir, "logs"), { recursive: true });
  await claimState(stateDir);
  const ports = { ...defaultPorts, ...options.ports };
  const guardian = new Guardian();
  const started: (() => Promise<void>)[] = [() => guardian.stop()];
  const stop = async () => {
    for (const end of started.splice(0).reverse()) await end();
    removeState(stateDir);
  };
  try {
    const taken = {
      s3: await freePort(ports.s3),
      sqs: await freePort(ports.sqs),
      dynamodb: await freePort(ports.dynamodb),
    };
    const sqsEndpoint = `http://127.0.0.1:${taken.sqs}`;
    const plan = planStack({
      stackName,
      template,
      codeFolders: options.codeFolders,
      region: localRegion,
      sqsEndpoint,
      functionUrls: await chooseUrls(template, ports.functionUrl),
    });
    const servers = await startServers(options, plan, taken, guardian, started);
    const serviceEndpoints = {
      s3: `http://127.0.0.1:${taken.s3}`,
      sqs: sqsEndpoint,
      dynamodb: `http://127.0.0.1:${taken.dynamodb}`,
    };
    const lambda = await LambdaHost.start({
      port: ports.lambda,
      region: localRegion,
      sandboxFolder: join(stateDir, "sandboxes"),
      logFolder: join(stateDir, "logs"),
      endpoints: endpointVariables(serviceEndpoints),
      watch: (child) => guardian.watch(child),
    });
    started.push(() => lambda.stop());
    for (const definition of plan.functions) lambda.addFunction(definition);
    for (const definition of plan.eventSources) lambda.addEventSource(definition, sqsEndpoint);
    const functionUrls: Record<string, string> = {};
    for (const { functionName, auth, url } of plan.urls) {
      functionUrls[functionName] = await lambda.addUrl(functionName, auth, Number(new URL(url).port));
    }
    const endpoints: Endpoints = { ...serviceEndpoints, lambda: lambda.endpoint };
    const childPids = Object.values(servers).flatMap(({ pid }) => pid ?? []);
    const { outputs } = plan;
    writeState(stateDir, {
      pid: process.pid,
      childPids,
      stackName,
      region: localRegion,
      endpoints,
      outputs,
      functionUrls,
    });
    if (options.scheduleEveryMs !== null) lambda.startSchedules(plan.schedules, options.scheduleEveryMs);
    return {
      endpoints,
      region: localRegion,
      outputs,
      functionUrls,
      functions: plan.functions.map(({ name }) => name),
      buckets: plan.buckets.map(({ name }) => name),
      tables: plan.tables.map(({ name }) => name),
      queues: plan.queues.map(({ url }) => url),
      lambda,
      environment: {
        ...endpointVariables(serviceEndpoints),
        AWS_ENDPOINT_URL_LAMBDA: lambda.endpoint,
        AWS_REGION: localRegion,
        AWS_DEFAULT_REGION: localRegion,
        AWS_ACCESS_KEY_ID: "local",
        AWS_SECRET_ACCESS_KEY: "local",
      },
      pid: (service) => servers[service].pid,
      setWeather: (weather) => sendWeather(serviceEndpoints.s3, weather),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function endpointVariables(endpoints: Omit<Endpoints, "lambda">): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_S3: endpoints.s3,
    AWS_ENDPOINT_URL_SQS: endpoints.sqs,
    AWS_ENDPOINT_URL_DYNAMODB: endpoints.dynamodb,
  };
}

/** Gives every function URL of the template a port that is free now. */
async function chooseUrls(template: Template, firstPort: number): Promise<Record<string, string>> {
  const urls: Record<string, string> = {};
  for (const [index, logicalId] of functionUrlIds(template).entries()) {
    const port = await freePort(firstPort === 0 ? 0 : firstPort + index);
    urls[logicalId] = `http://127.0.0.1:${port}/`;
  }
  return urls;
}

type StackProcesses = Readonly<Record<ServiceName, SupervisedProcess>>;

/** Starts the three servers side by side, each provisioned with its part of the plan before it counts as started. */
async function startServers(
  { stateDir, weather }: LocalStackOptions,
  plan: StackPlan,
  ports: Readonly<Record<ServiceName, number>>,
  guardian: Guardian,
  started: (() => Promise<void>)[],
): Promise<StackProcesses> {
  const supervise = (
    name: ServiceName,
    command: string,
    args: readonly string[],
    ready: (settings: { endpoint: string; region: string }) => Promise<void>,
  ) => {
    const settings = { endpoint: `http://127.0.0.1:${ports[name]}`, region: localRegion };
    const server = new SupervisedProcess({
      name,
      command,
      args,
      port: ports[name],
      logFile: join(stateDir, "logs", `${name}.log`),
      watch: (child) => guardian.watch(child),
      ready: () => ready(settings),
    });
    started.push(() => server.stop());
    return server;
  };
  const script = (path: string, settings: object) => [
    join(import.meta.dirname, path),
    JSON.stringify(settings),
  ];
  const s3Settings = { folder: join(stateDir, "s3"), port: ports.s3, region: localRegion, weather };
  const dynamodb = dynamoDbCommand(join(stateDir, "dynamodb"), ports.dynamodb);
  const servers: StackProcesses = {
    s3: supervise("s3", process.execPath, script("s3/main.ts", s3Settings), (settings) =>
      provisionBuckets(settings, plan.buckets),
    ),
    // Its queues are gone with the process that held them.
    sqs: supervise(
      "sqs",
      process.execPath,
      script("sqs-main.ts", { port: ports.sqs, region: localRegion }),
      (settings) => provisionQueues(settings, plan.queues),
    ),
    dynamodb: supervise("dynamodb", dynamodb.command, dynamodb.args, (settings) =>
      provisionTables(settings, plan.tables),
    ),
  };
  await Promise.all(Object.values(servers).map((server) => server.start()));
  return servers;
}

async function sendWeather(s3Endpoint: string, weather: Weather): Promise<void> {
  const response = await fetch(`${s3Endpoint}/_local/weather`, {
    method: "PUT",
    body: JSON.stringify(weather),
  });
  if (!response.ok)
    throw new Error(`The S3 server refused the weather: ${response.status} ${await response.text()}`);
}
