/** What a running command has at hand. */
import type { Deployment } from "./deployment.ts";
import { type Outcome, print } from "./outcome.ts";
import { printable } from "./printable.ts";
import { type ErrorStream, type Progress, startProgress } from "./progress.ts";
import type { StoreChoice } from "./store-choice.ts";

export interface OutputStream {
  write(text: string): unknown;
}
export type InputStream = AsyncIterable<Buffer | string> & { readonly isTTY?: boolean };

export class Session {
  readonly json: boolean;
  /** Aborted by Ctrl-C: finish the step in hand, and stop. */
  readonly interrupted: AbortSignal;
  readonly stdin: InputStream;
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #terminal: ErrorStream;
  readonly #connect: (store?: StoreChoice) => Promise<Deployment>;
  #deployment: Promise<Deployment> | null = null;

  constructor(options: {
    json: boolean;
    interrupted: AbortSignal;
    stdin: InputStream;
    stdout: OutputStream;
    stderr: OutputStream;
    /** Where progress is drawn, with the terminal's own codes: nothing that others wrote may go there. */
    terminal: ErrorStream;
    /** To the store that the command line names, or to another. */
    connect: (store?: StoreChoice) => Promise<Deployment>;
  }) {
    this.json = options.json;
    this.interrupted = options.interrupted;
    this.stdin = options.stdin;
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.#terminal = options.terminal;
    this.#connect = options.connect;
  }

  /** Connects now, not before the arguments were understood. */
  open(): Promise<Deployment> {
    this.#deployment ??= this.#connect();
    return this.#deployment;
  }

  /** Another store than the one that the command line names. */
  openOther(store: StoreChoice): Promise<Deployment> {
    return this.#connect(store);
  }

  /** A line of the result that cannot wait for its end. */
  writeLine(line: string): void {
    this.#stdout.write(`${line}\n`);
  }
  /** A whole outcome, where more of them follow. */
  write(outcome: Outcome): void {
    print(outcome, this.json, this.#stdout);
  }
  /** A remark beside the result. */
  remark(line: string): void {
    this.#stderr.write(`${line}\n`);
  }
  progress(label: string): Progress {
    return startProgress(this.#terminal, printable(label), () => Date.now());
  }
}
