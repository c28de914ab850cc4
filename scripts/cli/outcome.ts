/**
 * What a command gives back: one value for `--json`, one text for people. Commands compute it, and
 * printing happens in one place (program.ts), so that every command has both.
 */
import type { ExitCode } from "./exit-code.ts";

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
