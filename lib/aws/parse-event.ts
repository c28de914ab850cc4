/** Checks a call against its zod schema, and turns what zod finds into an `invalid` error that names every field. */

import * as z from "zod/mini";
import en from "zod/v4/locales/en.js";
import { invalid, type Problem } from "../core/model/errors.ts";

// zod/mini comes without messages.
z.config(en());

/** Problems that the message shows; the error's `problems` have all of them. */
const problemsInMessage = 10;
const fieldLengthMax = 200;
const reasonLengthMax = 300;

/** A list of bounded length. zod judges the length before the entries: a wrong list is one problem, not one for each. */
export const listOf = <T>(entry: z.ZodMiniType<T>, max: number) => z.array(entry).check(z.maxLength(max));

export function parseEvent<T>(schema: z.ZodMiniType<T>, value: unknown): T {
  const parsed = z.safeParse(schema, value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(problemOf);
  const shown = problems.slice(0, problemsInMessage).map(({ field, reason }) => `${field}: ${reason}`);
  const rest = problems.length - shown.length;
  throw invalid(`${shown.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`, problems);
}

/** A position in a list of the call ("records.7.vector") is also the problem's index. */
function problemOf({ path, message }: { path: readonly PropertyKey[]; message: string }): Problem {
  const field = path.length === 0 ? "event" : path.map(String).join(".").slice(0, fieldLengthMax);
  const index = path[1];
  return {
    ...(typeof index === "number" ? { index } : {}),
    field,
    reason: message.replace(/^Invalid input: /, "").slice(0, reasonLengthMax),
  };
}
