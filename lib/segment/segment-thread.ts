/**
 * A thread of its own for the work of opening segments (segment-work.ts), so that the thread which answers reads goes on
 * answering. It is started by the first large file, and from then on does all of it but the hashes of small files: a
 * process that holds little never pays for it. segment-thread-main.ts is what it runs.
 */
import { Worker } from "node:worker_threads";
import { segmentBytes } from "../core/format/manifest.ts";
import type { Collection } from "../core/model/collection.ts";
import { SiltstoneError } from "../core/model/errors.ts";
import {
  type FileHash,
  type Located,
  type SegmentContent,
  type SegmentWork,
  workHere,
} from "./segment-work.ts";
import type { Shadowed } from "./shadowed-rows.ts";

/** Of which a thread that answers would be held up for a millisecond or so. */
export const largeBytes = 2 ** 20;

/** What the thread is asked; what has a `call` is answered. */
export type Asked =
  | {
      readonly op: "grown";
      readonly file: number;
      readonly path: string;
      readonly start: number;
      readonly limit: number;
    }
  | { readonly op: "abandon"; readonly file: number }
  | { readonly op: "digest"; readonly call: number; readonly file: number }
  | { readonly op: "read"; readonly call: number; readonly place: Located; readonly collection: Collection }
  | { readonly op: "shadowed"; readonly call: number; readonly own: Located; readonly other: Located };
export type Answered = { readonly call: number } & (
  | { readonly value: unknown }
  | { readonly failure: Failure }
);

/** An error as it goes from one thread to the other, which keeps no class and no code. */
export interface Failure {
  readonly message: string;
  readonly ofOurs?: Pick<SiltstoneError, "kind" | "isOfNewerFormat">;
  readonly ofMachine?: { readonly code?: unknown; readonly errcode?: unknown; readonly syscall?: unknown };
}

export function failureOf(error: unknown): Failure {
  const { message, code, errcode, syscall } = error as Error & NonNullable<Failure["ofMachine"]>;
  if (!(error instanceof SiltstoneError)) return { message, ofMachine: { code, errcode, syscall } };
  const { kind, isOfNewerFormat } = error;
  return { message, ofOurs: { kind, isOfNewerFormat } };
}

export function errorOf({ message, ofOurs, ofMachine }: Failure): Error {
  if (ofOurs !== undefined) return new SiltstoneError(ofOurs.kind, message, ofOurs);
  return Object.assign(new Error(message), ofMachine);
}

interface Running {
  readonly worker: Worker;
  readonly waiting: Map<number, PromiseWithResolvers<never>>;
}

export class SegmentThread implements SegmentWork {
  readonly #script: string;
  #running: Running | null = null;
  #calls = 0;
  #files = 0;

  /** `script`: the path of segment-thread-main, as the process's own code is: bundled, or as it is. */
  constructor(script: string) {
    this.#script = script;
  }

  hash(path: string, bytes: number): FileHash {
    if (bytes < largeBytes) return workHere.hash(path, bytes);
    const file = ++this.#files;
    // Another thread than the one that began has no part of it: its digest is refused.
    const running = this.#run();
    let added = 0;
    return {
      add: ({ length }) => {
        this.#post(running, { op: "grown", file, path, start: added, limit: added + length });
        added += length;
      },
      digest: () => this.#ask<string>(running, (call) => ({ op: "digest", call, file })),
      abandon: () => this.#post(running, { op: "abandon", file }),
    };
  }

  read(place: Located, collection: Collection): Promise<SegmentContent> {
    if (this.#running === null && segmentBytes(place.segment) < largeBytes)
      return workHere.read(place, collection);
    return this.#ask(this.#run(), (call) => ({ op: "read", call, place, collection }));
  }

  shadowed(own: Located, other: Located): Shadowed | Promise<Shadowed> {
    if (this.#running === null) return workHere.shadowed(own, other);
    const [mine, theirs] = [own, other].map(({ folder, segment }) => ({ folder, segment }));
    return this.#ask(this.#running, (call) => ({ op: "shadowed", call, own: mine!, other: theirs! }));
  }

  /** What is asked and not answered fails. */
  async close(): Promise<void> {
    const running = this.#running;
    if (running !== null) this.#fail(running, "its reader was closed");
    await running?.worker.terminate();
  }

  #run(): Running {
    if (this.#running !== null) return this.#running;
    // It waits for work and for nothing else: whoever imports the script again would start what the process runs.
    const worker = new Worker(this.#script);
    const running: Running = { worker, waiting: new Map() };
    worker.unref();
    worker.on("message", (answered: Answered) => {
      const waiting = running.waiting.get(answered.call);
      running.waiting.delete(answered.call);
      if (running.waiting.size === 0) worker.unref();
      if ("failure" in answered) waiting?.reject(errorOf(answered.failure));
      else waiting?.resolve(answered.value as never);
    });
    worker.on("error", (error) => this.#fail(running, error.message));
    worker.on("exit", () => this.#fail(running, "it ended"));
    this.#running = running;
    return running;
  }

  /** The next work starts another. */
  #fail(running: Running, why: string): void {
    if (this.#running === running) this.#running = null;
    const waiting = [...running.waiting.values()];
    running.waiting.clear();
    for (const { reject } of waiting)
      reject(
        new SiltstoneError("unavailable", `the thread that opens segments failed (${why}); repeat the call`),
      );
  }

  #post({ worker }: Running, asked: Asked): void {
    worker.postMessage(asked);
  }

  #ask<T>(running: Running, asked: (call: number) => Asked): Promise<T> {
    if (this.#running !== running)
      return Promise.reject(
        new SiltstoneError("unavailable", "the thread that opens segments ended meanwhile; repeat the call"),
      );
    const call = ++this.#calls;
    const waiting = Promise.withResolvers<never>();
    running.waiting.set(call, waiting);
    running.worker.ref();
    this.#post(running, asked(call));
    return waiting.promise;
  }
}
