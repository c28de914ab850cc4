/**
 * What `cdk deploy` would make, on this machine: the synthesised template over the local AWS stack on free ports, the
 * bundles that deploy in Lambda runtime processes, and the clients that a user of it would have.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { type Message, ReceiveMessageCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { type AwsWorld, awsWorld } from "../../lib/aws/aws-world.ts";
import type { VectorStore } from "../../lib/constructs/vector-store.ts";
import { functions, storeOutputs } from "../../lib/contract/functions.ts";
import { type Synthesis, synthesize } from "../../scripts/build/synthesize.ts";
import type { FunctionDefinition } from "../../scripts/local/lambda/function.ts";
import { accountId, nameResources } from "../../scripts/local/resource-names.ts";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { TemplateResolver } from "../../scripts/local/template.ts";
import type { AlarmDefinition } from "../support/cloudwatch.ts";

export type FunctionName = "producer" | "compactor" | "query" | "embedder";

/** What a function answered, or how it failed. */
export interface Reply {
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
  readonly value: any;
  readonly failed: boolean;
}
export interface Failure {
  readonly kind: string;
  readonly message: string;
  readonly problems: { id?: string; index?: number; field: string; reason: string }[];
  readonly problemsOmitted?: number;
}

/** No alarm is of a URL. */
const anyUrls: Record<string, string> = new Proxy({}, { get: () => "http://127.0.0.1/" });
const anyPorts = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };

export class Deployed {
  readonly #folder = mkdtempSync(join(tmpdir(), "siltstone-e2e-"));
  readonly #syntheses = new Map<string, Synthesis>();
  #synthesis: Synthesis | null = null;
  #lambda: LambdaClient | null = null;
  #sqs: SQSClient | null = null;
  stack!: LocalStack;
  world!: AwsWorld;

  /** Starts it, or starts it again over the same state. `scheduleEveryMs`: null without schedules. `add`: more of the stack. `bucket`: one that is there. */
  async start(
    scheduleEveryMs: number | null,
    options: {
      queryGroups?: number;
      bucket?: string;
      /** By name, as in SILTSTONE_PROVIDERS; {} is the built-in embedder alone. */
      providers?: object;
      add?: (store: VectorStore) => void;
      recordFile?: string;
      services?: Readonly<Record<string, string>>;
      /** Of an app of somebody else, in place of all of this. */
      synthesis?: Synthesis;
    } = {},
  ): Promise<void> {
    const { queryGroups = 1, bucket, providers, add, recordFile, services = {} } = options;
    const context = {
      "query.groups": String(queryGroups),
      ...(bucket === undefined ? {} : { "storage.bucket": bucket }),
      ...(providers === undefined ? {} : { "embedding.providers": JSON.stringify(providers) }),
    };
    const kind = createHash("sha256").update(JSON.stringify(context)).digest("hex").slice(0, 8);
    const synthesis =
      options.synthesis ??
      this.#syntheses.get(kind) ??
      (await synthesize("dev", join(this.#folder, `cdk.out-${kind}`), context, add));
    this.#syntheses.set(kind, synthesis);
    this.#synthesis = synthesis;
    this.stack = await startLocalStack({
      ...synthesis,
      stateDir: this.stateDir,
      ports: anyPorts,
      scheduleEveryMs,
      services,
      ...(recordFile === undefined ? {} : { recordFile }),
    });
    // This process is an upstream of the store as well: the SDK finds everything as it does in AWS.
    Object.assign(process.env, this.stack.environment);
    this.world = awsWorld({
      bucket: this.output("bucket"),
      table: this.output("table"),
      queueUrl: this.output("queueUrl"),
      deadLetterQueueUrl: this.output("deadLetterQueueUrl"),
    });
    this.#lambda = new LambdaClient({ maxAttempts: 1 });
    this.#sqs = new SQSClient({});
  }

  /** Another stack of the same template, without schedules, over a state of its own; its folder is `stateDir`. */
  async startBeside(): Promise<{ readonly stack: LocalStack; readonly stateDir: string }> {
    const stateDir = join(this.#folder, "state-beside");
    const stack = await startLocalStack({
      ...this.#synthesis!,
      stateDir,
      ports: anyPorts,
      scheduleEveryMs: null,
    });
    return { stack, stateDir };
  }

  async stop(): Promise<void> {
    this.#lambda?.destroy();
    this.#sqs?.destroy();
    await this.stack?.stop();
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get stackName(): string {
    return this.synthesis.stackName;
  }

  /** Of what is deployed. */
  get synthesis(): Synthesis {
    return this.#synthesis!;
  }

  /** Where local.json lies, for the command line. */
  get stateDir(): string {
    return join(this.#folder, "state");
  }

  output(name: keyof typeof storeOutputs): string {
    return this.stack.outputs[storeOutputs[name]]!;
  }

  #functionName(name: FunctionName): string {
    return this.stack.outputs[functions[name].output]!;
  }

  /** Direct invocation; `value` of a failure is Lambda's own {errorType, errorMessage}. */
  async invoke(name: FunctionName, event: object): Promise<Reply> {
    const command = new InvokeCommand({
      FunctionName: this.#functionName(name),
      Payload: JSON.stringify(event),
    });
    const { Payload, FunctionError } = await this.#lambda!.send(command);
    return { value: JSON.parse(Payload!.transformToString()), failed: FunctionError !== undefined };
  }

  /** The answer of an invocation that must succeed. */
  async answer(name: FunctionName, event: object): Promise<Reply["value"]> {
    const { value, failed } = await this.invoke(name, event);
    if (failed) throw new Error(`${name} failed: ${JSON.stringify(value).slice(0, 2_000)}`);
    return value;
  }

  /** The error of an invocation that must fail, as callers read it. */
  async failure(name: FunctionName, event: object): Promise<Failure> {
    const { value, failed } = await this.invoke(name, event);
    if (!failed) throw new Error(`${name} did not fail: ${JSON.stringify(value).slice(0, 2_000)}`);
    const failure = JSON.parse(value.errorMessage) as Failure;
    expect(value.errorType).toBe(failure.kind);
    return failure;
  }

  async http(
    name: "producer" | "query",
    path: string,
    init: RequestInit = {},
  ): Promise<{ status: number; body: Reply["value"] }> {
    const response = await fetch(new URL(path, this.stack.outputs[functions[name].urlOutput]!), init);
    return { status: response.status, body: await response.json() };
  }

  /** The alarms of the template, with what they refer to by its name. */
  alarms(): AlarmDefinition[] {
    const { template, stackName } = this.#synthesis!;
    const { endpoints, region } = this.stack;
    const names = nameResources({
      template,
      stackName,
      region,
      sqsEndpoint: endpoints.sqs,
      functionUrls: anyUrls,
    });
    const resolver = new TemplateResolver(names, { name: stackName, region, accountId });
    return Object.values(template.Resources)
      .filter(({ Type }) => Type === "AWS::CloudWatch::Alarm")
      .map(({ Properties }) => resolver.resolve(Properties, "alarm") as AlarmDefinition);
  }

  /** Of the processes that serve it. */
  pids(name: FunctionName): readonly number[] {
    return this.stack.lambda.function(this.#functionName(name)).pids;
  }

  /** From here on it has other settings, and no URL. */
  async redefine(name: FunctionName, change: (definition: FunctionDefinition) => FunctionDefinition) {
    const pool = this.stack.lambda.function(this.#functionName(name));
    await pool.stop();
    this.stack.lambda.addFunction(change(pool.definition));
  }

  /** The next call of the function meets a process that has just started. */
  async killProcesses(name: FunctionName): Promise<void> {
    const pool = this.stack.lambda.function(this.#functionName(name));
    for (const pid of pool.pids) process.kill(pid, "SIGKILL");
    await eventually(async () => (pool.pids.length === 0 ? true : undefined));
  }

  async send(body: string): Promise<void> {
    await this.#sqs!.send(new SendMessageCommand({ QueueUrl: this.output("queueUrl"), MessageBody: body }));
  }

  /** An event as the schedules send it; it ends, well or not, by itself. */
  async sendEvent(name: FunctionName, event: object): Promise<void> {
    const command = new InvokeCommand({
      FunctionName: this.#functionName(name),
      InvocationType: "Event",
      Payload: JSON.stringify(event),
    });
    await this.#lambda!.send(command);
  }

  /** What EventBridge Scheduler puts beside failed events when it could not deliver one. */
  async sendUndelivered(event: object): Promise<void> {
    const attribute = (StringValue: string) => ({ DataType: "String", StringValue });
    const command = new SendMessageCommand({
      QueueUrl: this.output("failedEventsQueueUrl"),
      MessageBody: JSON.stringify(event),
      MessageAttributes: {
        ERROR_CODE: attribute("AccessDeniedException"),
        ERROR_MESSAGE: attribute("the role may not invoke the function"),
      },
    });
    await this.#sqs!.send(command);
  }

  async receive(queue: "queueUrl" | "deadLetterQueueUrl"): Promise<Message[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.output(queue),
      MaxNumberOfMessages: 10,
      MessageAttributeNames: ["All"],
      VisibilityTimeout: 0,
    });
    return (await this.#sqs!.send(command)).Messages ?? [];
  }

  async keys(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for await (const page of this.world.store.list(prefix)) for (const { key } of page) keys.push(key);
    return keys;
  }

  /** What the bucket's policy lets no principal do in one step. */
  async replace(key: string, body: Uint8Array): Promise<void> {
    await this.world.store.delete([key]);
    expect(await this.world.store.put(key, body, { ifAbsent: true })).toMatchObject({ kind: "written" });
  }

  /** Everything that the function has logged so far. */
  log(name: FunctionName): string {
    return this.#logOf(this.#functionName(name));
  }

  /** The lines of every function, query groups included. */
  logLines(): string[] {
    return this.stack.functions.flatMap((name) => this.#logOf(name).split("\n"));
  }

  #logOf(functionName: string): string {
    const path = join(this.stateDir, "logs", `${functionName}.log`);
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }
}

/** Repeats what happens by itself; the bound only ends a hanging test. */
export async function eventually<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 300; tries++) {
    const found = await attempt();
    if (found !== undefined) return found;
    await sleep(100);
  }
  throw new Error("it never happened");
}

export const dims = 8;
export const vectorOf = (n: number): number[] =>
  Array.from({ length: dims }, (_, i) => Math.sin(n * 7.3 + i * 1.7 + 1));
export const base64Of = (vector: number[]): string =>
  Buffer.from(new Float32Array(vector).buffer).toString("base64");
export const json = (body: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});
