/** The drill's side of library-main.ts: one task at a time; a killed process is replaced at the next task. */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { LibraryAnswer, LibraryTask } from "./library-main.ts";
import type { StackStarted } from "./stack-main.ts";

export class LibraryProcess {
  #child: ChildProcess | null = null;
  #busy = false;
  /** The endpoints and names that the process knows: others need another process. */
  #startedFor = "";

  get isBusy(): boolean {
    return this.#busy;
  }

  async run(task: LibraryTask, stack: StackStarted): Promise<LibraryAnswer> {
    const child = this.#process(stack);
    this.#busy = true;
    try {
      return await new Promise<LibraryAnswer>((resolve) => {
        const ended = () => answer({ kind: "failed", errorKind: "killed", message: "the process has ended" });
        const answer = (result: LibraryAnswer) => {
          child.removeListener("message", answer).removeListener("exit", ended);
          resolve(result);
        };
        child.once("message", answer).once("exit", ended);
        child.send(task, (error) => error && ended());
      });
    } finally {
      this.#busy = false;
    }
  }

  /** kill -9; false when nothing was under way. */
  kill(): boolean {
    if (!this.#busy) return false;
    this.end();
    return true;
  }

  end(): void {
    this.#child?.kill("SIGKILL");
    this.#child = null;
  }

  #process({ environment, outputs }: StackStarted): ChildProcess {
    const wanted = JSON.stringify({ environment, outputs });
    if (this.#startedFor !== wanted) this.end();
    const known = this.#child;
    if (known?.connected && known.exitCode === null && known.signalCode === null) return known;
    this.#startedFor = wanted;
    const path = join(import.meta.dirname, "library-main.ts");
    const child = fork(path, [JSON.stringify(outputs)], {
      env: { ...process.env, ...environment },
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    this.#child = child;
    return child;
  }
}
