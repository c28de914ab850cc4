/**
 * A server of the stack as a child process: started, waited for, started again on the same port when it dies, and ended
 * with the stack. Each start is told apart from the last by `ready`, which the caller may use to fill it again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { openLog } from "./log-file.ts";

export interface ProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Where it listens once it is ready. */
  readonly host: string;
  readonly port: number;
  readonly logFile: string;
  /** Told of every process started, so that a guardian can end it when the stack cannot. */
  readonly watch: (child: ChildProcess) => void;
  /** Runs after each start, once the port answers. */
  readonly ready?: () => Promise<void>;
}

const startMs = 15_000;
const stopMs = 5_000;
/** Waits between restarts; a process that keeps dying is given up when they are used up. */
const backoffMs = [50, 100, 200, 500, 1000, 2000, 5000] as const;
/** A process that ran this long starts with the first backoff again. */
const healthyMs = 10_000;

export class SupervisedProcess {
  private readonly options: ProcessOptions;
  private child: ChildProcess | null = null;
  private stopping = false;
  private restarts = 0;

  constructor(options: ProcessOptions) {
    this.options = options;
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  async start(): Promise<void> {
    const { name, command, args, logFile, host, port } = this.options;
    const startedMs = Date.now();
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], detached: true });
    this.child = child;
    const log = openLog(logFile);
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    // Writing to a dead child is no error of the stack's.
    child.stdin.on("error", () => {});
    const ended = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    this.options.watch(child);
    const outcome = await Promise.race([ended, answers(host, port)]);
    if (outcome !== "answers") {
      child.kill("SIGKILL");
      log.end();
      throw new Error(`${name} did not start (${outcome}); see ${logFile}`);
    }
    try {
      await this.options.ready?.();
    } catch (error) {
      child.kill("SIGKILL");
      log.end();
      throw error;
    }
    void ended.then((reason) => {
      log.end();
      if (!this.stopping) void this.restart(reason, Date.now() - startedMs);
    });
  }

  private async restart(reason: string, ranMs: number): Promise<void> {
    const { name, logFile } = this.options;
    if (ranMs > healthyMs) this.restarts = 0;
    while (!this.stopping) {
      const waitMs = backoffMs[this.restarts++];
      if (waitMs === undefined) {
        console.error(`${name} keeps dying (${reason}) and is not started again; see ${logFile}`);
        return;
      }
      await sleep(waitMs);
      if (this.stopping) return;
      try {
        await this.start();
        return;
      } catch (error) {
        console.error(error instanceof Error ? error.message : error);
      }
    }
  }

  /** Asks the process to end, then makes it. */
  async stop(): Promise<void> {
    this.stopping = true;
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.stdin?.end();
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), stopMs);
    await ended;
    clearTimeout(timer);
  }
}

/** Resolves when something accepts connections on the port, or says that nothing did in time. */
async function answers(host: string, port: number): Promise<string> {
  const limitMs = Date.now() + startMs;
  while (Date.now() < limitMs) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, host);
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("close", () => socket.destroy());
      socket.once("connect", () => socket.end());
    });
    if (isOpen) return "answers";
    await sleep(15);
  }
  return `nothing listened on port ${port} within ${startMs} ms`;
}
