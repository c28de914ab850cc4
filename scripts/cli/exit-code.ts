/** Exit codes: scripts branch on them, so they never change (docs/cli.md). */
import { refusalOf } from "../../lib/aws/failure.ts";
import { type ErrorKind, type SiltstoneError, unreachable } from "../../lib/core/model/errors.ts";

export const exitCodes = {
  ok: 0,
  failure: 1,
  invalid: 2,
  notFound: 3,
  conflict: 4,
  unavailable: 5,
  corrupt: 6,
  denied: 7,
  credentials: 8,
  region: 9,
  noStack: 10,
  interrupted: 130,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export const exitCodeHelp = `
Exit codes:
  0    done
  1    failed: an import with rejected rows, a store that is degraded (status, doctor), a defect
  2    the call is wrong: usage, or refused input
  3    the collection, version or record does not exist
  4    conflict: another process holds the lease, was faster, or took over
  5    unavailable: nothing answers, or nothing is published yet; try again
  6    corrupt: stored bytes are damaged, or verify found faults
  7    AWS denied access: the credentials lack a right
  8    there are no AWS credentials, AWS does not know them, or they have expired
  9    the region is wrong, or not set
  10   the stack of the stage does not exist in the account and region
  130  interrupted by Ctrl-C`;

/** What AWS refuses is told apart by why: each of these takes something else to mend. */
export const exitCodeOfError = (error: SiltstoneError): ExitCode => {
  const refusal = refusalOf(error);
  return refusal === null ? exitCodeOf(error.kind) : exitCodes[refusal];
};

export function exitCodeOf(kind: ErrorKind): ExitCode {
  switch (kind) {
    case "invalid":
      return exitCodes.invalid;
    case "notFound":
      return exitCodes.notFound;
    case "conflict":
    case "fenced":
      return exitCodes.conflict;
    case "unavailable":
    case "uncertain":
      return exitCodes.unavailable;
    case "corrupt":
      return exitCodes.corrupt;
    default:
      return unreachable(kind);
  }
}
