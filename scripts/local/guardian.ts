/** The stack's side of guardian.cjs: tells it which child processes live. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

export class Guardian {
  private readonly child: ChildProcess;

  constructor() {
    this.child = spawn(process.execPath, [join(import.meta.dirname, "guardian.cjs")], {
      // A group of its own: Ctrl-C at a terminal reaches the whole foreground group.
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      env: {},
    });
    this.child.stdin!.on("error", () => {});
    this.child.unref();
  }

  /** Watches over a child from now until it ends. */
  watch(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.child.stdin!.write(`+${pid}\n`);
    child.once("exit", () => {
      if (this.child.stdin!.writable) this.child.stdin!.write(`-${pid}\n`);
    });
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.ref();
      this.child.stdin!.end();
      await ended;
    }
  }
}
