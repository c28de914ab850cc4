/**
 * The sandboxes of one function: a warm one is used again, a new one is started when all are busy, and invocations
 * above the concurrency limit are refused with 429. Sandboxes that stay idle are reaped.
 */
import { randomUUID } from "node:crypto";
import { type FunctionDefinition, failed, initMs, LambdaApiError, type Outcome } from "./function.ts";
import { Sandbox, type SandboxOptions } from "./sandbox.ts";

export interface InvocationResult {
  readonly requestId: string;
  readonly outcome: Outcome;
  readonly logTail: string;
}
export interface PoolOptions extends Omit<SandboxOptions, "definition"> {
  readonly idleMs: number;
  /** Sandboxes of a function without reserved concurrency: what an account's limit is in AWS. */
  readonly concurrencyMax: number;
}

export class FunctionPool {
  readonly definition: FunctionDefinition;
  private readonly options: PoolOptions;
  private readonly sandboxes = new Set<Sandbox>();
  /** Most recently used last. */
  private readonly idle: { sandbox: Sandbox; reaper: NodeJS.Timeout }[] = [];
  private readonly calls = new Set<Promise<InvocationResult>>();
  private busy = 0;
  private stopping = false;

  constructor(definition: FunctionDefinition, options: PoolOptions) {
    this.definition = definition;
    this.options = options;
  }

  /** Process ids of its sandboxes, for tests and for people. */
  get pids(): number[] {
    return [...this.sandboxes].flatMap(({ pid, isAlive }) => (pid !== undefined && isAlive ? [pid] : []));
  }

  /** Starts the processes that are provisioned. One that does not start says so when it is asked for. */
  async provision(): Promise<void> {
    const { provisionedConcurrency = 0 } = this.definition;
    const starting = Array.from({ length: provisionedConcurrency }, async () => {
      const found = await this.startSandbox(randomUUID());
      if (found.kind === "ready") this.giveBack(found.sandbox);
    });
    await Promise.all(starting);
  }

  async invoke(payload: Buffer): Promise<InvocationResult> {
    const call = this.call(payload);
    this.calls.add(call);
    return call.finally(() => this.calls.delete(call));
  }

  private async call(payload: Buffer): Promise<InvocationResult> {
    const { reservedConcurrency } = this.definition;
    if (this.busy >= (reservedConcurrency ?? this.options.concurrencyMax)) {
      const prefix = reservedConcurrency === undefined ? "" : "ReservedFunction";
      throw new LambdaApiError(
        "TooManyRequestsException",
        "Rate Exceeded.",
        `${prefix}ConcurrentInvocationLimitExceeded`,
      );
    }
    if (this.stopping) throw new LambdaApiError("ServiceException", "The local stack is stopping.");
    this.busy++;
    const requestId = randomUUID();
    try {
      const warm = this.takeIdle();
      const found = warm ? { kind: "ready" as const, sandbox: warm } : await this.startSandbox(requestId);
      if (found.kind === "failed") return { requestId, ...found };
      const result = await found.sandbox.invoke(requestId, payload);
      this.giveBack(found.sandbox);
      return { requestId, ...result };
    } finally {
      this.busy--;
    }
  }

  private takeIdle(): Sandbox | null {
    while (this.idle.length > 0) {
      const { sandbox, reaper } = this.idle.pop()!;
      clearTimeout(reaper);
      if (sandbox.isAlive) return sandbox;
      this.sandboxes.delete(sandbox);
    }
    return null;
  }

  private giveBack(sandbox: Sandbox): void {
    if (!sandbox.isAlive || this.stopping) {
      sandbox.kill();
      this.sandboxes.delete(sandbox);
      return;
    }
    const reaper = setTimeout(() => {
      if (this.sandboxes.size <= (this.definition.provisionedConcurrency ?? 0)) {
        reaper.refresh();
        return;
      }
      const at = this.idle.findIndex((entry) => entry.sandbox === sandbox);
      if (at >= 0) this.idle.splice(at, 1);
      this.sandboxes.delete(sandbox);
      sandbox.kill();
    }, this.options.idleMs);
    reaper.unref();
    this.idle.push({ sandbox, reaper });
  }

  /** An init that takes longer than Lambda's init phase is begun again, on the function's own time. */
  private async startSandbox(
    requestId: string,
  ): Promise<{ kind: "ready"; sandbox: Sandbox } | { kind: "failed"; outcome: Outcome; logTail: string }> {
    for (const limitMs of [initMs, this.definition.timeoutMs]) {
      const sandbox = new Sandbox({ ...this.options, definition: this.definition });
      this.sandboxes.add(sandbox);
      const result = await sandbox.start(limitMs);
      if (result?.kind === "ready") return { kind: "ready", sandbox };
      this.sandboxes.delete(sandbox);
      if (result?.kind === "failed") return { kind: "failed", outcome: result.outcome, logTail: "" };
    }
    const seconds = (this.definition.timeoutMs / 1000).toFixed(2);
    const message = `RequestId: ${requestId} Error: Task timed out after ${seconds} seconds`;
    return { kind: "failed", outcome: failed("Sandbox.Timedout", message), logTail: "" };
  }

  /** Takes no more calls, and ends when those that it has have been answered. */
  async retire(): Promise<void> {
    this.stopping = true;
    const idle = this.idle.splice(0);
    for (const { reaper } of idle) clearTimeout(reaper);
    await Promise.all(idle.map(({ sandbox }) => sandbox.stop()));
    await Promise.allSettled(this.calls);
  }

  async stop(): Promise<void> {
    this.stopping = true;
    for (const { reaper } of this.idle) clearTimeout(reaper);
    await Promise.all([...this.sandboxes].map((sandbox) => sandbox.stop()));
  }
}
