/** The thread of segment-thread.ts: does what it is asked, one thing after the other. */
import { createHash, type Hash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { type Answered, type Asked, failureOf } from "./segment-thread.ts";
import { workHere } from "./segment-work.ts";

// Where processors are few, answers come first. On Linux it is the calling thread's own.
if (process.platform === "linux") setPriority(constants.priority.PRIORITY_BELOW_NORMAL);

/** Read at a time of a file that grows. */
const block = Buffer.alloc(2 ** 20);

/** Files that are being written, by number; a failure to read one is its digest's. */
const files = new Map<number, Hash | Error>();

function grow({ file, path, start, limit }: Extract<Asked, { op: "grown" }>): void {
  const hash = files.get(file) ?? createHash("sha256");
  files.set(file, hash);
  if (hash instanceof Error) return;
  try {
    const fd = openSync(path, "r");
    try {
      for (let at = start; at < limit; ) {
        const got = readSync(fd, block, 0, Math.min(block.length, limit - at), at);
        if (got === 0) throw new Error(`${path} ends at byte ${at}`);
        hash.update(block.subarray(0, got));
        at += got;
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    files.set(file, error as Error);
  }
}

function digest(file: number): string {
  const hash = files.get(file) ?? createHash("sha256");
  files.delete(file);
  if (hash instanceof Error) throw hash;
  return hash.digest("hex");
}

async function work(asked: Asked): Promise<unknown> {
  switch (asked.op) {
    case "digest":
      return digest(asked.file);
    case "read":
      return workHere.read(asked.place, asked.collection);
    case "shadowed":
      return workHere.shadowed(asked.own, asked.other);
    case "grown":
      return grow(asked);
    case "abandon":
      return files.delete(asked.file);
  }
}

/** Of all arrays of numbers in a value: handed over, not copied. */
function memoryOf(value: unknown): ArrayBuffer[] {
  if (ArrayBuffer.isView(value)) return [value.buffer as ArrayBuffer];
  if (typeof value !== "object" || value === null) return [];
  const parts = value instanceof Map ? [...value.values()] : Object.values(value);
  return parts.flatMap(memoryOf);
}

let before: Promise<unknown> = Promise.resolve();
parentPort!.on("message", (asked: Asked) => {
  before = before.then(async () => {
    try {
      const value = await work(asked);
      if ("call" in asked) answer({ call: asked.call, value }, memoryOf(value));
    } catch (error) {
      if ("call" in asked) answer({ call: asked.call, failure: failureOf(error) });
    }
  });
});

const answer = (answered: Answered, memory: ArrayBuffer[] = []): void =>
  parentPort!.postMessage(answered, memory);
