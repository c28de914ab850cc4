/**
 * The Lambda host: functions by name, the API that invokes them, their URLs and their schedules. Every function runs
 * the bundle that deploys, each sandbox in a process of its own.
 */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, rmSync, type WriteStream } from "node:fs";
import type { IncomingMessage, Server } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { type AccessControl, accessKeyOf, type Denial } from "../iam/access.ts";
import { askedOfInvoke, askedOfUrl } from "../iam/requests.ts";
import { accessKeyOfFunction, accessKeyOfRole } from "../iam/rules.ts";
import { openLog } from "../log-file.ts";
import { listen } from "../ports.ts";
import { EventSource, type EventSourceDefinition } from "./event-sources.ts";
import { type FunctionDefinition, LambdaApiError } from "./function.ts";
import { FunctionPool } from "./function-pool.ts";
import { createFunctionUrl, type UrlAuth } from "./function-url.ts";
import { createInvokeApi } from "./invoke-api.ts";
import { type ScheduleDefinition, Schedules } from "./schedules.ts";

export interface LambdaHostOptions {
  readonly port: number;
  readonly region: string;
  /** Holds the sandboxes' /tmp folders, which are emptied at every start. */
  readonly sandboxFolder: string;
  /** Gets one log file per function. */
  readonly logFolder: string;
  /** AWS_ENDPOINT_URL_… of the other services; the host adds its own. */
  readonly endpoints: Readonly<Record<string, string>>;
  readonly watch: (child: ChildProcess) => void;
  /** Which callers may invoke what. @default every caller may invoke everything */
  readonly access?: AccessControl;
  /** @default 5 minutes */
  readonly idleMs?: number;
  /** @default 64 */
  readonly concurrencyMax?: number;
}

/** How long an asynchronous invocation waits for a free slot before it is dropped. */
const eventAgeMaxMs = 60_000;
const eventRetryMs = 250;

export class LambdaHost {
  readonly endpoint: string;
  readonly port: number;
  private readonly options: LambdaHostOptions;
  private readonly pools: Map<string, FunctionPool>;
  private readonly servers: Server[];
  private readonly logs: WriteStream[] = [];
  private readonly eventSources: EventSource[] = [];
  private readonly schedules = new Schedules();
  private readonly later = new Set<Promise<void>>();
  private stopping = false;

  private constructor(
    options: LambdaHostOptions,
    port: number,
    pools: Map<string, FunctionPool>,
    api: Server,
  ) {
    this.options = options;
    this.port = port;
    this.endpoint = `http://127.0.0.1:${port}`;
    this.pools = pools;
    this.servers = [api];
  }

  static async start(options: LambdaHostOptions): Promise<LambdaHost> {
    rmSync(options.sandboxFolder, { recursive: true, force: true });
    mkdirSync(options.sandboxFolder, { recursive: true });
    mkdirSync(options.logFolder, { recursive: true });
    const pools = new Map<string, FunctionPool>();
    // The API begins to listen before the host that answers for it exists; nothing calls it until start returns.
    let host: LambdaHost | null = null;
    const api = createInvokeApi({
      find: (name) => pools.get(name),
      all: () => [...pools.values()],
      invokeLater: (pool, payload) => void host?.invokeLater(pool, payload),
      denialOf: (request, asked) =>
        options.access?.denialOf(accessKeyOf(request.headers.authorization), asked) ?? null,
    });
    host = new LambdaHost(options, await listen(api, options.port), pools, api);
    return host;
  }

  addFunction(definition: FunctionDefinition): void {
    const { region, sandboxFolder, logFolder, endpoints, watch } = this.options;
    const log = openLog(join(logFolder, `${definition.name}.log`));
    this.logs.push(log);
    this.pools.set(
      definition.name,
      new FunctionPool(definition, {
        region,
        watch,
        folder: sandboxFolder,
        platformEnvironment: { ...endpoints, AWS_ENDPOINT_URL_LAMBDA: this.endpoint },
        log: (text) => log.write(text),
        idleMs: this.options.idleMs ?? 5 * 60_000,
        concurrencyMax: this.options.concurrencyMax ?? 64,
      }),
    );
  }

  /** As Lambda updates a function: calls that come from now on are the new one's, those that it has end with the old one. */
  async replaceFunction(definition: FunctionDefinition): Promise<void> {
    const old = this.function(definition.name);
    this.addFunction(definition);
    await Promise.all([old.retire(), this.function(definition.name).provision()]);
  }

  function(name: string): FunctionPool {
    const pool = this.pools.get(name);
    if (!pool) throw new Error(`No function is called ${name}.`);
    return pool;
  }

  /** Serves a function, or its alias, under a URL of its own and returns it. */
  async addUrl(functionName: string, auth: UrlAuth, port: number, alias?: string): Promise<string> {
    const server = createFunctionUrl(
      () => this.function(functionName),
      auth,
      (request) => this.denialOfUrl(functionName, alias, request),
    );
    const taken = await listen(server, port);
    this.servers.push(server);
    return `http://127.0.0.1:${taken}/`;
  }

  addEventSource(definition: EventSourceDefinition, sqsEndpoint: string): void {
    const settings = { endpoint: sqsEndpoint, region: this.options.region };
    const pool = () => this.function(definition.functionName);
    this.eventSources.push(new EventSource(definition, settings, pool));
  }

  startSchedules(definitions: readonly ScheduleDefinition[], fastestEveryMs: number | undefined): void {
    if (definitions.length === 0) return;
    this.schedules.start(definitions, fastestEveryMs, async (schedule) => {
      const pool = this.function(schedule.functionName);
      const asked = askedOfInvoke(pool.definition.arn);
      const denial = this.options.access?.denialOf(accessKeyOfRole(schedule.roleArn), asked) ?? null;
      if (denial === null) await this.invokeLater(pool, Buffer.from(schedule.input));
      else console.error(`schedule ${schedule.name}: ${denial.message}`);
    });
  }

  /** A request that is not signed comes from the person at this machine, as curl and browsers do not sign. */
  private denialOfUrl(
    functionName: string,
    alias: string | undefined,
    { headers }: IncomingMessage,
  ): Denial | null {
    const accessKey = accessKeyOf(headers.authorization);
    if (accessKey === null) return null;
    const { arn } = this.function(functionName).definition;
    const asked = askedOfUrl(alias === undefined ? arn : `${arn}:${alias}`);
    return this.options.access?.denialOf(accessKey, asked) ?? null;
  }

  /** An asynchronous invocation: waits for a slot, runs once, and is never retried after an error. */
  private async invokeLater(pool: FunctionPool, payload: Buffer): Promise<void> {
    const run = this.runWhenFree(pool, payload);
    this.later.add(run);
    await run;
    this.later.delete(run);
  }

  private async runWhenFree(pool: FunctionPool, payload: Buffer): Promise<void> {
    const limitMs = Date.now() + eventAgeMaxMs;
    while (!this.stopping) {
      try {
        const { outcome } = await pool.invoke(payload);
        if (outcome.kind === "failed") await this.tellOfFailure(pool, payload, outcome.payload);
        return;
      } catch (error) {
        const isThrottled = error instanceof LambdaApiError && error.code === "TooManyRequestsException";
        if (!isThrottled || Date.now() > limitMs) {
          if (!this.stopping) console.error(`An event for ${pool.definition.name} was dropped: ${error}`);
          return;
        }
        await sleep(eventRetryMs);
      }
    }
  }

  /** The destination of failed asynchronous invocations, which the function's role sends to. */
  private async tellOfFailure({ definition }: FunctionPool, payload: Buffer, failure: Buffer): Promise<void> {
    const { name, arn, failureQueueUrl } = definition;
    if (failureQueueUrl === undefined) return;
    const sqs = new SQSClient({
      endpoint: this.options.endpoints.AWS_ENDPOINT_URL_SQS!,
      region: this.options.region,
      credentials: { accessKeyId: accessKeyOfFunction(name), secretAccessKey: "local" },
    });
    const record = {
      version: "1.0",
      timestamp: new Date().toISOString(),
      requestContext: {
        functionArn: `${arn}:$LATEST`,
        condition: "RetriesExhausted",
        approximateInvokeCount: 1,
      },
      requestPayload: JSON.parse(payload.toString()) as unknown,
      responseContext: { statusCode: 200, executedVersion: "$LATEST", functionError: "Unhandled" },
      responsePayload: JSON.parse(failure.toString()) as unknown,
    };
    try {
      await sqs.send(
        new SendMessageCommand({ QueueUrl: failureQueueUrl, MessageBody: JSON.stringify(record) }),
      );
    } catch (error) {
      if (!this.stopping) console.error(`The failed event of ${name} was not kept: ${error}`);
    } finally {
      sqs.destroy();
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.schedules.stop();
    const sources = this.eventSources.map((source) => source.stop());
    await Promise.all([...this.pools.values()].map((pool) => pool.stop()));
    await Promise.all([...this.later, ...sources]);
    for (const server of this.servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    for (const log of this.logs) await new Promise<void>((resolve) => log.end(() => resolve()));
    rmSync(this.options.sandboxFolder, { recursive: true, force: true });
  }
}
