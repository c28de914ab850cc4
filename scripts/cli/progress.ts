/**
 * Progress of long work, on stderr: a bar on a terminal; otherwise a line now and then, so that a log shows that
 * something happens.
 */
import cliProgress from "cli-progress";
import { printable } from "./printable.ts";

/** Between two lines where there is no terminal. */
const lineEveryMs = 5_000;

export interface Progress {
  /** `done` of `all`; `detail` is shown behind it. */
  update(done: number, all: number, detail: string): void;
  stop(): void;
}

export interface ErrorStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export function startProgress(stream: ErrorStream, label: string, nowMs: () => number): Progress {
  return stream.isTTY === true ? bar(stream, label) : lines(stream, label, nowMs);
}

function bar(stream: ErrorStream, label: string): Progress {
  const format = `${label} {bar} {percentage}%  {detail}`;
  const made = new cliProgress.SingleBar(
    {
      format,
      stream: stream as NodeJS.WritableStream,
      hideCursor: true,
      clearOnComplete: false,
      barsize: 30,
    },
    cliProgress.Presets.shades_classic,
  );
  made.start(1, 0, { detail: "" });
  return {
    update(done, all, detail) {
      made.setTotal(Math.max(1, all));
      made.update(done, { detail: printable(detail) });
    },
    stop: () => made.stop(),
  };
}

function lines(stream: ErrorStream, label: string, nowMs: () => number): Progress {
  let saidMs = nowMs();
  return {
    update(done, all, detail) {
      if (nowMs() - saidMs < lineEveryMs) return;
      saidMs = nowMs();
      const percent = all > 0 ? `${Math.floor((100 * done) / all)}%  ` : "";
      stream.write(printable(`${label} ${percent}${detail}\n`));
    },
    stop() {},
  };
}
