/** `npx silt` as a process of its own, against the drill's stack. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

export interface SiltResult {
  /** null: it was killed. */
  readonly exitCode: number | null;
  /** The JSON lines it printed. */
  readonly lines: readonly unknown[];
  readonly errors: string;
}

const program = join(import.meta.dirname, "../cli/silt.cjs");
const errorsShown = 2_000;

export class SiltProcess {
  readonly result: Promise<SiltResult>;
  readonly #child: ChildProcess;

  constructor(args: readonly string[], stateDir: string) {
    const env = { ...process.env, SILTSTONE_STATE_DIR: stateDir };
    const child = spawn(process.execPath, [program, ...args, "--json"], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    let text = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    child.stderr.setEncoding("utf8").on("data", (part: string) => {
      errors = (errors + part).slice(-errorsShown);
    });
    this.result = new Promise((resolve) => {
      child.once("close", (exitCode) => {
        const whole = text.split("\n").slice(0, -1);
        resolve({
          exitCode,
          lines: exitCode === null ? [] : whole.map((line) => JSON.parse(line) as unknown),
          errors,
        });
      });
    });
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
