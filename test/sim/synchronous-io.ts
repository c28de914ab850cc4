/**
 * Makes the local file work of the engine synchronous, so that nothing but the scheduler decides what happens next.
 *
 * The files stay real files. Only the waiting goes: node:fs/promises, read streams and hnswlib's own threads answer in
 * a microtask, so once the event loop turns, every process stands at its next effect. Patched at run time, on the
 * modules themselves, so that the engine's code is the product's to the last byte. Also twice as fast.
 */
import * as fs from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { Readable } from "node:stream";
import hnswlib from "#hnswlib";

/** The event loop's own, before the engine's pauses become microtasks. */
export const turn: () => Promise<void> = (() => {
  const immediate = globalThis.setImmediate;
  return () => new Promise<void>((resolve) => immediate(resolve));
})();

/** The disk of the one process that runs until the event loop turns. */
export const localDisk = { isFull: false };
function demandSpace(): void {
  if (localDisk.isFull)
    throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
}

type Patchable = Record<string, unknown>;

/** Returns what undoes it: built-in modules are shared by every test of a process. */
export function makeIoSynchronous(): () => void {
  const require = createRequire(import.meta.url);
  const undo: (() => void)[] = [];
  const patch = (target: object, name: string, replacement: unknown) => {
    const original = (target as Patchable)[name];
    (target as Patchable)[name] = replacement;
    undo.push(() => {
      (target as Patchable)[name] = original;
    });
  };
  const promises = require("node:fs/promises") as object;
  patch(promises, "mkdir", async (path: string, options: fs.MakeDirectoryOptions) =>
    fs.mkdirSync(path, options),
  );
  patch(promises, "mkdtemp", async (prefix: string) => {
    demandSpace();
    return fs.mkdtempSync(prefix);
  });
  patch(promises, "rm", async (path: string, options: fs.RmOptions) => fs.rmSync(path, options));
  patch(promises, "open", async (path: string, flags: string) => handleOf(fs.openSync(path, flags)));
  // Thousands of small files: in memory, where the system offers it.
  if (fs.existsSync("/dev/shm")) patch(require("node:os"), "tmpdir", () => "/dev/shm");
  patch(require("node:fs"), "createReadStream", (path: string) => Readable.from([fs.readFileSync(path)]));
  // V8 need not free memory after every closed graph: the graphs here are tiny, and freeing takes longer than a step.
  const vm = require("node:vm") as { runInNewContext: (code: string, ...rest: unknown[]) => unknown };
  const run = vm.runInNewContext;
  patch(vm, "runInNewContext", (code: string, ...rest: unknown[]) =>
    code === "gc" ? () => undefined : run(code, ...rest),
  );
  const { Graph } = hnswlib;
  class GraphAtOnce extends Graph {
    override async reserve(count: number, M: number): Promise<void> {
      this.reserveSync(count, M);
    }
    override async read(path: string, M: number, efConstruction: number): Promise<void> {
      this.readSync(path, M, efConstruction, 1);
    }
    override async write(path: string): Promise<void> {
      demandSpace();
      this.writeSync(path);
    }
    override async append(vectors: Float32Array): Promise<void> {
      // One thread: the order in which several insert is not determined.
      this.appendSync(vectors, 1);
    }
  }
  patch(hnswlib, "Graph", GraphAtOnce);
  patch(globalThis, "setImmediate", (work: () => void) => queueMicrotask(work));
  syncBuiltinESMExports();
  return () => {
    for (const step of undo) step();
    syncBuiltinESMExports();
  };
}

function handleOf(fd: number) {
  return {
    read: async (buffer: Buffer, offset: number, length: number, position: number) => ({
      buffer,
      bytesRead: fs.readSync(fd, buffer, offset, length, position),
    }),
    stat: async () => fs.fstatSync(fd),
    writeFile: async (bytes: Uint8Array) => {
      demandSpace();
      fs.writeFileSync(fd, bytes);
    },
    close: async () => fs.closeSync(fd),
  };
}
