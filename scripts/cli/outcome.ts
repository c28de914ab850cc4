/**
 * What a command gives back: one value for `--json`, one text for people. Commands compute it, and
 * printing happens in one place, so that every command has both.
 */
import type { ExitCode } from "./exit-code.ts";
import type { OutputStream } from "./session.ts";

export interface Outcome {
  /** Printed by --json, on one line. Null when the command has printed its lines itself (Session.writeLine). */
  readonly value: object | null;
  /** Printed for people. */
  readonly text: string;
  /** What to do next, one line each; for people only. */
  readonly next?: readonly string[];
  /** @default 0 */
  readonly exitCode?: ExitCode;
}

export function print({ value, text, next = [] }: Outcome, json: boolean, stdout: OutputStream): void {
  if (json) {
    if (value !== null) stdout.write(`${JSON.stringify(value)}\n`);
    return;
  }
  if (text !== "") stdout.write(`${text}\n`);
  for (const line of next) stdout.write(`→ ${line}\n`);
}
