/**
 * One execution environment: a process that runs a function's bundle under AWS's own runtime client.
 *
 * 1. start: spawn, wait until the runtime asks for its first invocation (init).
 * 2. invoke: thaw (SIGCONT), hand over the event, wait for the answer and for the runtime to ask again.
 * 3. freeze (SIGSTOP) until the next invocation: nothing runs between invocations, as in Lambda.
 *
 * The process is killed when an invocation outlives the function's timeout or the process outgrows its memory.
 * Its environment holds what Lambda gives and the function declares, nothing of this machine's but the PATH.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { accessKeyOfFunction } from "../iam/rules.ts";
import { type FunctionDefinition, failed, logTailBytes, type Outcome } from "./function.ts";
import { type Invocation, RuntimeApi } from "./runtime-api.ts";
import { residentMegabytes } from "./sandbox-memory.ts";

export interface SandboxOptions {
  readonly definition: FunctionDefinition;
  readonly region: string;
  /** Endpoints of the other services. */
  readonly platformEnvironment: Readonly<Record<string, string>>;
  /** Gets a folder of its own below for its /tmp. */
  readonly folder: string;
  readonly log: (text: string) => void;
  readonly watch: (child: ChildProcess) => void;
}
export type InitResult = { readonly kind: "ready" } | { readonly kind: "failed"; readonly outcome: Outcome };
export interface InvokeResult {
  readonly outcome: Outcome;
  /** The last 4 KB of the invocation's log, REPORT line included. */
  readonly logTail: string;
}

const runtimeClient = createRequire(import.meta.url).resolve("aws-lambda-ric");
const rapidClient = join(import.meta.dirname, "rapid-client.cjs");
const memoryCheckMs = 100;

interface Running {
  readonly invocation: Invocation;
  readonly startedMs: number;
  log: string;
  outcome: Outcome | null;
  peakMegabytes: number;
  finish(): void;
}

export class Sandbox {
  private readonly options: SandboxOptions;
  private readonly api: RuntimeApi;
  private readonly tmp: string;
  private child: ChildProcess | null = null;
  private running: Running | null = null;
  private initLog = "";
  private initMs: number | null = null;
  private endedBecause: string | null = null;
  private killedFor: "timeout" | "memory" | null = null;
  private settleInit: ((result: InitResult) => void) | null = null;

  constructor(options: SandboxOptions) {
    this.options = options;
    this.tmp = join(options.folder, randomUUID());
    this.api = new RuntimeApi({
      ready: () => this.ready(),
      responded: (requestId, payload) =>
        this.answered(requestId, payload ? { kind: "succeeded", payload } : tooLarge),
      errored: (requestId, payload) => this.answered(requestId, { kind: "failed", payload }),
      initFailed: (payload) => this.settleInit?.({ kind: "failed", outcome: { kind: "failed", payload } }),
    });
  }

  get isAlive(): boolean {
    return this.child !== null && this.endedBecause === null;
  }
  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Resolves when the runtime is ready or has failed; `null` when neither happened in time. */
  async start(limitMs: number): Promise<InitResult | null> {
    mkdirSync(this.tmp, { recursive: true });
    const startedMs = performance.now();
    const address = await this.api.listen();
    const { memoryMegabytes, codeFolder } = this.options.definition;
    const heapFlags = [
      `--max-old-space-size=${Math.max(Math.floor(memoryMegabytes * 0.9), 64)}`,
      "--max-http-header-size=81920",
      "--no-warnings",
    ];
    const child = spawn(process.execPath, [...heapFlags, "--require", rapidClient, runtimeClient], {
      cwd: codeFolder,
      env: this.environment(address),
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    this.child = child;
    this.options.watch(child);
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text) => this.logged(text));
    child.once("error", (error) => this.ended(error.message));
    child.once("exit", (code, signal) => this.ended(signal ? `signal: ${signal}` : `exit status ${code}`));
    let timer: NodeJS.Timeout | undefined;
    const result = await new Promise<InitResult | null>((resolve) => {
      this.settleInit = resolve;
      timer = setTimeout(resolve, limitMs, null);
    });
    clearTimeout(timer);
    this.settleInit = null;
    this.initMs = performance.now() - startedMs;
    if (result?.kind !== "ready") this.kill();
    return result;
  }

  private environment(runtimeAddress: string): Record<string, string> {
    const { definition, region, platformEnvironment } = this.options;
    return {
      PATH: process.env.PATH ?? "/usr/bin:/bin",
      LANG: "en_US.UTF-8",
      TZ: ":UTC",
      TMPDIR: this.tmp,
      AWS_REGION: region,
      AWS_DEFAULT_REGION: region,
      // The other services know by it whose rights these are.
      AWS_ACCESS_KEY_ID: accessKeyOfFunction(definition.name),
      AWS_SECRET_ACCESS_KEY: "local",
      AWS_SESSION_TOKEN: "local",
      AWS_EXECUTION_ENV: `AWS_Lambda_${definition.runtime}`,
      AWS_LAMBDA_FUNCTION_NAME: definition.name,
      AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(definition.memoryMegabytes),
      AWS_LAMBDA_INITIALIZATION_TYPE: "on-demand",
      AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${definition.name}`,
      AWS_LAMBDA_LOG_STREAM_NAME: `local/[$LATEST]${this.tmp.slice(-12)}`,
      AWS_LAMBDA_RUNTIME_API: runtimeAddress,
      LAMBDA_TASK_ROOT: definition.codeFolder,
      LAMBDA_RUNTIME_DIR: "/var/runtime",
      _HANDLER: definition.handler,
      ...platformEnvironment,
      ...definition.environment,
    };
  }

  /** Runs one invocation; the sandbox must be alive and idle. */
  async invoke(requestId: string, payload: Buffer): Promise<InvokeResult> {
    const { definition } = this.options;
    const invocation: Invocation = {
      requestId,
      payload,
      deadlineMs: Date.now() + definition.timeoutMs,
      functionArn: definition.arn,
    };
    const finished = new Promise<void>((finish) => {
      this.running = {
        invocation,
        startedMs: performance.now(),
        log: this.initLog,
        outcome: null,
        peakMegabytes: 0,
        finish,
      };
    });
    this.initLog = "";
    this.logged(`START RequestId: ${requestId} Version: $LATEST\n`);
    const timeout = setTimeout(() => this.kill("timeout"), definition.timeoutMs);
    const memory = setInterval(() => this.checkMemory(), memoryCheckMs);
    this.signal("SIGCONT");
    this.api.dispatch(invocation);
    await finished;
    clearTimeout(timeout);
    clearInterval(memory);
    // What the handler printed is already in the pipes: let the event loop read them before the log is cut.
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    return this.report();
  }

  private checkMemory(): void {
    const { pid, running } = this;
    if (pid === undefined || running === null) return;
    running.peakMegabytes = Math.max(running.peakMegabytes, residentMegabytes(pid));
    if (running.peakMegabytes > this.options.definition.memoryMegabytes) this.kill("memory");
  }

  /** Closes the books on the invocation that just finished, and freezes the process. */
  private report(): InvokeResult {
    const running = this.running!;
    const { definition } = this.options;
    const { requestId } = running.invocation;
    this.checkMemory();
    const durationMs = performance.now() - running.startedMs;
    const outcome = running.outcome ?? this.outcomeOfEnd(requestId);
    const fields = [
      `REPORT RequestId: ${requestId}`,
      `Duration: ${durationMs.toFixed(2)} ms`,
      `Billed Duration: ${Math.ceil(durationMs)} ms`,
      `Memory Size: ${definition.memoryMegabytes} MB`,
      `Max Memory Used: ${Math.min(Math.ceil(running.peakMegabytes), definition.memoryMegabytes)} MB`,
      ...(this.initMs === null ? [] : [`Init Duration: ${this.initMs.toFixed(2)} ms`]),
      ...(this.killedFor === "timeout" ? ["Status: timeout"] : []),
    ];
    this.initMs = null;
    this.logged(`END RequestId: ${requestId}\n${fields.join("\t")}\t\n`);
    const logTail = Buffer.from(running.log).subarray(-logTailBytes).toString();
    this.running = null;
    if (this.isAlive) this.signal("SIGSTOP");
    return { outcome, logTail };
  }

  private outcomeOfEnd(requestId: string): Outcome {
    const seconds = (this.options.definition.timeoutMs / 1000).toFixed(2);
    if (this.killedFor === "timeout") {
      return failed(
        "Sandbox.Timedout",
        `RequestId: ${requestId} Error: Task timed out after ${seconds} seconds`,
      );
    }
    const errorType = this.killedFor === "memory" ? "Runtime.OutOfMemory" : "Runtime.ExitError";
    return failed(
      errorType,
      `RequestId: ${requestId} Error: Runtime exited with error: ${this.endedBecause}`,
    );
  }

  private ready(): void {
    if (this.settleInit) this.settleInit({ kind: "ready" });
    else this.running?.finish();
  }

  private answered(requestId: string, outcome: Outcome): void {
    if (this.running?.invocation.requestId === requestId) this.running.outcome = outcome;
  }

  private ended(reason: string): void {
    if (this.endedBecause !== null) return;
    this.endedBecause = reason;
    this.api.close();
    rmSync(this.tmp, { recursive: true, force: true });
    this.settleInit?.({
      kind: "failed",
      outcome: failed("Runtime.ExitError", `Runtime exited during init: ${reason}`),
    });
    this.running?.finish();
  }

  private logged(text: string): void {
    this.options.log(text);
    if (this.running === null) this.initLog = (this.initLog + text).slice(-logTailBytes);
    else this.running.log = (this.running.log + text).slice(-2 * logTailBytes);
  }

  private signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** Ends the process at once, frozen or not. */
  kill(reason: "timeout" | "memory" | null = null): void {
    this.killedFor ??= reason;
    if (this.isAlive) this.signal("SIGKILL");
  }

  async stop(): Promise<void> {
    if (!this.isAlive) return;
    const ended = new Promise((resolve) => this.child!.once("exit", resolve));
    this.kill();
    await ended;
  }
}

const tooLarge = failed(
  "Function.ResponseSizeTooLarge",
  "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
);
