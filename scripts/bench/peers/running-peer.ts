/** A peer's process, asked by JSON lines (peer-process.ts). */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { PeerAnswer, PeerQuestion, PeerSetup } from "./peer-process.ts";

export interface PeerProcess {
  ask(question: PeerQuestion): Promise<PeerAnswer>;
  stop(): Promise<void>;
}

export function startPeer(setup: PeerSetup, mode: "build" | "queries-only"): PeerProcess {
  const program = join(import.meta.dirname, "peer-process.ts");
  const child: ChildProcess = spawn(process.execPath, ["--expose-gc", program, JSON.stringify(setup), mode], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    async ask(question) {
      child.stdin!.write(`${JSON.stringify(question)}\n`);
      for (;;) {
        const { value, done } = await answers.next();
        if (done) throw new Error(`${setup.peer} ended during ${question.op}`);
        if ((value as string).startsWith('{"failed":'))
          throw new Error((JSON.parse(value as string) as { failed: string }).failed);
        // A peer may print lines of its own.
        if ((value as string).startsWith('{"ms":')) return JSON.parse(value as string) as PeerAnswer;
      }
    },
    async stop() {
      child.stdin!.end();
      await exited;
    },
  };
}
