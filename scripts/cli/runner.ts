/** How commands are run, as they see it: program.ts makes it. */
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";

/** Makes a commander action of a command's work. */
export type Runner = <A extends unknown[]>(
  work: (session: Session, ...args: A) => Promise<Outcome>,
) => (...args: A) => Promise<void>;
