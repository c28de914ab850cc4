/** Calls of the functions by direct invocation, as any client makes them, and what came of each. */
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { type FunctionName, functions } from "../../lib/contract/functions.ts";
import type { Tally } from "./report.ts";
import type { StackProcess } from "./stack-process.ts";

export type CallResult =
  | { readonly kind: "answered"; readonly value: unknown; readonly isNewProcess: boolean }
  /** `errorKind`: that of the error, the runtime's own ("Runtime.ExitError"), or "transport" when no answer came. */
  | {
      readonly kind: "failed";
      readonly errorKind: string;
      readonly message: string;
      readonly isNewProcess: boolean;
    };

/** Longer than the functions' own timeouts, but for the compactor's, whose runs here are short. */
const answerTimeoutMs = 90_000;
/** Our calls are right and nothing on S3 is damaged: these can only come of a defect. */
const neverKinds = new Set(["invalid", "notFound", "corrupt", "internal"]);

export class FunctionCalls {
  readonly #stack: StackProcess;
  readonly #tally: Tally;
  readonly #killedMs = new Map<FunctionName, number>();
  readonly #killing = new Map<FunctionName, number>();
  #client: { readonly endpoint: string; readonly lambda: LambdaClient } | null = null;

  constructor(stack: StackProcess, tally: Tally) {
    this.#stack = stack;
    this.#tally = tally;
  }

  /**
   * Sandboxes of these functions are being killed: their end is expected, also by calls that were given to a dead one before
   * the stack had noticed.
   */
  async killing<T>(roles: readonly FunctionName[], kill: () => Promise<T>): Promise<T> {
    const count = (by: number) => {
      for (const role of roles) this.#killing.set(role, (this.#killing.get(role) ?? 0) + by);
      for (const role of roles) this.#killedMs.set(role, performance.now());
    };
    count(1);
    return kill().finally(() => count(-1));
  }

  /** When sandboxes of a function were last killed. */
  killedMs(role: FunctionName): number {
    return this.#killedMs.get(role) ?? Number.NEGATIVE_INFINITY;
  }

  async invoke(role: FunctionName, event: object): Promise<CallResult> {
    const { outputs } = this.#stack.current;
    const startedMs = performance.now();
    this.#tally.count(`${role} calls`);
    const command = new InvokeCommand({
      FunctionName: outputs[functions[role].output]!,
      Payload: Buffer.from(JSON.stringify(event)),
      LogType: "Tail",
    });
    const result = await this.#lambda()
      .send(command)
      .then((answer): CallResult => {
        const text = Buffer.from(answer.Payload ?? []).toString("utf8");
        const log = Buffer.from(answer.LogResult ?? "", "base64").toString("utf8");
        const isNewProcess = log.includes("Init Duration:");
        const value = JSON.parse(text) as { errorType?: string; errorMessage?: string };
        if (answer.FunctionError === undefined) return { kind: "answered", value, isNewProcess };
        const { errorType = "unknown", errorMessage = text } = value;
        return { kind: "failed", errorKind: errorType, message: errorMessage, isNewProcess };
      })
      .catch((error: Error): CallResult => {
        const message = `${error.name}: ${error.message}`;
        return { kind: "failed", errorKind: "transport", message, isNewProcess: false };
      });
    if (result.kind === "failed") this.#judge(role, result, startedMs);
    return result;
  }

  #judge(
    role: FunctionName,
    { errorKind, message }: CallResult & { kind: "failed" },
    startedMs: number,
  ): void {
    this.#tally.failed(role, errorKind);
    const wasKilled = (this.#killing.get(role) ?? 0) > 0 || this.killedMs(role) >= startedMs;
    const died = errorKind === "Runtime.ExitError" && !wasKilled;
    if (neverKinds.has(errorKind) || died)
      this.#tally.violation(`the ${role} function failed with ${errorKind}: ${message.slice(0, 500)}`);
  }

  /** Calls are not repeated behind the drill's back. */
  #lambda(): LambdaClient {
    const endpoint = this.#stack.current.endpoints.lambda;
    if (this.#client?.endpoint !== endpoint) {
      this.#client?.lambda.destroy();
      const requestHandler = {
        connectionTimeout: 2_000,
        requestTimeout: answerTimeoutMs,
        throwOnRequestTimeout: true,
      };
      this.#client = { endpoint, lambda: new LambdaClient({ endpoint, maxAttempts: 1, requestHandler }) };
    }
    return this.#client.lambda;
  }

  end(): void {
    this.#client?.lambda.destroy();
    this.#client = null;
  }
}
