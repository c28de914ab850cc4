/** The drill's side of the stack's process: starts it, kills it whole, starts it again on the same state and ports. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { synthesize } from "../build/synthesize.ts";
import type { Ports } from "../local/stack.ts";
import { isAlive } from "../local/state-file.ts";
import type { StackMessage, StackPids, StackSettings, StackStarted } from "./stack-main.ts";

const startsMax = 5;
const pidsWaitMs = 3_000;
const stopWaitMs = 20_000;

export class StackProcess {
  readonly stateDir: string;
  readonly #settings: Omit<StackSettings, "ports">;
  #ports: Ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
  #child: ChildProcess | null = null;
  #started: StackStarted | null = null;

  private constructor(settings: Omit<StackSettings, "ports">) {
    this.stateDir = settings.stateDir;
    this.#settings = settings;
  }

  /** Bundles and synthesises once; the starts that follow use the result. */
  static async prepare(
    folder: string,
    { scheduleEveryMs, groups }: { scheduleEveryMs: number | null; groups: number },
  ): Promise<StackProcess> {
    const stateDir = join(folder, "state");
    mkdirSync(stateDir, { recursive: true });
    const context: Record<string, string> = groups > 0 ? { "query.groups": String(groups) } : {};
    const synthesisFile = join(folder, "synthesis.json");
    writeFileSync(synthesisFile, JSON.stringify(await synthesize("dev", join(folder, "cdk.out"), context)));
    return new StackProcess({ synthesisFile, stateDir, scheduleEveryMs });
  }

  /** What the last start said; the stack may have been killed since. */
  get current(): StackStarted {
    if (this.#started === null) throw new Error("the stack has not been started");
    return this.#started;
  }

  /** Starts it and points this process's AWS clients at it. A port that was taken meanwhile costs one more try. */
  async start(): Promise<void> {
    let reason = "";
    for (let attempt = 0; attempt < startsMax; attempt++) {
      const settings: StackSettings = { ...this.#settings, ports: this.#ports };
      const child = fork(join(import.meta.dirname, "stack-main.ts"), [JSON.stringify(settings)], {
        detached: true,
        stdio: ["ignore", "ignore", "pipe", "ipc"],
      });
      let errors = "";
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        errors = (errors + text).slice(-2_000);
      });
      const message = await Promise.race([
        once(child, "message").then(([first]) => first as StackMessage),
        once(child, "exit").then((): StackMessage => ({ kind: "failed", reason: errors })),
      ]);
      if (message.kind === "started") {
        this.#child = child;
        this.#started = message;
        const port = (url: string) => Number(new URL(url).port);
        const { s3, sqs, dynamodb, lambda } = message.endpoints;
        this.#ports = {
          s3: port(s3),
          sqs: port(sqs),
          dynamodb: port(dynamodb),
          lambda: port(lambda),
          functionUrl: 0,
        };
        Object.assign(process.env, message.environment);
        return;
      }
      reason = message.kind === "failed" ? message.reason : "it answered out of turn";
      child.kill("SIGKILL");
    }
    throw new Error(`the stack did not start: ${reason}`);
  }

  /** Processes of the stack; null while there is no answer. */
  async pids(): Promise<StackPids | null> {
    const child = this.#child;
    if (child === null || !child.connected) return null;
    const answered = once(child, "message", { signal: AbortSignal.timeout(pidsWaitMs) });
    // Where it does not arrive there is no answer, which is waited for no longer than that.
    child.send("pids", () => undefined);
    const [message] = (await answered.catch(() => [null])) as [StackMessage | null];
    return message?.kind === "pids" ? message : null;
  }

  /** kill -9 of everything: the stack's own process, its servers, and every sandbox. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    const pids = await this.pids();
    this.#child = null;
    const ended = endOf(child);
    child.kill("SIGKILL");
    const all =
      pids === null ? [] : [...Object.values(pids.servers), ...Object.values(pids.functions).flat()];
    for (const pid of all) if (pid !== null) killProcess(pid);
    await ended;
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null) return;
    const ended = endOf(child);
    if (child.connected) child.send("stop", () => undefined);
    else child.kill("SIGKILL");
    const timer = setTimeout(() => child.kill("SIGKILL"), stopWaitMs);
    await ended;
    clearTimeout(timer);
  }
}

/** When it has ended, perhaps already: then there is no event any more. */
const endOf = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
};

/** False when it had ended already. */
export function killProcess(pid: number): boolean {
  if (!isAlive(pid)) return false;
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch {
    return false;
  }
}

/** A sandbox between two invocations is frozen; one that runs is the better target. Elsewhere than on Linux: unknown. */
export function isRunning(pid: number): boolean {
  if (process.platform !== "linux") return isAlive(pid);
  try {
    return !/^\d+ \(.*\) [TZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
