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
import type { ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";
import type { Server } from "node:http";
import { join } from "node:path";
import { createCustomResources } from "./custom-resources.ts";
import { createDynamoDbProxy, dynamoDbCommand } from "./dynamodb.ts";
import { Guardian } from "./guardian.ts";
import { AccessControl } from "./iam/access.ts";
import { askedByLogs } from "./iam/requests.ts";
import { LambdaHost } from "./lambda/host.ts";
import { freePort, type HeldPort, holdPort, listen } from "./ports.ts";
import { accountId } from "./resource-names.ts";
import type { FaultInjection } from "./s3/fault-injection.ts";
import { createServers, type ServiceName } from "./servers.ts";
import { functionUrlIds, planStack, type StackPlan } from "./stack-plan.ts";
import { claimState, type Endpoints, type LocalState, removeState, writeState } from "./state-file.ts";
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
  readonly faultInjection?: FaultInjection;
  /** Where functions find services that this stack does not have, as AWS_ENDPOINT_URL_…. @default nowhere but at AWS */
  readonly services?: Readonly<Record<string, string>>;
  /** File to which the requests that the template's roles allowed are appended (iam/access.ts). @default none */
  readonly recordFile?: string;
}
export interface Ports {
  readonly s3: number;
  readonly sqs: number;
  readonly dynamodb: number;
  readonly lambda: number;
  /** The first function URL's; the next ones follow. */
  readonly functionUrl: number;
}
export interface LocalStack {
  readonly endpoints: Endpoints;
  readonly region: string;
  readonly outputs: Readonly<Record<string, string>>;
  /** URLs by function name. */
  readonly functionUrls: Readonly<Record<string, string>>;
  readonly functions: readonly string[];
  readonly buckets: readonly string[];
  readonly tables: readonly string[];
  /** URLs. */
  readonly queues: readonly string[];
  readonly lambda: LambdaHost;
  /** Who may do what, for servers beside the stack's own. */
  readonly access: AccessControl;
  /** The variables that point an AWS SDK or the AWS CLI at this stack. */
  readonly environment: Readonly<Record<string, string>>;
  /** Current process of each server, for tests that kill one. */
  pid(service: ServiceName): number | undefined;
  setFaultInjection(faultInjection: FaultInjection): Promise<void>;
  /** As an update of the stack: its functions have the code and the settings of another synthesis; whatever else it has stays. */
  deploy(update: Pick<LocalStackOptions, "template" | "codeFolders">): Promise<void>;
  stop(): Promise<void>;
}

export const localRegion = "us-east-1";
const defaultPorts: Ports = { s3: 4566, sqs: 4567, dynamodb: 4568, lambda: 4569, functionUrl: 4570 };

export async function startLocalStack(options: LocalStackOptions): Promise<LocalStack> {
  mkdirSync(join(options.stateDir, "logs"), { recursive: true });
  await claimState(options.stateDir);
  const guardian = new Guardian();
  const started: (() => Promise<void>)[] = [() => guardian.stop()];
  const stop = async () => {
    for (const end of started.splice(0).reverse()) await end();
    removeState(options.stateDir);
  };
  try {
    return { ...(await startParts(options, guardian, started)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const urlAt = (port: number): string => `http://127.0.0.1:${port}`;

/** Starts everything in order; `started` gets what ends each part, also when a later one fails. */
async function startParts(
  options: LocalStackOptions,
  guardian: Guardian,
  started: (() => Promise<void>)[],
): Promise<Omit<LocalStack, "stop">> {
  const { stateDir, stackName, codeFolders } = options;
  const template = parseTemplate(options.template);
  const ports = { ...defaultPorts, ...options.ports };
  const region = localRegion;
  const taken = {
    s3: await freePort(ports.s3),
    sqs: await freePort(ports.sqs),
    dynamodb: await freePort(ports.dynamodb),
  };
  const services = { s3: urlAt(taken.s3), sqs: urlAt(taken.sqs), dynamodb: urlAt(taken.dynamodb) };
  const urlPorts = await holdUrlPorts(template, ports.functionUrl);
  started.push(async () => {
    for (const held of urlPorts.values()) await held.release();
  });
  const naming = {
    stackName,
    region,
    functionUrls: Object.fromEntries(
      [...urlPorts].map(([logicalId, held]) => [logicalId, `${urlAt(held.port)}/`]),
    ),
    sqsEndpoint: services.sqs,
  };
  const planned = planStack({ ...naming, template, codeFolders });
  const { recordFile } = options;
  const plan = recordFile === undefined ? planned : { ...planned, access: { ...planned.access, recordFile } };
  const watch = (child: ChildProcess) => guardian.watch(child);
  const access = new AccessControl(plan.access, accountId);
  checkLogKeys(access, region);
  const dynamodb = await dynamoDbCommand(join(stateDir, "dynamodb"));
  const { faultInjection } = options;
  const servers = createServers({ stateDir, region, plan, ports: taken, dynamodb, faultInjection, watch });
  started.push(...Object.values(servers).map((server) => () => server.stop()));
  started.push(
    await startProxy(createDynamoDbProxy(dynamodb, access, { region, planned: plan.tables }), taken.dynamodb),
  );
  await Promise.all(Object.values(servers).map((server) => server.start()));
  const lambda = await LambdaHost.start({
    port: ports.lambda,
    region,
    sandboxFolder: join(stateDir, "sandboxes"),
    logFolder: join(stateDir, "logs"),
    endpoints: { ...options.services, ...endpointVariables(services) },
    watch,
    access,
  });
  started.push(() => lambda.stop());
  for (const held of urlPorts.values()) await held.release();
  await fillHost(lambda, plan, services.sqs);
  // After all that they are told of is there.
  await Promise.all(plan.functions.map(({ name }) => lambda.function(name).provision()));
  await createCustomResources(plan.customResources, stackName, (name, event) =>
    lambda.function(name).invoke(event),
  );
  const state: LocalState = {
    pid: process.pid,
    childPids: Object.values(servers).flatMap(({ pid }) => pid ?? []),
    stackName,
    region,
    endpoints: { ...services, lambda: lambda.endpoint },
    outputs: plan.outputs,
    functionUrls: Object.fromEntries(plan.urls.map(({ functionName, url }) => [functionName, url])),
  };
  writeState(stateDir, state);
  if (options.scheduleEveryMs !== null) lambda.startSchedules(plan.schedules, options.scheduleEveryMs);
  return {
    ...describe(state, plan),
    lambda,
    access,
    pid: (service) => servers[service].pid,
    setFaultInjection: (faultInjection) => sendFaultInjection(services.s3, faultInjection),
    deploy: async (update) => {
      const next = planStack({ ...naming, ...update, template: parseTemplate(update.template) });
      await Promise.all(next.functions.map((definition) => lambda.replaceFunction(definition)));
    },
  };
}

/** CloudFormation makes no log group with a key that CloudWatch Logs may not use. */
function checkLogKeys(access: AccessControl, region: string): void {
  for (const [arn, keyArn] of Object.entries(access.rules.keys ?? {})) {
    if (!arn.startsWith("arn:aws:logs:")) continue;
    for (const asked of askedByLogs(keyArn, arn)) {
      const denial = access.denialOfService(`logs.${region}.amazonaws.com`, asked);
      if (denial !== null) throw new Error(`${arn}: ${denial.message}`);
    }
  }
}

/** Answers what stops it. */
async function startProxy(proxy: Server, port: number): Promise<() => Promise<void>> {
  const stop = async (): Promise<void> => {
    proxy.closeAllConnections();
    proxy.close();
  };
  if ((await listen(proxy, port)) === port) return stop;
  await stop();
  throw new Error(`The port ${port} was taken while the stack started; start it again.`);
}

/** What callers of a running stack need to know of it. */
function describe(
  { region, endpoints, outputs, functionUrls }: LocalState,
  plan: StackPlan,
): Omit<LocalStack, "stop" | "lambda" | "access" | "pid" | "setFaultInjection" | "deploy"> {
  return {
    endpoints,
    region,
    outputs,
    functionUrls,
    functions: plan.functions.map(({ name }) => name),
    buckets: plan.buckets.map(({ name }) => name),
    tables: plan.tables.map(({ name }) => name),
    queues: plan.queues.map(({ url }) => url),
    environment: {
      ...endpointVariables(endpoints),
      AWS_ENDPOINT_URL_LAMBDA: endpoints.lambda,
      AWS_REGION: region,
      AWS_DEFAULT_REGION: region,
      AWS_ACCESS_KEY_ID: "local",
      AWS_SECRET_ACCESS_KEY: "local",
    },
  };
}

async function fillHost(lambda: LambdaHost, plan: StackPlan, sqsEndpoint: string): Promise<void> {
  for (const definition of plan.functions) lambda.addFunction(definition);
  for (const definition of plan.eventSources) lambda.addEventSource(definition, sqsEndpoint);
  for (const { functionName, alias, auth, url } of plan.urls) {
    const served = await lambda.addUrl(functionName, auth, Number(new URL(url).port), alias);
    // Outputs and environments already name the port that was free a moment ago.
    if (served !== url)
      throw new Error(`The port of ${url} was taken while the stack started; start it again.`);
  }
}

function endpointVariables(endpoints: Omit<Endpoints, "lambda">): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_S3: endpoints.s3,
    AWS_ENDPOINT_URL_SQS: endpoints.sqs,
    AWS_ENDPOINT_URL_DYNAMODB: endpoints.dynamodb,
  };
}

/** A port for every function URL of the template, kept free for it until the host serves it: starting takes seconds. */
async function holdUrlPorts(template: Template, firstPort: number): Promise<Map<string, HeldPort>> {
  const ports = new Map<string, HeldPort>();
  for (const [index, logicalId] of functionUrlIds(template).entries())
    ports.set(logicalId, await holdPort(firstPort === 0 ? 0 : firstPort + index));
  return ports;
}

async function sendFaultInjection(s3Endpoint: string, faultInjection: FaultInjection): Promise<void> {
  const response = await fetch(`${s3Endpoint}/_local/fault-injection`, {
    method: "PUT",
    body: JSON.stringify(faultInjection),
  });
  if (!response.ok)
    throw new Error(
      `The S3 server refused the faults to inject: ${response.status} ${await response.text()}`,
    );
}
