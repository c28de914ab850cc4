/** What an error means for a job: by its kind, and of providers by what they refused. */
import { SiltstoneError, unreachable } from "../core/model/errors.ts";
import { ProviderRefusal } from "../embedding/provider.ts";
import type { JobError } from "./item.ts";

export type Reason =
  /** Throttled, an outage, a store that does not answer: it passes, and is no attempt of the job's. */
  | { readonly kind: "wait"; readonly waitMs: number; readonly error: JobError }
  /** It may be otherwise next time: an attempt. */
  | { readonly kind: "attempt"; readonly error: JobError }
  /** This input will be refused every time. */
  | { readonly kind: "refused"; readonly error: JobError };

const waitMs = 15_000;

export function reasonOf(error: unknown): Reason {
  if (!(error instanceof SiltstoneError)) {
    // What a defect says is nobody's to show: it may hold parts of a text.
    const name = error instanceof Error ? error.name : typeof error;
    return { kind: "attempt", error: { kind: "internal", message: `a defect (${name}); the log has more` } };
  }
  const { cause } = error;
  if (cause instanceof ProviderRefusal) return ofProvider(cause, error);
  const said = { kind: error.kind, message: error.message };
  switch (error.kind) {
    case "invalid":
      return { kind: "refused", error: said };
    case "unavailable":
    case "uncertain":
    case "conflict":
    case "fenced":
      return { kind: "wait", waitMs, error: said };
    case "notFound":
    case "corrupt":
      return { kind: "attempt", error: said };
    default:
      return unreachable(error.kind);
  }
}

function ofProvider({ kind, retryAfterMs }: ProviderRefusal, { message }: SiltstoneError): Reason {
  const error = { kind, message };
  switch (kind) {
    case "throttled":
    case "outage":
      return { kind: "wait", waitMs: Math.max(waitMs, retryAfterMs ?? 0), error };
    case "denied":
    case "broken":
      return { kind: "attempt", error };
    case "input":
    case "tooMuch":
      return { kind: "refused", error };
    default:
      return unreachable(kind);
  }
}
